//! One message: its envelope, its body, its storing, and the one trace line that says what became of it.

use std::time::Instant;

use metrics::{counter, histogram};
use posthorn_mail::Intake;
use posthorn_mail::accept::{Accepted, Completion, id_text};
use posthorn_mail::envelope::{Client, Envelope, Recipient, Source};
use posthorn_mail::route::Route;
use posthorn_mime::{Received, ReceivedTls};
use posthorn_model::policy::Stage;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_smtp::{Dialect, Sender, Target};

use super::Session;
use crate::terms;

/// A mail transaction in progress.
pub(super) struct Transaction {
    sender: Sender,
    envelope: Envelope,
    body: Option<Intake>,
    /// Why the body cannot be taken, found out while it came in.
    failed: Option<Refusal>,
    /// A recipient whose quota may not suffice: it must stay the only one, so that its refusal is nobody else's.
    alone: bool,
}

impl Session {
    pub(super) async fn begin(&mut self, sender: Sender) {
        if let (Some(login), Some(path)) = (&self.login, &sender.path) {
            match self.mail.may_send_as(login, path).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(session.id = %self.connection.id(), login = %login.address, sender = %path,
                        "sender refused: not an address of this login");
                    let text = format!("{path} is not an address of the account that logged in");
                    return self.server.refuse(Refusal::new(553, EnhancedCode(5, 7, 1), text));
                }
                Err(error) => {
                    let refusal = self.fault(&error);
                    return self.server.refuse(refusal);
                }
            }
        }
        let terms = match terms::of(&sender, self.mail.now()) {
            Ok(terms) => terms,
            Err(refusal) => return self.server.refuse(refusal),
        };
        if let Err(refusal) = self.assent_to_session().await {
            return self.server.refuse(refusal);
        }
        let said = self.assent(Stage::Mail, |inquiry| {
            inquiry.sender = Some(sender.path.as_ref().map(ToString::to_string).unwrap_or_default());
            inquiry.size = sender.size.unwrap_or(0);
            if let Some(sasl) = &mut inquiry.sasl {
                sasl.sender.clone_from(&sender.auth);
            }
        });
        if let Err(refusal) = said.await {
            return self.server.refuse(refusal);
        }
        let envelope = Envelope { sender: sender.path.clone(), source: self.source(), terms, ..Envelope::default() };
        let transaction = Transaction { sender, envelope, body: None, failed: None, alone: false };
        self.transaction = Some(Box::new(transaction));
        self.server.accept();
    }

    pub(super) async fn add_recipient(&mut self, recipient: posthorn_smtp::Recipient) {
        let alone = self.transaction.as_ref().is_some_and(|transaction| transaction.alone);
        match self.judge(&recipient).await {
            Ok(Ok(accepted)) => {
                // What nobody could receive is not asked about: others would remember it in vain.
                let said = self.assent(Stage::Rcpt, |inquiry| {
                    inquiry.recipient = Some(accepted.address.clone());
                });
                let said = said.await;
                let Some(transaction) = &mut self.transaction else { return };
                if let Err(refusal) = said {
                    transaction.alone = alone;
                    return self.server.refuse(refusal);
                }
                self.opinion.note_recipient(&accepted.address);
                transaction.envelope.recipients.push(accepted);
                self.server.accept();
            }
            Ok(Err(refusal)) => {
                let refusal = self.opinion.standing.softened(refusal);
                tracing::info!(session.id = %self.connection.id(), peer.ip = %self.connection.peer().address,
                    recipient = %recipient.target, %refusal, "recipient refused");
                self.server.refuse(refusal);
            }
            Err(error) => {
                let refusal = self.fault(&error);
                self.server.refuse(refusal);
            }
        }
    }

    /// The host to find out about: nobody's whom we trust, nor one that hands on what others took in (LMTP).
    fn stranger(&self) -> Option<Client> {
        if self.source() != Source::Stranger || self.dialect != Dialect::Smtp {
            return None;
        }
        let helo = self.hello.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        Some(Client { address: self.connection.peer().address, helo })
    }

    /// Whom this session's mail comes from.
    pub(super) fn source(&self) -> Source {
        match &self.login {
            Some(login) => Source::Account(login.account),
            None if self.connection.options().relay => Source::Relay,
            None => Source::Stranger,
        }
    }

    /// Whether a recipient's mail can be stored here, and there is room for it; or may be sent to another host.
    async fn judge(
        &mut self,
        recipient: &posthorn_smtp::Recipient,
    ) -> posthorn_mail::Result<Result<Recipient, Refusal>> {
        let route = match &recipient.target {
            Target::Address(address) if self.expands => self.mail.route(address).await?,
            Target::Address(address) => self.mail.route_unexpanded(address).await?,
            Target::Postmaster => self.mail.route_postmaster().await?,
        };
        match &*route {
            Route::Local { .. } => {}
            Route::Disabled => {
                let text = format!("{} does not accept mail", recipient.target);
                return Ok(Err(Refusal::new(551, EnhancedCode(5, 7, 1), text)));
            }
            Route::Nobody => {
                return Ok(Err(Refusal::new(
                    550,
                    EnhancedCode(5, 1, 1),
                    format!("no such user: {}", recipient.target),
                )));
            }
            Route::Remote => {
                if let Target::Address(address) = &recipient.target
                    && let Err(refusal) = self.may_relay(address).await?
                {
                    return Ok(Err(refusal));
                }
            }
            Route::Undeliverable(why) => return Ok(Err(Refusal::new(550, EnhancedCode(5, 7, 1), *why))),
        }
        let Some(transaction) = &mut self.transaction else {
            return Ok(Err(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction")));
        };
        let declared = transaction.sender.size;
        if let Err(refusal) = self.mail.room(&route, declared.unwrap_or(0)).await? {
            return Ok(Err(refusal));
        }
        if self.dialect != Dialect::Lmtp {
            // All recipients of an SMTP message share one reply, so one that may run full is taken alone.
            let worst = declared.unwrap_or(self.connection.options().max_message_size.octets());
            let tight = self.mail.room(&route, worst).await?.is_err();
            let others = !transaction.envelope.recipients.is_empty();
            if transaction.alone || tight && others {
                let text = "send to this recipient in a transaction of its own";
                return Ok(Err(Refusal::new(452, EnhancedCode(4, 5, 3), text)));
            }
            transaction.alone = tight;
        }
        Ok(Ok(Recipient {
            address: recipient.target.to_string(),
            route,
            orcpt: recipient.orcpt.as_ref().map(terms::original),
            notify: recipient.notify.map(terms::notify),
        }))
    }

    /// Whether this session's mail may go to an address at another host.
    async fn may_relay(&self, recipient: &Address) -> posthorn_mail::Result<Result<(), Refusal>> {
        if !self.source().may_relay() {
            return Ok(Err(Refusal::new(550, EnhancedCode(5, 7, 1), "relaying denied")));
        }
        let sender = self.transaction.as_ref().and_then(|transaction| transaction.envelope.sender.as_ref());
        self.mail.check_suppression(sender, recipient).await
    }

    pub(super) async fn begin_body(&mut self) {
        if let Err(refusal) = self.assent(Stage::Data, |_| {}).await {
            return self.server.refuse(refusal);
        }
        let body = self.mail.intake();
        match &mut self.transaction {
            Some(transaction) => {
                transaction.body = Some(body);
                self.server.accept();
            }
            None => self.server.refuse(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction")),
        }
    }

    pub(super) fn take_body(&mut self, octets: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        if let Some(body) = &mut transaction.body
            && let Err(refusal) = body.push(octets)
        {
            transaction.failed = Some(refusal);
            transaction.body = None;
        }
    }

    /// Stores the message and answers: 250 only after the commit.
    pub(super) async fn end_body(&mut self) {
        let Some(mut transaction) = self.transaction.take() else {
            return self.server.refuse(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction"));
        };
        let Some(body) = transaction.body.take() else {
            let lost = || Refusal::new(451, EnhancedCode(4, 3, 0), "the message was lost on its way in");
            return self.server.refuse(transaction.failed.unwrap_or_else(lost));
        };
        let size = body.len() as u64;
        if let Err(refusal) = self.assent(Stage::EndOfMessage, |inquiry| inquiry.size = size).await {
            return self.server.refuse(refusal);
        }
        if let Some(why) = self.opinion.standing.discard.take() {
            return self.discard(&mut transaction, body, &why);
        }
        match self.obey(&mut transaction.envelope).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return self.server.refuse(refusal),
            Err(error) => {
                let refusal = self.fault(&error);
                return self.server.refuse(refusal);
            }
        }
        let each_alone = self.dialect == Dialect::Lmtp;
        let completion = self.completion(&transaction);
        transaction.envelope.story = self.story(&transaction);
        transaction.envelope.client = self.stranger();
        let began = Instant::now();
        let taken = self.take(&mut transaction.envelope, body, completion, each_alone).await;
        measure(self.dialect, &taken, began);
        match taken {
            Ok(Ok(accepted)) => {
                self.trace(&transaction, &accepted);
                if accepted.outcomes.iter().all(Result::is_ok) {
                    self.note_taken().await;
                }
                let stored = match accepted.queued.first() {
                    Some(queue_id) => format!("queued as {queue_id}"),
                    // What is held has a name of its own, which is for those who may release it.
                    None if accepted.places.is_empty() => format!("taken as {}", id_text(accepted.id)),
                    None => format!("stored as {}", id_text(accepted.id)),
                };
                let mut outcomes = accepted.outcomes.into_iter().map(|outcome| outcome.map(|()| stored.clone()));
                if each_alone {
                    return self.server.replies(outcomes.collect());
                }
                match outcomes.find(Result::is_err) {
                    Some(Err(refusal)) => self.server.refuse(refusal),
                    _ => self.server.accept_with(stored),
                }
            }
            Ok(Err(refusal)) => {
                tracing::info!(session.id = %self.connection.id(), %refusal, "message refused");
                self.server.refuse(refusal);
            }
            Err(error) => {
                let refusal = self.fault(&error);
                self.server.refuse(refusal);
            }
        }
    }

    /// Says yes to a message, and drops it.
    fn discard(&mut self, transaction: &mut Transaction, body: Intake, why: &str) {
        transaction.envelope.story = self.story(transaction);
        let id = self.mail.discard(&transaction.envelope, body, why);
        let recipients: Vec<&str> = transaction.envelope.recipients.iter().map(|one| one.address.as_str()).collect();
        tracing::info!(target: "posthorn::trace", { session.id = %self.connection.id(), message.id = id_text(id),
            peer.ip = %self.connection.peer().address,
            sender = transaction.envelope.sender.as_ref().map(tracing::field::display),
            recipients = ?recipients, why }, "message discarded");
        self.server.accept_with(format!("taken as {}", id_text(id)));
    }

    /// The fields on top of the stored message: Return-Path, Delivered-To where it tells nobody of another, Received.
    fn completion(&mut self, transaction: &Transaction) -> Completion {
        let mut top = std::mem::take(&mut self.opinion.standing.prepend);
        let peer = self.connection.peer();
        let sender = transaction.envelope.sender.as_ref().map(ToString::to_string);
        let only = match transaction.envelope.recipients.as_slice() {
            [only] => Some(only.address.as_str()),
            _ => None,
        };
        let shown = self.dialect != Dialect::Submission || self.settings.smtp.received_shows_client;
        let session_id = self.connection.id().to_string();
        top.extend(posthorn_mime::received(&Received {
            from_helo: self.hello.as_ref().filter(|_| shown).map(|(name, _)| name.as_str()),
            from_ip: shown.then_some(peer.address),
            from_name: None,
            by: &self.settings.hostname,
            protocol: self.protocol(&transaction.sender),
            tls: peer.tls.as_ref().map(|tls| ReceivedTls { version: tls.version, cipher: &tls.cipher }),
            id: &session_id,
            for_: only,
            date: self.mail.now(),
        }));
        let mut local = posthorn_mime::return_path(sender.as_deref());
        if let Some(only) = only {
            local.extend_from_slice(&posthorn_mime::delivered_to(only));
        }
        Completion {
            local,
            top,
            complete_for: (self.dialect == Dialect::Submission).then(|| self.settings.hostname.clone()),
            require_headers: self.dialect == Dialect::Smtp && self.settings.smtp.require_headers,
            max_hops: self.settings.smtp.max_hops as usize,
            max_header: usize::try_from(self.settings.smtp.max_header_size.octets()).unwrap_or(usize::MAX),
        }
    }

    /// The protocol's registered name (RFC 3848, RFC 6531 §4.3).
    fn protocol(&self, sender: &Sender) -> &'static str {
        let secured = self.connection.peer().tls.is_some();
        let known = self.login.is_some();
        let extended = self.hello.as_ref().is_some_and(|(_, ehlo)| *ehlo);
        match (self.dialect, sender.smtputf8, secured, known) {
            (Dialect::Lmtp, true, false, _) => "UTF8LMTP",
            (Dialect::Lmtp, true, true, _) => "UTF8LMTPS",
            (Dialect::Lmtp, false, false, _) => "LMTP",
            (Dialect::Lmtp, false, true, _) => "LMTPS",
            (_, true, false, false) => "UTF8SMTP",
            (_, true, true, false) => "UTF8SMTPS",
            (_, true, false, true) => "UTF8SMTPA",
            (_, true, true, true) => "UTF8SMTPSA",
            (_, false, true, true) => "ESMTPSA",
            (_, false, true, false) => "ESMTPS",
            (_, false, false, true) => "ESMTPA",
            (_, false, false, false) if extended => "ESMTP",
            (_, false, false, false) => "SMTP",
        }
    }

    /// How the message came, for its trace.
    fn story(&self, transaction: &Transaction) -> serde_json::Map<String, serde_json::Value> {
        let peer = self.connection.peer();
        let Sender { envid, ret, .. } = &transaction.sender;
        let login = self.login.as_ref().map(|login| login.address.to_string());
        let tls = peer.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher));
        let checks: &[&str] = match transaction.envelope.source {
            Source::Account(_) => &["login", "sender belongs to the login"],
            Source::Relay => &["peer may relay"],
            Source::Stranger => &["recipients are ours"],
        };
        let facts: [(&str, serde_json::Value); 14] = [
            ("session", self.connection.id().to_string().into()),
            ("listener", peer.listener.to_string().into()),
            ("peer", peer.address.to_string().into()),
            ("proxied_by", peer.proxied_by.map(|address| address.to_string()).into()),
            ("tls", tls.into()),
            ("helo", self.hello.as_ref().map(|(name, _)| name.as_str()).into()),
            ("protocol", self.protocol(&transaction.sender).into()),
            ("login", login.into()),
            ("sender", transaction.envelope.sender.as_ref().map_or("<>".to_owned(), ToString::to_string).into()),
            ("recipients", transaction.envelope.recipients.iter().map(|one| one.address.as_str()).collect()),
            ("envid", envid.as_deref().into()),
            ("ret", ret.map(|ret| terms::ret(ret).word()).into()),
            ("forwarded", self.forwarded.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            ("checks", checks.iter().copied().chain(self.opinion.standing.notes.iter().map(String::as_str)).collect()),
        ];
        let said = |value: &serde_json::Value| !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty());
        facts.into_iter().filter(|(_, value)| said(value)).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Every decision about a message in one line, from connect to folder.
    fn trace(&self, transaction: &Transaction, accepted: &Accepted) {
        let peer = self.connection.peer();
        let recipients: Vec<&str> = transaction.envelope.recipients.iter().map(|one| one.address.as_str()).collect();
        let refused: Vec<String> =
            accepted.outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(ToString::to_string).collect();
        let reports: Vec<_> = transaction
            .envelope
            .recipients
            .iter()
            .filter(|one| one.notify.is_some() || one.orcpt.is_some())
            .map(|one| (one.notify.map(|notify| notify.to_string()), one.orcpt.as_deref()))
            .collect();
        let queued: Vec<String> = accepted.queued.iter().map(ToString::to_string).collect();
        tracing::info!(
            target: "posthorn::trace",
            { session.id = %self.connection.id(),
            message.id = id_text(accepted.id),
            header.message_id = accepted.message_id.as_deref(),
            listener = %peer.listener,
            peer.ip = %peer.address,
            proxied_by = peer.proxied_by.map(tracing::field::display),
            proxy = peer.proxy.as_deref().map(tracing::field::debug),
            tls.version = peer.tls.as_ref().map(|tls| tls.version),
            tls.client_certificate = peer.tls.as_ref().and_then(|tls| tls.client_certificate.as_deref()),
            helo = self.hello.as_ref().map(|(name, _)| name.as_str()),
            login = self.login.as_ref().map(|login| tracing::field::display(&login.address)),
            context = ?self.connection.options().context,
            forwarded = ?self.forwarded,
            sender = transaction.envelope.sender.as_ref().map(tracing::field::display),
            envid = transaction.sender.envid.as_deref(),
            ret = ?transaction.sender.ret,
            reports = ?reports,
            recipients = ?recipients,
            size = accepted.size,
            results = accepted.results.as_deref(),
            places = ?accepted.places,
            held = ?accepted.held,
            queued = ?queued,
            refused = ?refused },
            "message taken"
        );
    }
}

/// Counts a message that came whole, and how long its sender waited for the answer.
fn measure(dialect: Dialect, taken: &posthorn_mail::Result<Result<Accepted, Refusal>>, began: Instant) {
    let way = match dialect {
        Dialect::Smtp => "smtp",
        Dialect::Submission => "submission",
        Dialect::Lmtp => "lmtp",
    };
    let refused = |refusal: &Refusal| if refusal.code < 500 { "deferred" } else { "refused" };
    let outcome = match taken {
        Ok(Ok(accepted)) => {
            let every = accepted.outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(refused).next();
            every.filter(|_| accepted.outcomes.iter().all(Result::is_err)).unwrap_or("taken")
        }
        Ok(Err(refusal)) => refused(refusal),
        Err(_) => "deferred",
    };
    counter!("posthorn_messages_total", "way" => way, "outcome" => outcome).increment(1);
    histogram!("posthorn_message_seconds", "way" => way).record(began.elapsed());
}
