//! What the demo tells people, and what it tells scripts.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use posthorn_config::Speaks;
use posthorn_net::{Bound, Local};
use serde::{Deserialize, Serialize};

use super::people::{DOMAIN, People, USERS};
use crate::assemble::Appliance;
use crate::output;

/// Where the demo listens.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Ports {
    pub(super) smtp: u16,
    pub(super) submission: u16,
    pub(super) submissions: u16,
    pub(super) lmtp: u16,
    pub(super) imap: u16,
    pub(super) imaps: u16,
    #[serde(default)]
    pub(super) policy: u16,
    #[serde(default, rename = "srs-forward")]
    pub(super) srs_forward: u16,
    #[serde(default, rename = "srs-reverse")]
    pub(super) srs_reverse: u16,
    #[serde(default)]
    pub(super) filter: u16,
    #[serde(default)]
    pub(super) reinject: u16,
    #[serde(default, rename = "reinject-expand")]
    pub(super) reinject_expand: u16,
    #[serde(default, rename = "am-pdp")]
    pub(super) am_pdp: u16,
    #[serde(default)]
    pub(super) milter: u16,
    pub(super) metrics: u16,
}

impl Ports {
    /// The ports that were bound.
    pub(super) fn of(bound: &[Bound]) -> Self {
        let port = |speaks: Speaks| {
            bound.iter().filter(|one| one.speaks == speaks).find_map(|one| match &one.address {
                Local::Tcp(address) => Some(address.port()),
                Local::Unix(_) => None,
            })
        };
        let port = |speaks| port(speaks).unwrap_or(0);
        Self {
            smtp: port(Speaks::Smtp),
            submission: port(Speaks::Submission),
            submissions: port(Speaks::Submissions),
            lmtp: port(Speaks::Lmtp),
            imap: port(Speaks::Imap),
            imaps: port(Speaks::Imaps),
            policy: port(Speaks::Policy),
            srs_forward: port(Speaks::SrsForward),
            srs_reverse: port(Speaks::SrsReverse),
            filter: port(Speaks::Filter),
            reinject: port(Speaks::Reinject),
            reinject_expand: port(Speaks::ReinjectExpand),
            am_pdp: port(Speaks::AmPdp),
            milter: port(Speaks::Milter),
            metrics: port(Speaks::Metrics),
        }
    }
}

/// Everything there is to tell.
pub(super) struct Facts<'f> {
    pub(super) ports: &'f Ports,
    pub(super) people: &'f People,
    pub(super) certificate: &'f Path,
    pub(super) appliance: &'f Appliance,
}

/// Writes shell variables, readable by their owner only. The file appears whole.
pub(super) fn write(file: &Path, facts: &Facts<'_>) -> anyhow::Result<()> {
    let Facts { ports, people, certificate, appliance } = facts;
    let private = appliance.database().private();
    let variables = [
        ("HOST", "127.0.0.1".to_owned()),
        ("TLSNAME", "localhost".to_owned()),
        ("CAFILE", certificate.display().to_string()),
        ("SMTP_PORT", ports.smtp.to_string()),
        ("SUBMISSION_PORT", ports.submission.to_string()),
        ("SUBMISSIONS_PORT", ports.submissions.to_string()),
        ("LMTP_PORT", ports.lmtp.to_string()),
        ("IMAP_PORT", ports.imap.to_string()),
        ("IMAPS_PORT", ports.imaps.to_string()),
        ("POLICY_PORT", ports.policy.to_string()),
        ("SRS_FORWARD_PORT", ports.srs_forward.to_string()),
        ("SRS_REVERSE_PORT", ports.srs_reverse.to_string()),
        ("FILTER_PORT", ports.filter.to_string()),
        ("REINJECT_PORT", ports.reinject.to_string()),
        ("REINJECT_EXPAND_PORT", ports.reinject_expand.to_string()),
        ("AM_PDP_PORT", ports.am_pdp.to_string()),
        ("MILTER_PORT", ports.milter.to_string()),
        ("METRICS_PORT", ports.metrics.to_string()),
        ("USER1", USERS[0].to_owned()),
        ("PASS1", people.passwords[0].clone()),
        ("USER2", USERS[1].to_owned()),
        ("PASS2", people.passwords[1].clone()),
        ("USERFMT", format!("u%d@{DOMAIN}")),
        ("ACCOUNT_PASS", people.account_password.clone()),
        ("DATABASE_URL", appliance.database().url().to_owned()),
        ("SERVER_PID", std::process::id().to_string()),
        ("POSTGRES_PID", private.map_or(String::new(), |private| private.pid().to_string())),
    ];
    let mut text = String::new();
    for (name, value) in variables {
        writeln!(text, "{name}='{}'", value.replace('\'', "'\\''"))?;
    }
    let part = file.with_extension("part");
    let write = || {
        let _old = std::fs::remove_file(&part);
        let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        to.write_all(text.as_bytes())?;
        std::fs::rename(&part, file)
    };
    write().with_context(|| format!("{} cannot be written", file.display()))
}

/// Addresses, users, and lines to paste.
pub(super) fn summary(facts: &Facts<'_>, once: bool) -> String {
    let Facts { ports, people, certificate, .. } = facts;
    let at = |port: u16| format!("127.0.0.1:{port}");
    let services = [
        ("smtp", ports.smtp, "STARTTLS offered", "mail from other servers, no login"),
        ("submission", ports.submission, "STARTTLS offered", "mail from people, login"),
        ("submissions", ports.submissions, "implicit TLS", "mail from people, login"),
        ("lmtp", ports.lmtp, "plain", "local delivery, no login"),
        ("imap", ports.imap, "STARTTLS offered", "mailboxes"),
        ("imaps", ports.imaps, "implicit TLS", "mailboxes"),
        ("policy", ports.policy, "plain", "questions of other mail servers (policy delegation)"),
        ("srs-forward", ports.srs_forward, "plain", "rewritten senders for other mail servers (tcp_table)"),
        ("srs-reverse", ports.srs_reverse, "plain", "the same, back"),
        ("filter", ports.filter, "plain", "content filter of other mail servers, by SMTP or LMTP"),
        ("reinject", ports.reinject, "plain", "judged mail comes back"),
        ("reinject-expand", ports.reinject_expand, "plain", "the same, with aliases followed"),
        ("am-pdp", ports.am_pdp, "plain", "held mail is released"),
        ("milter", ports.milter, "plain", "the filter as a milter of other mail servers"),
        ("metrics", ports.metrics, "plain", "what is counted, for Prometheus: /metrics"),
    ];
    let rows = services.map(|(name, port, tls, what)| vec![name.to_owned(), at(port), tls.to_owned(), what.to_owned()]);
    let mut text = output::table(false, &["service", "address", "tls", "for"], rows);
    let users = USERS.iter().zip(&people.passwords).map(|(user, password)| vec![(*user).to_owned(), password.clone()]);
    let shared =
        people.last_account.map(|last| vec![format!("u0 … u{last}@{DOMAIN}"), people.account_password.clone()]);
    text.push_str("\n\n");
    text.push_str(&output::table(false, &["user", "password"], users.chain(shared)));
    let (from, to) = (USERS[0], USERS[1]);
    let (from_password, to_password) = (&people.passwords[0], &people.passwords[1]);
    let _infallible = write!(
        text,
        "\n\nSend:  swaks --server 127.0.0.1:{submission} --tls --auth PLAIN --auth-user {from} --auth-password {from_password} \
         --from {from} --to {to}\nRead:  curl --cacert {ca} --user {to}:{to_password} \
         'imaps://localhost:{imaps}/INBOX;MAILINDEX=*'\n",
        submission = ports.submission,
        imaps = ports.imaps,
        ca = certificate.display(),
    );
    if !once {
        text.push_str("\nServing until Ctrl-C.\n");
    }
    text
}
