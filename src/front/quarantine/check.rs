//! A file judged for a helper of another mail server. Only files inside the configured folders are opened, wherever
//! links lead.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use posthorn_ampdp::{Answer, Check, Verdict};
use posthorn_config::QuarantinePort;
use posthorn_filter::{Case, Change, Edit, Fate, Judgement, Settled, Treatment, Way};
use posthorn_mail::Intake;
use posthorn_mail::copies::with_detail;
use posthorn_mail::envelope::{Client, Envelope, Recipient, Source};
use posthorn_mail::lent::Lent;
use posthorn_milter::Change as Said;
use posthorn_model::policy::{ClientFacts, Inquiry};
use posthorn_model::{Address, Refusal};
use tokio::io::AsyncReadExt as _;

use super::{Shared, said};
use crate::filter::Copy;
use crate::milter::changes;
use crate::story::Story;

/// A message in a file, and what was asked about it.
struct Judged<'a> {
    /// What our log calls the session.
    log_id: &'a str,
    way: Way,
    envelope: &'a Envelope,
    lent: &'a Lent,
}

impl Shared {
    pub(super) async fn check(&self, port: &QuarantinePort, log_id: &str, asked: &Check) -> Answer {
        if asked.delivery_care_of.as_deref() == Some("server") {
            // Whoever leaves the delivery to us would believe it done.
            return Answer::later("this server judges files, and delivers none of them");
        }
        let file = match &asked.mail_file {
            Some(file) => PathBuf::from(file),
            None => Path::new(asked.tempdir.as_deref().unwrap_or_default()).join("email.txt"),
        };
        let body = match self.read(port, &file).await {
            Ok(Ok(body)) => body,
            Ok(Err(refusal)) => return said(Answer::new(), &refusal).verdict(Verdict::Tempfail).exit_code(TEMPORARY),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a file cannot be judged");
                return Answer::later("the file cannot be read, or lies in no folder that is open to this port");
            }
        };
        match self.judge(log_id, asked, body).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "a file cannot be judged");
                Answer::later("local error, try again later")
            }
        }
    }

    async fn read(&self, port: &QuarantinePort, file: &Path) -> io::Result<Result<Intake, Refusal>> {
        let file = inside(port, file).await?;
        let file = tokio::fs::File::open(&file).await?;
        let facts = file.metadata().await?;
        if !facts.is_file() || facts.len() > self.largest {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no file, or too large a one"));
        }
        let mut file = file.take(self.largest);
        let mut body = self.mail.intake();
        let (mut piece, mut after_cr) = (vec![0; 64 << 10], false);
        loop {
            let count = file.read(&mut piece).await?;
            if count == 0 {
                return Ok(Ok(body));
            }
            if let Err(refusal) = body.push(&with_crlf(&piece[..count], &mut after_cr)) {
                return Ok(Err(refusal));
            }
        }
    }

    async fn judge(&self, log_id: &str, asked: &Check, body: Intake) -> posthorn_mail::Result<Answer> {
        let way = way(asked.policy_bank.as_deref().unwrap_or_default());
        let envelope = self.envelope_of(asked, way).await?;
        let inquiry = Inquiry {
            protocol: asked.protocol_name.clone().unwrap_or_default(),
            client: ClientFacts {
                address: address(asked),
                name: asked.client_name.clone(),
                reverse_name: asked.client_name.clone(),
                ..ClientFacts::default()
            },
            helo: asked.helo_name.clone(),
            sender: Some(asked.sender.clone()),
            recipients: asked.recipients.clone(),
            recipient_count: u32::try_from(asked.recipients.len()).unwrap_or(u32::MAX),
            queue_id: asked.queue_id.clone(),
            instance: log_id.to_owned(),
            trusted: way != Way::Inbound,
            ..Inquiry::default()
        };
        let lent = self.mail.check_lent(&envelope, body).await?;
        let case = Case {
            way,
            inquiry: &inquiry,
            envelope: &envelope,
            octets: &lent.octets,
            checked: lent.checked.as_ref(),
            now: self.mail.now(),
        };
        let judgement = self.engine.look(&case).await;
        let findings = judgement.findings.clone();
        let (answer, outcome) =
            self.conclude(&Judged { log_id, way, envelope: &envelope, lent: &lent }, judgement).await?;
        let story = Story {
            protocol: "am-pdp",
            session: log_id,
            queue_id: asked.queue_id.as_deref(),
            client: address(asked),
            findings,
            outcomes: vec![outcome],
        };
        story.tell(&self.mail, &envelope, &lent.octets);
        Ok(answer)
    }

    async fn envelope_of(&self, asked: &Check, way: Way) -> posthorn_mail::Result<Envelope> {
        let mut recipients = Vec::with_capacity(asked.recipients.len());
        for address in &asked.recipients {
            let route = match Address::parse(address) {
                Ok(parsed) => self.mail.route(&parsed).await?,
                Err(_) => self.mail.route_postmaster().await?,
            };
            recipients.push(Recipient { address: address.clone(), route, orcpt: None, notify: None });
        }
        let helo = asked.helo_name.clone().unwrap_or_default();
        let client = address(asked).map(|address| Client { address, helo });
        let (source, client) = match way {
            Way::Inbound => (Source::Stranger, client),
            _ => (Source::Relay, None),
        };
        Ok(Envelope { sender: Address::parse(&asked.sender).ok(), recipients, source, client, ..Envelope::default() })
    }

    /// Does what was ruled: the answer, and what the trace says of it.
    async fn conclude(&self, judged: &Judged<'_>, judgement: Judgement) -> posthorn_mail::Result<(Answer, String)> {
        let answer = Answer::judged(judged.log_id);
        let treatments = match judgement.settle(false) {
            Settled::Taken(treatments) => treatments,
            Settled::Refused(refusal) => {
                let (verdict, code) = match refusal.is_temporary() {
                    true => (Verdict::Tempfail, TEMPORARY),
                    false => (Verdict::Reject, UNAVAILABLE),
                };
                if !refusal.is_temporary() {
                    self.engine.tell(&judgement, None, &[]);
                }
                return Ok((said(answer, &refusal).verdict(verdict).exit_code(code), refusal.to_string()));
            }
        };
        let held: Vec<_> = treatments
            .iter()
            .enumerate()
            .filter_map(|(at, one)| if let Fate::Hold(hold) = &one.fate { Some((at, hold.clone())) } else { None })
            .collect();
        let names = match held.is_empty() {
            true => Vec::new(),
            false => self.engine.quarantine().hold(judged.envelope, &judged.lent.octets, &held).await?,
        };
        self.engine.accepted(&judgement.memo);
        self.engine.tell(&judgement, Some(&treatments), &names);
        let Some(first) = treatments.iter().find(|one| !is_held(one)) else {
            // It lies in our quarantine, all of it.
            let answer = answer.reply(250, "2.7.0", "Ok, held").verdict(Verdict::Discard).exit_code(DROPPED);
            return Ok((answer, format!("held as {}", names.join(", "))));
        };
        let answer = self.changed(judged, &first.edit, answer).await?;
        let separator = self.mail.section().subaddress_separator;
        let recipients = judged.envelope.recipients.iter().map(|one| one.address.as_str());
        let answer = recipients.zip(&treatments).fold(answer, |answer, one| readdressed(answer, one, separator));
        let answer = answer.reply(250, "2.6.0", "Ok").verdict(Verdict::Continue).exit_code(0);
        let held = if names.is_empty() { String::new() } else { format!(", held for others as {}", names.join(", ")) };
        Ok((answer, format!("goes on{held}")))
    }

    /// The changes of the first copy that goes on: the helper has one header for all.
    async fn changed(&self, judged: &Judged<'_>, edit: &Edit, answer: Answer) -> posthorn_mail::Result<Answer> {
        let mut edit = edit.clone();
        if edit.changes.iter().any(|change| matches!(change, Change::Body(_))) {
            // The protocol has no word for another body, and the fields that belong to one would lie.
            tracing::warn!(session.id = %judged.log_id, "a helper cannot change a body: nothing of that is changed");
            edit.changes.clear();
        }
        let octets = &judged.lent.octets;
        let mut above = judged.lent.results.clone().into_bytes();
        if judged.way != Way::Inbound {
            let Copy { header, text } = Copy::of(octets, &edit, &above);
            above = [self.mail.sign_lent(judged.envelope.sender.as_ref(), header, text).await?, above].concat();
        }
        let end = posthorn_mime::header_end(octets).unwrap_or(octets.len());
        let (old, new): (Vec<_>, Vec<_>) = changes::of(&octets[..end], &edit, &above, false)
            .into_iter()
            .partition(|change| matches!(change, Said::ChangeHeader(..)));
        // Since version 2 what goes and what changes is told before what is new.
        Ok(old.into_iter().chain(new).fold(answer, attribute))
    }
}

fn is_held(one: &Treatment) -> bool {
    matches!(one.fate, Fate::Hold(_))
}

fn address(asked: &Check) -> Option<std::net::IpAddr> {
    asked.client_address.as_deref().and_then(|text| text.parse().ok())
}

/// Which way the message goes, by the banks that the helper names: amavisd-milter names one for who has logged in.
fn way(banks: &str) -> Way {
    let any = |names: &[&str]| banks.split(',').any(|bank| names.contains(&bank.trim()));
    if any(&["MLMMJ"]) {
        Way::List
    } else if any(&["ORIGINATING", "SMTP_AUTH"]) {
        Way::Originating
    } else {
        Way::Inbound
    }
}

/// A change of the header as an attribute.
fn attribute(answer: Answer, change: Said) -> Answer {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match change {
        Said::ChangeHeader(nth, name, value) if value.is_empty() => answer.delete_header(nth as usize, &text(&name)),
        Said::ChangeHeader(nth, name, value) => answer.change_header(nth as usize, &text(&name), &text(&value)),
        Said::InsertHeader(at, name, value) => answer.insert_header(at as usize, &text(&name), &text(&value)),
        Said::AddHeader(name, value) => answer.add_header(&text(&name), &text(&value)),
        _ => answer,
    }
}

/// Who does not get it is taken away; who gets it with a detail, or instead, takes the place of who was written to.
fn readdressed(answer: Answer, (recipient, treatment): (&str, &Treatment), separator: char) -> Answer {
    if is_held(treatment) {
        return answer.delete_recipient(recipient);
    }
    if let Some(to) = &treatment.edit.to {
        let own = Address::parse(recipient).ok();
        let stays = own.as_ref().is_some_and(|own| to.contains(own));
        let answer = if stays { answer } else { answer.delete_recipient(recipient) };
        let others = to.iter().filter(|address| Some(*address) != own.as_ref());
        return others.fold(answer, |answer, address| answer.add_recipient(&address.to_string()));
    }
    let detail = treatment.edit.extension.as_deref();
    let detailed = detail.zip(Address::parse(recipient).ok());
    match detailed.and_then(|(detail, address)| with_detail(&address, separator, detail)) {
        Some(address) => answer.delete_recipient(recipient).add_recipient(&address.to_string()),
        None => answer,
    }
}

/// With CRLF at the end of every line: files have LF, most of them. `after_cr` is whether the piece before ended in CR.
fn with_crlf<'p>(piece: &'p [u8], after_cr: &mut bool) -> Cow<'p, [u8]> {
    let before = *after_cr;
    *after_cr = piece.last().map_or(before, |octet| *octet == b'\r');
    let follows_cr = |at: usize| at.checked_sub(1).map_or(before, |last| piece[last] == b'\r');
    let is_bare = |at: &usize| piece[*at] == b'\n' && !follows_cr(*at);
    let (mut lines, mut from) = (Vec::new(), 0);
    for at in (0..piece.len()).filter(is_bare) {
        lines.extend_from_slice(&piece[from..at]);
        lines.push(b'\r');
        from = at;
    }
    if lines.is_empty() {
        return Cow::Borrowed(piece);
    }
    lines.extend_from_slice(&piece[from..]);
    Cow::Owned(lines)
}

/// The file's true place, if that is inside a folder that is open.
async fn inside(port: &QuarantinePort, file: &Path) -> io::Result<PathBuf> {
    let file = tokio::fs::canonicalize(file).await?;
    for folder in &port.directories {
        if tokio::fs::canonicalize(folder).await.is_ok_and(|folder| file.starts_with(folder)) {
            return Ok(file);
        }
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "outside of the folders"))
}

/// EX_TEMPFAIL and EX_UNAVAILABLE of sysexits, and the code by which helpers know that nothing is left to deliver.
const TEMPORARY: u8 = 75;
const UNAVAILABLE: u8 = 69;
const DROPPED: u8 = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_those_of_mail() {
        for (text, whole) in
            [("a\nb\r\nc\n", "a\r\nb\r\nc\r\n"), ("\n\n", "\r\n\r\n"), ("a\r\rb", "a\r\rb"), ("", ""), ("\r\n", "\r\n")]
        {
            for size in 1..4 {
                let mut after_cr = false;
                let pieces = text.as_bytes().chunks(size).map(|piece| with_crlf(piece, &mut after_cr).into_owned());
                assert_eq!(String::from_utf8(pieces.collect::<Vec<_>>().concat()).expect("text"), whole, "{text:?}");
            }
        }
    }

    #[test]
    fn banks_say_which_way() {
        for (banks, expected) in [
            ("", Way::Inbound),
            ("TLS, ORIGINATING", Way::Originating),
            ("SMTP_AUTH,SMTP_AUTH_PLAIN,SMTP_AUTH_PLAIN_256", Way::Originating),
            ("MLMMJ", Way::List),
            ("SMTP_AUTHX", Way::Inbound),
        ] {
            assert_eq!(way(banks), expected, "{banks}");
        }
    }

    #[tokio::test]
    async fn only_what_lies_inside_is_opened() {
        let folder = std::env::temp_dir().join(format!("posthorn-check-{}", std::process::id()));
        let (open, shut) = (folder.join("open"), folder.join("shut"));
        for place in [&open, &shut] {
            std::fs::create_dir_all(place).expect("a folder");
            std::fs::write(place.join("email.txt"), "x").expect("a file");
        }
        std::os::unix::fs::symlink(shut.join("email.txt"), open.join("link")).expect("a link");
        let port = QuarantinePort { directories: vec![open.clone()], ..QuarantinePort::default() };
        assert!(inside(&port, &open.join("email.txt")).await.is_ok());
        for outside in [shut.join("email.txt"), open.join("../shut/email.txt"), open.join("link"), open.join("none")] {
            assert!(inside(&port, &outside).await.is_err(), "{}", outside.display());
        }
        assert!(inside(&QuarantinePort::default(), &open.join("email.txt")).await.is_err());
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
