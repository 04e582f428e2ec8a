//! Attempts as entries of the trace.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use posthorn_report::classify_reply;

use crate::adaptive::Change;
use crate::outcome::shown_by_line;
use crate::record::Ruling;
use crate::settle::{Settled, Verdict};

/// The detail of an attempt, as a JSON object.
pub(crate) fn attempt(settled: &Settled, ruling: &Ruling) -> String {
    let mut object = Object::new();
    let delivery = &settled.row.delivery;
    object.text("recipient", &delivery.recipient);
    if let Some(reply) = &ruling.reply {
        match settled.reply.as_ref().filter(|reply| reply.text.contains('\n')) {
            Some(reply) => object.text("reply", &shown_by_line(reply)),
            None => object.text("reply", reply),
        }
        if !matches!(settled.verdict, Verdict::Delivered(_)) {
            let class = classify_reply(reply).class;
            object.text("class", &format!("{} {}", class.number(), class.name()));
        }
    }
    if let Some(host) = &settled.host {
        object.text("host", host);
    }
    if let Some(site) = &settled.site {
        object.text("binding", &site.binding_name);
        object.text("site", &site.path.name);
    }
    if let Some(session) = &settled.session {
        if let Some(peer) = session.peer {
            object.text("peer", &peer.to_string());
        }
        if let Some(local) = session.local {
            object.text("from", &local.ip().to_string());
        }
        object.text("tls", if session.tls.is_empty() { "none" } else { &session.tls });
        if let Some(problem) = &session.problem {
            object.text("tls_problem", problem);
        }
    }
    if let Some(route) = &settled.row.told.route {
        object.text("route", route);
    }
    if let Some(problem) = &settled.row.told.sts_problem {
        object.text("mta_sts", problem);
    }
    if ruling.attempted {
        object.number("attempt", u64::from(delivery.attempts) + 1);
    }
    if settled.verdict == Verdict::NotTried {
        let host = settled.host.as_deref().unwrap_or("the host");
        object.text("why", &format!("not tried: {host} failed a moment ago"));
    }
    if let Some(due) = ruling.due {
        object.time("next", due);
    }
    if let Verdict::SetAside(why) = &settled.verdict {
        object.text("why", why);
    }
    object.end()
}

/// The detail of a change that a reply brought about.
pub(crate) fn change(change: &Change) -> String {
    let mut object = Object::new();
    object.text("binding", &change.binding);
    object.text("site", &change.site);
    object.text("setting", change.setting.word());
    if let Some(old) = change.old {
        object.number("old", u64::from(old));
    }
    if let Some(new) = change.new {
        object.number("new", u64::from(new));
    }
    object.text("rule", &change.rule);
    if !change.reply.is_empty() {
        object.text("reply", &change.reply);
    }
    object.time("until", change.until);
    object.end()
}

/// A JSON object of texts and numbers, written in one go: there is one per delivery.
struct Object(String);

impl Object {
    fn new() -> Self {
        let mut text = String::with_capacity(256);
        text.push('{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _never_fails = write!(self.0, "\"{name}\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                c if c.is_control() => {
                    let _never_fails = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _never_fails = write!(self.0, "{value}");
    }

    fn time(&mut self, name: &str, value: DateTime<Utc>) {
        self.name(name);
        let _never_fails = write!(self.0, "\"{}\"", value.format("%Y-%m-%dT%H:%M:%SZ"));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use posthorn_mail::queue::Outcome;
    use posthorn_smtp::Reply;

    use super::*;
    use crate::job::Told;
    use crate::job::tests::job;

    #[test]
    fn an_attempt_tells_why_it_went_this_way() {
        let mut job = job(&["a@example.org"]);
        let mut row = job.rows.remove(0);
        row.told = Told { route: Some("route 1: senders a.test → mx".into()), sts_problem: Some("no policy".into()) };
        let reply = Reply::new(451, 4, 1, "refused\nby all");
        let mut settled = Settled::new(&job.outgoing, row, Verdict::NotTried, reply);
        settled.host = Some(Arc::from("mx.example.org"));
        let ruling = Ruling {
            kind: Some("deferred"),
            outcome: Outcome::Returned,
            reply: Some("451 4.4.1 refused by all".to_owned()),
            due: None,
            attempted: false,
            news: None,
        };
        let detail = attempt(&settled, &ruling);
        for part in [
            r#""route":"route 1: senders a.test → mx""#,
            r#""mta_sts":"no policy""#,
            r#""reply":"451 4.4.1 refused\u000aby all""#,
            r#""why":"not tried: mx.example.org failed a moment ago""#,
        ] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
        assert!(!detail.contains("attempt\""), "{detail}");
    }

    #[test]
    fn what_others_say_cannot_break_out() {
        let mut object = Object::new();
        object.text("reply", "550 \"no\" \\ \u{1}é");
        object.number("attempt", 3);
        object.time("next", DateTime::from_timestamp(0, 0).expect("a time"));
        let expected = "{\"reply\":\"550 \\\"no\\\" \\\\ \\u0001é\",\"attempt\":3,\"next\":\"1970-01-01T00:00:00Z\"}";
        assert_eq!(object.end(), expected);
    }
}
