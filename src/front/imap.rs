//! IMAP: the session loop, and who answers which command.

mod append;
mod fetch;
mod login;
mod mailboxes;
mod messages;
mod quota;
mod reading;
mod search;
mod sections;
mod select;
mod selected;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_config::Mechanism;
use posthorn_imap::{Command, Completion, Event, Limits, Options, ResponseCode, Server, Timeouts};
use posthorn_mail::Mail;
use posthorn_mail::authenticate::{Dialogue, Login};
use posthorn_mail::live::LiveAccount;
use posthorn_net::{Connection, Ended, Next, Overload, Service};

use self::append::Appending;
use self::login::Seats;
use self::reading::Ahead;
use self::selected::Selected;
use crate::{Settings, overload};

/// The service behind listeners that speak imap and imaps.
#[derive(Clone)]
pub struct Imap {
    mail: Mail,
    settings: Arc<Settings>,
    seats: Seats,
}

/// One client's session.
struct Session {
    mail: Mail,
    settings: Arc<Settings>,
    seats: Seats,
    connection: Connection,
    server: Server,
    dialogue: Option<Dialogue>,
    user: Option<Box<User>>,
    appending: Option<Box<Appending>>,
    /// What was read ahead, until another command than FETCH comes.
    ahead: Option<Box<Ahead>>,
}

/// Somebody who logged in, and the mailbox they selected.
struct User {
    login: Login,
    account: Arc<LiveAccount>,
    selected: Option<Selected>,
    _seat: login::Seat,
}

/// How a command ends early: the answer to give, or the end of the session.
enum Stop {
    Answer(Completion),
    Ended(Ended),
    Fault(posthorn_mail::Error),
}

/// What a command's code returns: the tagged answer, or an early end.
type Answer = Result<Completion, Stop>;

impl From<posthorn_mail::Error> for Stop {
    fn from(error: posthorn_mail::Error) -> Self {
        Self::Fault(error)
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Imap {
    /// The service.
    #[must_use]
    pub fn new(mail: Mail, settings: Arc<Settings>) -> Self {
        let seats = Seats::new(settings.imap.sessions_per_account);
        Self { mail, settings, seats }
    }
}

impl Service for Imap {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move { Session::new(this, connection).run().await }.boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        async move {
            let text = match why {
                Overload::Denied => overload::words(why).to_owned(),
                _ => format!("[UNAVAILABLE] {}", overload::words(why)),
            };
            let mut server = Server::refused(&text, std::time::Instant::now());
            let _ended = connection.next(&mut server, std::future::pending::<()>()).await;
            connection.finish().await;
        }
        .boxed()
    }
}

impl Session {
    fn new(Imap { mail, settings, seats }: Imap, connection: Connection) -> Self {
        let options = Arc::new(options(&connection, &settings));
        let server = Server::new(options, std::time::Instant::now());
        Self { mail, settings, seats, connection, server, dialogue: None, user: None, appending: None, ahead: None }
    }

    async fn run(mut self) {
        loop {
            let idling = self.server.is_idling();
            let next = match self.user.as_mut().and_then(|user| user.selected.as_mut()) {
                Some(selected) if idling => {
                    self.connection.next(&mut self.server, selected.changed.changed().map(|_| ())).await
                }
                _ => self.connection.next(&mut self.server, std::future::pending::<()>()).await,
            };
            let ended = match next {
                Next::Event(event) => self.handle(event).boxed().await.err(),
                Next::Wake(()) => self.news().boxed().await.err(),
                Next::Closed(ended) => Some(ended),
            };
            if let Some(ended) = ended {
                tracing::debug!(session.id = %self.connection.id(), ?ended, "closed");
                return self.connection.finish().await;
            }
        }
    }

    /// Something changed while the client idles.
    async fn news(&mut self) -> Result<(), Ended> {
        if let Some(selected) = self.user.as_mut().and_then(|user| user.selected.as_mut()) {
            selected.changed.mark_unchanged();
        }
        self.announce(None);
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<(), Ended> {
        if self.user.as_ref().is_some_and(|user| user.account.is_gone()) {
            self.server.dismiss("The account was removed");
        }
        let answer = match event {
            Event::Command { command: Command::Authenticate { mechanism, initial }, .. } => {
                self.begin_login(&mechanism, initial).await
            }
            Event::Command { tag, command } => self.execute(&tag, command).await.map(Some),
            Event::AuthenticateResponse(response) => self.step_login(Some(response.expose())).await,
            Event::AuthenticateCancelled => {
                self.dialogue = None;
                Ok(None)
            }
            Event::AppendBegin { mailbox, .. } => self.begin_append(&mailbox).await.map(|()| None),
            Event::AppendMessage { flags, date, size, binary, .. } => {
                self.announce_append(flags, date, (size, binary)).await.map(|()| None)
            }
            Event::AppendData(octets) => {
                self.take_append(&octets);
                Ok(None)
            }
            Event::AppendMessageEnd => {
                self.end_append_message();
                Ok(None)
            }
            Event::AppendAborted => {
                self.appending = None;
                Ok(None)
            }
            Event::AppendEnd => self.end_append().await.map(Some),
            Event::ClientId(fields) => {
                tracing::debug!(session.id = %self.connection.id(), ?fields, "client identified itself");
                Ok(None)
            }
            Event::Idle { .. } => {
                self.ahead = None;
                self.server.start_idle();
                self.catch_up().await.map(|()| None)
            }
            Event::SearchLost => {
                self.forget_saved();
                Ok(None)
            }
            Event::IdleDone => self.catch_up().await.map(|()| Some(Completion::ok("Done"))),
        };
        match answer {
            Ok(None) => Ok(()),
            Ok(Some(completion)) | Err(Stop::Answer(completion)) => {
                self.server.finish(completion);
                Ok(())
            }
            Err(Stop::Ended(ended)) => Err(ended),
            Err(Stop::Fault(posthorn_mail::Error::NoAccount)) => {
                self.server.dismiss("The account was removed");
                self.server.finish(Completion::no("The account was removed").with(ResponseCode::Unavailable));
                Ok(())
            }
            Err(Stop::Fault(error)) => {
                tracing::error!(session.id = %self.connection.id(), %error, "temporary failure told to the client");
                let broken = Completion::no("Local error, try again later").with(ResponseCode::ServerBug);
                self.server.finish(broken);
                Ok(())
            }
        }
    }

    async fn execute(&mut self, tag: &[u8], command: Command) -> Answer {
        if !matches!(command, Command::Fetch(_)) {
            self.ahead = None;
        }
        if let Command::Login { user, password } = command {
            return self.login(user, &password).await;
        }
        if self.server.take_condstore_news()
            && !matches!(command, Command::Select(_))
            && let Ok((_, selected)) = self.selected()
        {
            // RFC 7162 §3.1: from where the client counts.
            let highest = selected.told();
            self.server.out().ok(Some(&ResponseCode::HighestModSeq(highest)), "Highest");
        }
        match command {
            Command::Noop | Command::Check => {
                self.catch_up().await?;
                Ok(Completion::ok("Done"))
            }
            Command::Select(select) => self.select(select).await,
            Command::Close => self.close().await,
            Command::Unselect => Ok(self.unselect()),
            Command::Create { mailbox, uses } => self.create(&mailbox, &uses).await,
            Command::Delete { mailbox } => self.delete(&mailbox).await,
            Command::Rename { from, to } => self.rename(&from, &to).await,
            Command::Subscribe { mailbox } => self.subscribe(&mailbox, true).await,
            Command::Unsubscribe { mailbox } => self.subscribe(&mailbox, false).await,
            Command::List(list) => self.list(list).await,
            Command::Lsub { reference, pattern } => self.lsub(&reference, &pattern).await,
            Command::Status { mailbox, items } => self.status(&mailbox, &items).await,
            Command::Namespace => {
                self.server.out().namespace(&[("", posthorn_mail::mailboxes::DELIMITER)], &[], &[]);
                Ok(Completion::ok("Done"))
            }
            Command::Fetch(fetch) => self.fetch(fetch).await,
            Command::Store(store) => self.store(store).await,
            Command::Copy { uid, set, mailbox } => self.transfer((uid, set), &mailbox, false).await,
            Command::Move { uid, set, mailbox } => self.transfer((uid, set), &mailbox, true).await,
            Command::Expunge { uids } => self.expunge(uids).await,
            Command::Search(search) => self.search(tag, search).await,
            Command::GetQuota { root } => self.get_quota(&root).await,
            Command::GetQuotaRoot { mailbox } => self.get_quota_root(&mailbox).await,
            Command::SetQuota { .. } => {
                Ok(Completion::no("Quotas are set by the administrator").with(ResponseCode::NoPerm))
            }
            Command::Authenticate { .. } | Command::Login { .. } => Ok(Completion::bad("Already logged in")),
        }
    }

    /// The user; every command behind login has one, since the machine admits none before.
    fn user(&self) -> Result<&User, Stop> {
        self.user.as_deref().ok_or_else(|| Stop::Answer(Completion::bad("Log in first")))
    }

    /// The selected mailbox; every command that works on one has it, since the machine admits none before.
    fn selected(&self) -> Result<(&User, &Selected), Stop> {
        let user = self.user()?;
        let selected = user.selected.as_ref().ok_or_else(|| Stop::Answer(Completion::bad("No mailbox is selected")))?;
        Ok((user, selected))
    }

    /// The same for commands that change messages.
    fn writable(&self) -> Result<(&User, &Selected), Stop> {
        let (user, selected) = self.selected()?;
        if selected.read_only {
            return Err(Stop::Answer(Completion::no("The mailbox is open read-only").with(ResponseCode::ReadOnly)));
        }
        Ok((user, selected))
    }
}

/// The machine's options for this connection.
fn options(connection: &Connection, settings: &Settings) -> Options {
    let effective = connection.options();
    let imap = &settings.imap;
    let wanted = |mechanism: &&Mechanism| **mechanism != Mechanism::Login && effective.offers_mechanism(**mechanism);
    let idle = effective.idle_time.limit().unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    Options {
        host: settings.hostname.clone(),
        greeting: "Posthorn ready".into(),
        mechanisms: settings.mechanisms.iter().filter(wanted).map(|mechanism| mechanism.name().to_owned()).collect(),
        tls_available: connection.can_secure(),
        require_tls: effective.require_tls,
        id: vec![("name".into(), "Posthorn".into()), ("version".into(), env!("CARGO_PKG_VERSION").into())],
        limits: Limits {
            command: usize::try_from(imap.max_command_size.octets()).unwrap_or(usize::MAX),
            append: effective.max_message_size.octets(),
            faults: if imap.max_errors == 0 { u32::MAX } else { imap.max_errors },
            ..Limits::default()
        },
        timeouts: Timeouts {
            unauthenticated: imap.login_time.limit().unwrap_or(Duration::from_secs(60)).min(idle),
            authenticated: idle,
            idle,
            ..Timeouts::default()
        },
    }
}
