//! The letter itself: text, and the same as a page without anything that would be fetched.

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset, Utc};

use crate::Category;

/// The longest sender and subject, in characters.
const LONGEST: usize = 160;

/// A letter to one recipient.
pub(super) struct Letter<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) hostname: &'a str,
    pub(super) now: DateTime<Utc>,
    /// In which times are written.
    pub(super) zone: FixedOffset,
    /// What is held, the oldest first.
    pub(super) items: Vec<Item>,
    /// Whether more is held than is listed.
    pub(super) has_more: bool,
    pub(super) links_until: DateTime<Utc>,
}

/// One held message.
pub(super) struct Item {
    pub(super) at: DateTime<Utc>,
    pub(super) sender: String,
    pub(super) subject: String,
    pub(super) category: Category,
    pub(super) score: f64,
    /// Where it is released; `None` for what its recipient may not release.
    pub(super) url: Option<String>,
}

impl Item {
    fn sender(&self) -> String {
        if self.sender.is_empty() { "(no sender)".to_owned() } else { plain(&self.sender) }
    }

    fn subject(&self) -> String {
        let subject = plain(&self.subject);
        if subject.is_empty() { "(no subject)".to_owned() } else { subject }
    }

    /// What it is, in words for everybody.
    fn reason(&self) -> String {
        match self.category {
            Category::Clean => "held by a rule".to_owned(),
            Category::Trouble => "could not be handed on".to_owned(),
            Category::Oversized => "too large".to_owned(),
            Category::BadHeader => "malformed".to_owned(),
            Category::Spammy => format!("perhaps spam, {:.1} points", self.score),
            Category::Spam => format!("spam, {:.1} points", self.score),
            Category::Unchecked => "could not be checked".to_owned(),
            Category::Banned => "forbidden attachment".to_owned(),
            Category::Virus => "malware".to_owned(),
        }
    }

    /// Text and ground of the label that says so.
    fn colours(&self) -> (&'static str, &'static str) {
        match self.category {
            Category::Virus | Category::Banned => ("#9f1d1d", "#fdeaea"),
            Category::Spam | Category::Spammy => ("#8a5300", "#fdf1dc"),
            _ => ("#41506a", "#eaeef5"),
        }
    }
}

impl Letter<'_> {
    /// The whole message; its lines end with CRLF.
    pub(super) fn octets(&self, unique: &str) -> String {
        let boundary = format!("=_{unique}");
        let mut text = format!(
            "From: Quarantine <{from}>\nTo: <{to}>\nSubject: {subject}\nDate: {date}\n\
             Message-ID: <digest.{unique}@{host}>\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: multipart/alternative; boundary=\"{boundary}\"\n\n",
            from = self.from,
            to = self.to,
            subject = self.headline(),
            date = posthorn_mime::date_text(self.now),
            host = self.hostname,
        );
        for (kind, part) in [("plain", self.text()), ("html", self.html())] {
            let head = "charset=utf-8\nContent-Transfer-Encoding: 8bit";
            let _ = write!(text, "--{boundary}\nContent-Type: text/{kind}; {head}\n\n{part}\n");
        }
        let _ = writeln!(text, "--{boundary}--");
        text.replace('\n', "\r\n")
    }

    fn headline(&self) -> String {
        match (self.items.len(), self.has_more) {
            (1, false) => "1 message is held for you".to_owned(),
            (count, false) => format!("{count} messages are held for you"),
            (count, true) => format!("More than {count} messages are held for you"),
        }
    }

    fn time(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).format("%a %-d %b %Y, %H:%M").to_string()
    }

    fn has_links(&self) -> bool {
        self.items.iter().any(|item| item.url.is_some())
    }

    /// What is said below the list, a sentence each.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.has_links() {
            let until = self.time(self.links_until);
            notes.push(format!(
                "A link leads to a page that asks once more. It works once, until {until}, and for your copy alone."
            ));
        }
        if self.items.iter().any(|item| item.url.is_none()) {
            notes.push("What has no link can be released by your administrator.".to_owned());
        }
        if self.has_more {
            notes.push("The rest comes with the next letter.".to_owned());
        }
        notes.push(
            "What nobody releases is deleted when its time is over. There is nothing that you must do.".to_owned(),
        );
        notes
    }

    fn text(&self) -> String {
        let mut text = format!("{} ({}):\n", self.headline(), self.to);
        for item in &self.items {
            let _ = write!(
                text,
                "\n{}\n  from     {}\n  arrived  {}\n  why      {}\n",
                item.subject(),
                item.sender(),
                self.time(item.at),
                item.reason()
            );
            if let Some(url) = &item.url {
                let _ = writeln!(text, "  release  {url}");
            }
        }
        text.push_str("\n-- \n");
        for note in self.notes() {
            let _ = writeln!(text, "{note}");
        }
        let _ = writeln!(text, "{}", self.hostname);
        text
    }

    fn html(&self) -> String {
        let mut rows = String::new();
        for item in &self.items {
            let (ink, ground) = item.colours();
            let button = item.url.as_ref().map(|url| {
                let look = "display:inline-block;padding:8px 16px;border-radius:8px;background:#1f5fbf;color:#ffffff;\
                            font-size:14px;font-weight:600;text-decoration:none";
                format!("\n<a href=\"{}\" style=\"{look}\">Release</a>", escape(url))
            });
            let _ = write!(
                rows,
                "<tr>\n<td valign=\"middle\" style=\"padding:14px 20px;border-top:1px solid #e6e9ef\">\n\
                 <div style=\"font-size:16px;font-weight:600;line-height:1.35;word-break:break-word\">{subject}</div>\n\
                 <div style=\"font-size:14px;color:#5b6472;line-height:1.5;word-break:break-word\">{sender}</div>\n\
                 <div style=\"font-size:13px;color:#5b6472;line-height:1.8\"><span style=\"white-space:nowrap;padding-right:8px\">{at}</span>\n\
                 <span style=\"padding:2px 8px;border-radius:10px;background:{ground};color:{ink};white-space:nowrap\">{reason}</span></div>\n\
                 </td>\n<td align=\"right\" valign=\"middle\" style=\"padding:14px 20px 14px 0;border-top:1px solid #e6e9ef\">{button}\n</td>\n</tr>\n",
                subject = escape(&item.subject()),
                sender = escape(&item.sender()),
                at = self.time(item.at),
                reason = item.reason(),
                button = button.unwrap_or_default(),
            );
        }
        let notes: String = self.notes().iter().map(|note| format!("{}<br>\n", escape(note))).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{headline}</title>\n</head>\n\
             <body style=\"margin:0;padding:0;background:#f3f5f8\">\n\
             <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"background:#f3f5f8\">\n\
             <tr>\n<td align=\"center\" style=\"padding:28px 12px\">\n\
             <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"max-width:640px;\
             background:#ffffff;border:1px solid #e0e4eb;border-radius:12px;color:#1c2430;\
             font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif\">\n\
             <tr>\n<td colspan=\"2\" style=\"padding:22px 20px 18px\">\n\
             <div style=\"font-size:21px;font-weight:700;line-height:1.3\">{headline}</div>\n\
             <div style=\"font-size:14px;color:#5b6472;line-height:1.6\">{to}</div>\n</td>\n</tr>\n\
             {rows}\
             <tr>\n<td colspan=\"2\" style=\"padding:16px 20px 20px;border-top:1px solid #e6e9ef;font-size:13px;color:#5b6472;\
             line-height:1.6\">\n{notes}{host}\n</td>\n</tr>\n</table>\n</td>\n</tr>\n</table>\n</body>\n</html>\n",
            headline = self.headline(),
            to = escape(self.to),
            host = escape(self.hostname),
        )
    }
}

/// One line of it, not too long, without what changes the direction of text around it.
fn plain(text: &str) -> String {
    let is_mark = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut words = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()).fold(
        String::new(),
        |mut line, word| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().filter(|c| !is_mark(*c)));
            line
        },
    );
    if words.chars().count() > LONGEST {
        words = words.chars().take(LONGEST - 1).collect();
        words.push('…');
    }
    words
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(subject: &str, url: Option<&str>) -> Item {
        let category = if url.is_some() { Category::Spam } else { Category::Virus };
        Item {
            at: DateTime::from_timestamp(1_780_000_000, 0).expect("a time"),
            sender: "Grüne \"Tomate\" <shop@example.net>".to_owned(),
            subject: subject.to_owned(),
            category,
            score: 7.25,
            url: url.map(str::to_owned),
        }
    }

    fn letter(items: Vec<Item>) -> Letter<'static> {
        Letter {
            from: "postmaster@mx.example.org",
            to: "anna@example.org",
            hostname: "mx.example.org",
            now: DateTime::from_timestamp(1_780_003_600, 0).expect("a time"),
            zone: FixedOffset::east_opt(7200).expect("a zone"),
            items,
            has_more: false,
            links_until: DateTime::from_timestamp(1_780_600_000, 0).expect("a time"),
        }
    }

    #[test]
    fn both_parts_list_everything_and_nothing_is_fetched() {
        let items = vec![
            item("<script>alert(1)</script>", Some("https://mail.example.org/release/abc")),
            item("Rechnung", None),
        ];
        let octets = letter(items).octets("u1");
        assert!(octets.starts_with("From: Quarantine <postmaster@mx.example.org>\r\nTo: <anna@example.org>\r\nSubject: 2 messages are held for you\r\n"));
        let (plain, html) = octets.split_once("Content-Type: text/html").expect("two parts");
        assert!(plain.contains("  release  https://mail.example.org/release/abc\r\n"), "{plain}");
        assert!(plain.contains("  why      spam, 7.2 points\r\n") || plain.contains("spam, 7.3 points"), "{plain}");
        assert!(plain.contains("  why      malware\r\n"));
        assert!(plain.contains("Thu 28 May 2026, 22:26"), "{plain}");
        assert_eq!(plain.matches("release  https").count(), 1);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
        assert!(html.contains("href=\"https://mail.example.org/release/abc\""));
        assert_eq!(html.matches("href=").count(), 1);
        for fetched in ["src=", "url(", "@import", "<link", "<img", "<iframe"] {
            assert!(!html.contains(fetched), "{fetched}");
        }
        assert!(octets.lines().all(|line| line.len() < 998) && !octets.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn what_strangers_wrote_stays_in_its_place() {
        let nasty = item("a\r\nBcc: b\u{202e}gnp.exe\u{0}c", None);
        assert_eq!(nasty.subject(), "a Bcc: bgnp.exe c");
        assert_eq!(item("", None).subject(), "(no subject)");
        let long = item(&"ü".repeat(500), None).subject();
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST, true));
    }

    #[test]
    fn notes_fit_what_is_listed() {
        let with = letter(vec![item("a", Some("https://x/release/y"))]).notes().join(" ");
        assert!(with.contains("It works once") && !with.contains("administrator"), "{with}");
        let without = letter(vec![item("a", None)]).notes().join(" ");
        assert!(!without.contains("works once") && without.contains("administrator"), "{without}");
        assert_eq!(letter(vec![item("a", None)]).headline(), "1 message is held for you");
        assert_eq!(
            Letter { has_more: true, ..letter(vec![item("a", None), item("b", None)]) }.headline(),
            "More than 2 messages are held for you"
        );
    }
}
