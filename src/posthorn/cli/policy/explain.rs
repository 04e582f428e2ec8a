//! `posthorn policy explain`: what every check would say now.

use std::io::{IsTerminal, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use posthorn_config::{Loaded, Size};
use posthorn_mail::Mail;
use posthorn_model::policy::{ClientFacts, Inquiry, SaslFacts, Stage};
use posthorn_policy::{Explanation, Policy, Said, Settings};
use posthorn_policyd::{Event, Server, Times};
use posthorn_wire::{Machine, Step};
use serde::Serialize;

use super::super::{Misuse, plain_line};
use super::words::one_of;
use crate::circumstances::Circumstances;
use crate::output::{Output, table};
use crate::resolver::Asking;

#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The client's address; without any option, a request as Postfix writes it is read from standard input
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// The client's name, confirmed in both directions [default: what the DNS says]
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// What the client calls itself
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender; <> is the null sender
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The recipient; may be repeated at the end of a message
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Who has logged in
    #[arg(long, value_name = "ADDRESS")]
    login: Option<String>,
    /// The size of the message
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// When in the session
    #[arg(long, value_parser = one_of(STAGES, word), default_value = "rcpt")]
    stage: Stage,
    /// The client may relay
    #[arg(long)]
    trusted: bool,
}

const STAGES: [Stage; 8] =
    [Stage::Connect, Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfMessage, Stage::Vrfy, Stage::Etrn];

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Helo => "helo",
        Stage::Mail => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
        Stage::EndOfMessage => "end-of-message",
        Stage::Vrfy => "vrfy",
        Stage::Etrn => "etrn",
    }
}

/// What is explained, as programs read it.
#[derive(Serialize)]
struct Shown {
    action: String,
    decided_by: Option<&'static str>,
    additions: Vec<String>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    rule: &'static str,
    says: String,
    why: String,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    args: Explain,
    output: &mut Output,
) -> anyhow::Result<()> {
    let inquiry = match args.inquiry() {
        Some(inquiry) => inquiry,
        None => tokio::task::spawn_blocking(read).await??,
    };
    let resolver = Asking::new(Circumstances::default().ground(&loaded.config)?.dns);
    let policy = Policy::open(mail.clone(), Settings::of(&loaded.config), Arc::new(resolver)).await?;
    let shown = Shown::from(policy.explain(&inquiry).await?);
    let text = |shown: &Shown| {
        let rows = shown.findings.iter().map(|one| vec![one.rule.to_owned(), one.says.clone(), one.why.clone()]);
        let by = shown.decided_by.map_or_else(String::new, |rule| format!("  (by {rule})"));
        let findings = if shown.findings.is_empty() {
            format!("no check has anything to say at {}", word(inquiry.stage))
        } else {
            table(false, &["check", "says", "why"], rows)
        };
        format!("{findings}\n\naction={}{by}", shown.action)
    };
    output.answer(&shown, || text(&shown))
}

impl Explain {
    /// What the options say; `None` when they say nothing.
    fn inquiry(self) -> Option<Inquiry> {
        let nothing = self.client.is_none() && self.client_name.is_none() && self.helo.is_none();
        if nothing && self.from.is_none() && self.to.is_empty() && self.login.is_none() {
            return None;
        }
        let recipient = self.to.last().filter(|_| self.stage == Stage::Rcpt || self.to.len() == 1).cloned();
        let earlier = if self.stage == Stage::Rcpt { self.to.len().saturating_sub(1) } else { self.to.len() };
        let count = if matches!(self.stage, Stage::Data | Stage::EndOfMessage) { self.to.len() } else { 0 };
        let sasl = |username| SaslFacts { method: "PLAIN".to_owned(), username, sender: None };
        Some(Inquiry {
            stage: self.stage,
            protocol: "ESMTP".to_owned(),
            client: ClientFacts {
                address: self.client,
                reverse_name: self.client_name.clone(),
                name: self.client_name,
                port: None,
            },
            helo: self.helo,
            sender: self.from.map(|from| if from == "<>" { String::new() } else { from }),
            recipient,
            recipient_count: u32::try_from(count).unwrap_or(u32::MAX),
            recipients: self.to[..earlier].to_vec(),
            instance: "explain".to_owned(),
            size: self.size.map_or(0, Size::octets),
            sasl: self.login.map(sasl),
            trusted: self.trusted,
            ..Inquiry::default()
        })
    }
}

/// A request from standard input.
fn read() -> anyhow::Result<Inquiry> {
    if std::io::stdin().is_terminal() {
        let message = "say what to explain: --client 192.0.2.1 --from a@example.com --to b@example.org, or give a request of Postfix on standard input";
        return Err(Misuse(message.to_owned()).into());
    }
    let mut request = Vec::new();
    std::io::stdin().take(LONGEST).read_to_end(&mut request).context("standard input cannot be read")?;
    // Who copies a request leaves its last, empty line behind.
    request.extend_from_slice(b"\n\n");
    parsed(&request)
}

/// Octets of a request.
const LONGEST: u64 = 4 << 20;

fn parsed(request: &[u8]) -> anyhow::Result<Inquiry> {
    let now = Instant::now();
    let mut server = Server::new(Times::default(), now);
    server.buffer().extend_from_slice(request);
    match server.poll(now) {
        Step::Event(Event::Asked(inquiry)) => Ok(*inquiry),
        Step::Event(Event::Garbled(fault)) => {
            Err(Misuse(format!("standard input holds no request of the policy protocol: {fault}")).into())
        }
        _ => Err(Misuse("standard input ends within the request".to_owned()).into()),
    }
}

impl From<Explanation> for Shown {
    fn from(explanation: Explanation) -> Self {
        let decision = explanation.decision;
        let finding = |one: posthorn_policy::Finding| Finding {
            rule: one.rule,
            says: match one.said {
                Said::Nothing => "nothing against it".to_owned(),
                Said::Act(action) => plain_line(&action.to_string(), 120),
                Said::Exempt => "exempt from the checks for spam".to_owned(),
                Said::Unknown => "cannot tell".to_owned(),
            },
            why: plain_line(&one.why, 300),
        };
        Self {
            action: decision.action.to_string(),
            decided_by: explanation.decided_by,
            additions: decision.additions.iter().map(ToString::to_string).collect(),
            findings: decision.findings.into_iter().map(finding).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_postfix_is_read() {
        let request = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nsender=\nrecipient=a@example.org\n\n";
        let inquiry = parsed(request.as_bytes()).expect("a request");
        assert_eq!((inquiry.stage, inquiry.recipient.as_deref()), (Stage::Rcpt, Some("a@example.org")));
        assert!(parsed(b"Hello there\n\n").is_err());
        assert!(parsed(b"\n").is_err());
    }
}
