//! One account and its clients.

use harness::imap_client::{Answer, ImapClient};
use harness::server::{Server, ServerOptions};
use posthorn_config::Config;
use posthorn_mail::directory::AccountChange;
use posthorn_model::Address;

pub(crate) const USER: &str = "alice@example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// A server with one account.
pub(crate) struct Rig {
    pub(crate) server: Server,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(alter: impl FnOnce(&mut Config) + 'static) -> Self {
        let server = Server::start(ServerOptions::new().with(alter)).await;
        server.account(USER, PASSWORD).await;
        Self { server }
    }

    /// A second server on the same database, as another machine would run it.
    pub(crate) async fn twin(&self) -> Server {
        let url = self.server.config().database.url.as_ref().expect("a database").reveal().to_owned();
        Server::start(ServerOptions::new().on(&url)).await
    }

    /// A client that has logged in.
    pub(crate) async fn user(&self) -> ImapClient {
        user(&self.server).await
    }

    /// A client that has selected INBOX.
    pub(crate) async fn inbox(&self) -> ImapClient {
        inbox(&self.server).await
    }

    /// A client that has selected INBOX with these messages in it.
    pub(crate) async fn holding(&self, messages: &[&str]) -> ImapClient {
        let mut client = self.inbox().await;
        for message in messages {
            put(&mut client, "INBOX", message).await;
        }
        client
    }

    /// Limits the account.
    pub(crate) async fn quota(&self, bytes: Option<i64>, messages: Option<i64>) {
        let change = AccountChange { quota_bytes: bytes, quota_messages: messages, ..AccountChange::default() };
        let address = Address::parse(USER).expect("an address");
        self.server.mail().set_account(&address, change).await.expect("the store works").expect("the account is there");
    }

    /// Nothing in the store contradicts itself.
    pub(crate) async fn sound(&self) {
        let findings = self.server.check().await;
        assert!(findings.is_empty(), "{findings:?}");
    }
}

pub(crate) async fn user(server: &Server) -> ImapClient {
    let mut client = server.imap().await;
    let answer = client.login(USER, PASSWORD).await;
    assert!(answer.is_ok(), "{answer:?}");
    client
}

pub(crate) async fn inbox(server: &Server) -> ImapClient {
    let mut client = user(server).await;
    client.ok("SELECT INBOX").await;
    client
}

/// Appends; returns the UID.
pub(crate) async fn put(client: &mut ImapClient, mailbox: &str, message: impl AsRef<[u8]>) -> u32 {
    let answer = client.append(mailbox, message.as_ref()).await;
    assert!(answer.is_ok(), "{answer:?}");
    appended(&answer)
}

/// The last UID of APPENDUID.
pub(crate) fn appended(answer: &Answer) -> u32 {
    let code = answer.tagged.split("[APPENDUID ").nth(1).and_then(|rest| rest.split(']').next());
    let uids = code.and_then(|code| code.split(' ').nth(1)).expect("an APPENDUID code");
    uids.rsplit([':', ',']).next().and_then(|uid| uid.parse().ok()).expect("a UID")
}

/// A message with a header and this text.
pub(crate) fn message(subject: &str, text: &str) -> String {
    format!("From: Bob <bob@example.org>\r\nTo: {USER}\r\nSubject: {subject}\r\n\r\n{text}\r\n")
}

/// The answer must be refused so.
#[track_caller]
pub(crate) fn refused(answer: &Answer, start: &str) {
    assert!(answer.tagged.starts_with(start), "expected {start:?}: {answer:?}");
}

/// An untagged line must be there, whole.
#[track_caller]
pub(crate) fn says(answer: &Answer, line: &str) {
    assert!(
        answer.lines().iter().any(|said| said == line),
        "expected {line:?}: {:#?} {}",
        answer.lines(),
        answer.tagged
    );
}

/// No untagged line may hold this.
#[track_caller]
pub(crate) fn silent(answer: &Answer, text: &str) {
    assert_eq!(answer.find(text), None, "{:#?}", answer.lines());
}

/// The number behind this word in the answer, as `UIDNEXT 5`.
#[track_caller]
pub(crate) fn number(answer: &Answer, word: &str) -> u64 {
    let all = format!("{}\n{}", answer.lines().join("\n"), answer.tagged);
    let start = all.find(&format!("{word} ")).unwrap_or_else(|| panic!("no {word}: {all}")) + word.len() + 1;
    let digits: String = all[start..].trim_start_matches('(').chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {word}: {all}"))
}

/// Begins to idle.
pub(crate) async fn idle(client: &mut ImapClient) -> String {
    let tag = client.send(b"IDLE").await;
    loop {
        let line = client.line().await.expect("IDLE is answered");
        if line == b"+ idling" {
            return tag;
        }
        assert!(line.starts_with(b"* "), "{}", String::from_utf8_lossy(&line));
    }
}

/// Ends idling; returns what was said meanwhile.
pub(crate) async fn done(client: &mut ImapClient, tag: &str) -> Answer {
    client.stream.send(b"DONE\r\n").await;
    let answer = client.answer(tag).await;
    assert!(answer.is_ok(), "{answer:?}");
    answer
}

/// Reads what comes unasked up to a line that holds this.
pub(crate) async fn hear(client: &mut ImapClient, text: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let line = client.line().await.unwrap_or_else(|| panic!("closed before {text:?}: {heard:?}"));
        heard.push(String::from_utf8_lossy(&line).into_owned());
        if heard.last().is_some_and(|last| last.contains(text)) {
            return heard;
        }
    }
}
