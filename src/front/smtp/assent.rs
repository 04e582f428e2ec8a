//! Whether policy agrees: at each stage of a session the engine is asked in process, then the services of others.

use std::sync::Arc;

use futures_util::FutureExt;
use posthorn_config::PolicyService;
use posthorn_model::policy::{CertificateFacts, ClientFacts, EncryptionFacts, Inquiry, SaslFacts, ServerFacts, Stage};
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_net::egress::TlsClient;
use posthorn_net::{Connection, Local};
use posthorn_policy::{Decision, Policy, Said};
use posthorn_smtp::Dialect;

use super::Session;
use super::consult::Consult;
use super::standing::{Course, Standing};

/// Whom our own SMTP asks before it says yes; cheap to clone.
#[derive(Clone, Default)]
pub struct Assent(Option<Arc<Asked>>);

struct Asked {
    engine: Policy,
    services: Vec<Consult>,
}

/// What services hear as the version of Postfix whose attributes they are sent.
const COMPATIBLE: &str = "3.12";

/// What policy knows and wants in one session.
#[derive(Default)]
pub(super) struct Opinion {
    /// Everything there is to know, built once and kept up.
    pub(super) inquiry: Option<Box<Inquiry>>,
    /// What was said of the client, once it was asked about.
    client: Option<Heard>,
    /// The same of what it calls itself.
    helo: Option<Heard>,
    /// What is said of the message in progress.
    pub(super) standing: Standing,
    /// By which mechanism the client logged in.
    pub(super) mechanism: &'static str,
    /// The name that a front end vouched for (XCLIENT).
    pub(super) stated_name: Option<String>,
    /// Whether the client's name was looked up.
    named: bool,
    /// How many messages were begun.
    messages: u32,
}

/// What was said of something that comes before any message.
#[derive(Clone, Default)]
struct Heard {
    standing: Standing,
    refused: Option<Refusal>,
}

impl Assent {
    /// Asks an engine, then these services.
    #[must_use]
    pub fn new(engine: Policy, services: &[PolicyService], tls: &TlsClient) -> Self {
        let services = services.iter().map(|service| Consult::new(service.clone(), tls.clone())).collect();
        Self(Some(Arc::new(Asked { engine, services })))
    }
}

impl Opinion {
    /// The client is another one than before.
    pub(super) fn forget_client(&mut self) {
        *self = Self { messages: self.messages, ..Self::default() };
    }

    /// The client says HELO, which begins anew.
    pub(super) fn forget_helo(&mut self) {
        self.helo = None;
    }

    /// A message begins.
    fn begin_message(&mut self) {
        self.messages = self.messages.saturating_add(1);
        self.standing = self.helo.as_ref().map(|said| said.standing.clone()).unwrap_or_default();
        if let Some(inquiry) = &mut self.inquiry {
            inquiry.recipients.clear();
            inquiry.instance.clear();
        }
    }

    /// A recipient was accepted, and counts from here on.
    pub(super) fn note_recipient(&mut self, address: &str) {
        if let Some(inquiry) = &mut self.inquiry {
            inquiry.recipients.push(address.to_owned());
        }
    }
}

impl Session {
    /// Asks about the client.
    pub(super) async fn assent_to_client(&mut self) -> Result<(), Refusal> {
        if self.opinion.client.is_none() {
            self.opinion.standing = Standing::default();
            let refused = self.assent(Stage::Connect, |_| {}).await.err();
            let standing = std::mem::take(&mut self.opinion.standing);
            self.opinion.client = Some(Heard { standing, refused });
        }
        self.opinion.client.as_ref().and_then(|said| said.refused.clone()).map_or(Ok(()), Err)
    }

    /// Asks about the client and what it calls itself, as far as that was not done, and begins a message. Whoever is
    /// refused at HELO asks again and again, and who they are is only known when they have logged in: so they hear it at
    /// MAIL.
    pub(super) async fn assent_to_session(&mut self) -> Result<(), Refusal> {
        self.assent_to_client().await?;
        if self.opinion.helo.is_none() {
            self.opinion.standing = self.opinion.client.as_ref().map(|said| said.standing.clone()).unwrap_or_default();
            let name = self.hello.as_ref().map(|(name, _)| name.clone());
            let extended = self.hello.as_ref().is_some_and(|(_, ehlo)| *ehlo);
            let said = self.assent(Stage::Helo, |inquiry| {
                inquiry.helo = name;
                inquiry.protocol.clear();
                inquiry.protocol.push_str(if extended { "ESMTP" } else { "SMTP" });
            });
            let refused = said.await.err();
            let standing = std::mem::take(&mut self.opinion.standing);
            self.opinion.helo = Some(Heard { standing, refused });
        }
        if let Some(refusal) = self.opinion.helo.as_ref().and_then(|said| said.refused.clone()) {
            return Err(refusal);
        }
        self.opinion.begin_message();
        Ok(())
    }

    /// Asks everybody who is to be asked at a stage, and keeps what they want done; `Err` is what the client is told.
    /// `update` puts into the inquiry what has become known.
    pub(super) async fn assent(&mut self, stage: Stage, update: impl FnOnce(&mut Inquiry)) -> Result<(), Refusal> {
        let Some(asked) = self.assent.0.clone().filter(|_| self.dialect != Dialect::Lmtp) else { return Ok(()) };
        let mut inquiry = match self.opinion.inquiry.take() {
            Some(inquiry) => inquiry,
            None => Box::new(self.inquiry()),
        };
        update(&mut inquiry);
        self.keep_up(&mut inquiry, stage);
        let mut standing = std::mem::take(&mut self.opinion.standing);
        // What is said of one recipient holds for no other.
        let remembered =
            (stage == Stage::Rcpt).then(|| (standing.defer_if_permit.clone(), standing.defer_if_reject.clone()));
        let said = if standing.discard.is_some() {
            // It is decided already.
            Ok(())
        } else {
            self.ask(&asked, &mut inquiry, &mut standing).await
        };
        let said = said.map_err(|refusal| {
            let refusal = standing.softened(refusal);
            tracing::info!(session.id = %self.connection.id(), peer.ip = %self.connection.peer().address, %stage, %refusal,
                sender = inquiry.sender.as_deref(), recipient = inquiry.recipient.as_deref(), "refused by policy");
            refusal
        });
        if let Some(remembered) = remembered {
            (standing.defer_if_permit, standing.defer_if_reject) = remembered;
        }
        self.opinion.standing = standing;
        self.opinion.inquiry = Some(inquiry);
        said
    }

    /// A message was taken: whom our people write to, they want to hear from.
    pub(super) async fn note_taken(&mut self) {
        let Some(asked) = self.assent.0.clone().filter(|_| self.source().may_relay()) else { return };
        if let Some(inquiry) = &self.opinion.inquiry
            && let Err(error) = asked.engine.wrote(inquiry).await
        {
            tracing::warn!(session.id = %self.connection.id(), %error, "who writes to whom was not noted");
        }
    }

    async fn ask(&mut self, asked: &Asked, inquiry: &mut Inquiry, standing: &mut Standing) -> Result<(), Refusal> {
        match asked.engine.decide(inquiry).await {
            Ok(decision) => take_decision(decision, standing)?,
            Err(fault) => {
                tracing::error!(session.id = %self.connection.id(), %fault, "no policy decision");
                return Err(Refusal::new(451, EnhancedCode(4, 3, 5), "policy problem, try again later"));
            }
        }
        if standing.discard.is_none() && asked.services.iter().any(|service| is_for(service, inquiry)) {
            self.ask_services(asked, inquiry, standing).boxed().await?;
        }
        // What was remembered is due when nothing more can refuse: at RCPT, or behind it.
        match (inquiry.stage, &standing.defer_if_permit) {
            (Stage::Rcpt | Stage::Data | Stage::EndOfMessage, Some(refusal)) if standing.discard.is_none() => {
                Err(refusal.clone())
            }
            _ => Ok(()),
        }
    }

    async fn ask_services(
        &mut self,
        asked: &Asked,
        inquiry: &mut Inquiry,
        standing: &mut Standing,
    ) -> Result<(), Refusal> {
        self.name_client(&asked.engine, inquiry).await;
        inquiry.compatibility_level.get_or_insert_with(|| COMPATIBLE.to_owned());
        inquiry.mail_version.get_or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
        for service in asked.services.iter().filter(|service| is_for(service, inquiry)).collect::<Vec<_>>() {
            let settings = service.settings();
            inquiry.policy_context.clone_from(&settings.context);
            let course = match service.ask(inquiry).await {
                Ok(action) => {
                    tracing::debug!(session.id = %self.connection.id(), service = %settings.name, stage = %inquiry.stage,
                        %action, "a policy service answered");
                    standing.take(&action, &settings.name)
                }
                Err(why) => {
                    tracing::warn!(session.id = %self.connection.id(), service = %settings.name, stage = %inquiry.stage,
                        why, "no answer from a policy service");
                    standing.note(format!("{}: no answer ({why})", settings.name));
                    standing.take(settings.default_action.action(), &settings.name)
                }
            };
            match course {
                Course::On => {}
                Course::Enough => break,
                Course::Refuse(refusal) => return Err(refusal),
                Course::Unknown => {
                    tracing::warn!(session.id = %self.connection.id(), service = %settings.name,
                        "a policy service answered with a restriction that is not known here");
                    if let Course::Refuse(refusal) = standing.take(settings.default_action.action(), &settings.name) {
                        return Err(refusal);
                    }
                }
            }
        }
        inquiry.policy_context = None;
        Ok(())
    }

    /// Services of others expect the client's name; our own engine looks it up when a rule needs it.
    async fn name_client(&mut self, engine: &Policy, inquiry: &mut Inquiry) {
        if std::mem::replace(&mut self.opinion.named, true) || inquiry.client.name.is_some() {
            return;
        }
        if let Some(address) = inquiry.client.address {
            (inquiry.client.reverse_name, inquiry.client.name) = engine.names_of(address).await;
        }
    }

    /// Everything about the session that is known from its start.
    pub(super) fn inquiry(&self) -> Inquiry {
        let peer = self.connection.peer();
        let (address, port) = match &peer.local {
            Local::Tcp(local) => (Some(local.ip().to_canonical()), Some(local.port())),
            Local::Unix(_) => (None, None),
        };
        Inquiry {
            protocol: "SMTP".to_owned(),
            client: ClientFacts {
                address: Some(peer.address),
                port: Some(peer.port).filter(|port| *port > 0),
                name: self.opinion.stated_name.clone(),
                reverse_name: self.opinion.stated_name.clone(),
            },
            server: ServerFacts { address, port },
            trusted: self.connection.options().relay,
            ..Inquiry::default()
        }
    }

    /// What may have changed since the last stage.
    fn keep_up(&self, inquiry: &mut Inquiry, stage: Stage) {
        inquiry.stage = stage;
        if inquiry.instance.is_empty() {
            inquiry.instance = format!("{}.{}", self.connection.id(), self.opinion.messages);
        }
        match &self.login {
            None => inquiry.sasl = None,
            Some(login) if inquiry.sasl.is_none() => {
                let method = self.opinion.mechanism.to_owned();
                inquiry.sasl = Some(SaslFacts { method, username: login.address.to_string(), sender: None });
            }
            Some(_) => {}
        }
        if inquiry.encryption.is_none() {
            secure(inquiry, &self.connection);
        }
        if !matches!(stage, Stage::Rcpt | Stage::Data | Stage::EndOfMessage) {
            inquiry.recipient = None;
            inquiry.recipient_count = 0;
            inquiry.recipients.clear();
        }
        if matches!(stage, Stage::Connect | Stage::Helo) {
            inquiry.sender = None;
            inquiry.size = 0;
        }
        if matches!(stage, Stage::Data | Stage::EndOfMessage) {
            // With several recipients none is named, as in Postfix.
            inquiry.recipient_count = u32::try_from(inquiry.recipients.len()).unwrap_or(u32::MAX);
            inquiry.recipient = match inquiry.recipients.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            };
        }
    }
}

/// What the session's TLS is.
fn secure(inquiry: &mut Inquiry, connection: &Connection) {
    let Some(tls) = &connection.peer().tls else { return };
    // Names of suites have the size of the key in them, but for ChaCha20, which knows only one.
    let keysize = if tls.cipher.contains("128") { 128 } else { 256 };
    inquiry.encryption = Some(EncryptionFacts {
        protocol: tls.version.to_owned(),
        cipher: tls.cipher.clone(),
        keysize,
        sni: tls.server_name.clone(),
    });
    inquiry.certificate = tls
        .client_certificate
        .as_ref()
        .map(|subject| CertificateFacts { subject: Some(subject.clone()), ..CertificateFacts::default() });
}

/// Takes what the engine decided; everything but what changes nothing goes into the trace.
fn take_decision(decision: Decision, standing: &mut Standing) -> Result<(), Refusal> {
    for finding in decision.findings {
        match finding.said {
            Said::Nothing => {}
            Said::Act(action) => standing.note(format!("{}: {action}: {}", finding.rule, finding.why)),
            Said::Exempt => standing.note(format!("{}: exempt: {}", finding.rule, finding.why)),
            Said::Unknown => standing.note(format!("{}: unknown: {}", finding.rule, finding.why)),
        }
    }
    for action in decision.additions.iter().chain([&decision.action]) {
        match standing.take(action, "policy") {
            Course::On | Course::Enough => {}
            Course::Refuse(refusal) => return Err(refusal),
            Course::Unknown => tracing::warn!(%action, "a rule names a restriction, which means nothing here"),
        }
    }
    Ok(())
}

/// Whether a service is asked about this.
fn is_for(service: &Consult, inquiry: &Inquiry) -> bool {
    let settings = service.settings();
    let known = inquiry.trusted || inquiry.sasl.is_some();
    (settings.ask_about_all || !known) && settings.stages.iter().any(|stage| stage.stage() == inquiry.stage)
}
