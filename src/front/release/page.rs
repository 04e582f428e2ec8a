//! What the pages look like.

use super::Said;

/// One page: a mark, a headline, some words, and perhaps a button.
pub(super) struct Page {
    mark: (&'static str, &'static str),
    headline: &'static str,
    words: String,
    facts: Vec<(&'static str, String)>,
    button: bool,
}

const QUESTION: (&str, &str) = ("?", "#1f5fbf");
const DONE: (&str, &str) = ("\u{2713}", "#1c7c4a");
const CLOSED: (&str, &str) = ("\u{2013}", "#6a7484");
const ALARM: (&str, &str) = ("!", "#b3372e");

impl Page {
    pub(super) fn of(said: &Said) -> Self {
        let plain = |mark, headline, words: String| Self { mark, headline, words, facts: Vec::new(), button: false };
        match said {
            Said::Asked { sender, subject, at, why } => Self {
                mark: QUESTION,
                headline: "Release this message?",
                words: "It will be delivered to your mailbox. Release it only if you expect it, or know who sent it."
                    .to_owned(),
                facts: vec![
                    ("From", named(sender, "(no sender)")),
                    ("Subject", named(subject, "(no subject)")),
                    ("Arrived", at.clone()),
                    ("Held as", why.clone()),
                ],
                button: true,
            },
            Said::Released => plain(
                DONE,
                "The message is released",
                "It is on its way to your mailbox. You can close this page.".to_owned(),
            ),
            Said::Refused(why) => plain(
                ALARM,
                "The message could not be delivered",
                format!("It stays held, and the link still works. The reason: {why}."),
            ),
            Said::Over { at, released } => {
                let moment = at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
                let words = match released {
                    true => format!("It was released already{moment}. Each link works once."),
                    false => format!("It was deleted{moment}."),
                };
                plain(CLOSED, "The message is not held any more", words)
            }
            Said::Expired(at) => plain(
                CLOSED,
                "The link has expired",
                format!("It was good until {at}. Your administrator can still release the message."),
            ),
            Said::Unknown => plain(
                CLOSED,
                "There is nothing here",
                "The link is not known. Perhaps a part of it was lost: copy it as a whole out of the letter."
                    .to_owned(),
            ),
            Said::Trouble => {
                plain(ALARM, "That did not work", "Please try again in a few minutes. Nothing was changed.".to_owned())
            }
        }
    }

    pub(super) fn html(&self) -> String {
        let rows: String = self
            .facts
            .iter()
            .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)))
            .collect();
        let facts = if rows.is_empty() { String::new() } else { format!("<dl>\n{rows}</dl>\n") };
        let form = match self.button {
            true => "<form method=\"post\"><button type=\"submit\">Release the message</button></form>\n",
            false => "",
        };
        let (mark, colour) = self.mark;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{headline}</title>\n<style>{STYLE}</style>\n\
             </head>\n<body>\n<main>\n<p class=\"mark\" style=\"background:{colour}\" aria-hidden=\"true\">{mark}</p>\n\
             <h1>{headline}</h1>\n<p class=\"words\">{words}</p>\n{facts}{form}</main>\n</body>\n</html>\n",
            headline = self.headline,
            words = escape(&self.words),
        )
    }
}

/// As one line of bounded length, without what changes the direction of text.
fn named(text: &str, otherwise: &str) -> String {
    let is_mark = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let line: String = text.chars().filter(|c| !c.is_control() && !is_mark(*c)).take(LONGEST).collect();
    if line.trim().is_empty() { otherwise.to_owned() } else { line }
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

const LONGEST: usize = 300;

const STYLE: &str = "\
:root{--ink:#1c2430;--soft:#5b6472;--line:#e3e7ee;--card:#fff;--ground:#f1f4f8;--act:#1f5fbf;--over:#194f9f}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#a3acba;--line:#323a47;--card:#1e242d;--ground:#14181e;--act:#3d7be0;--over:#5a90ea}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px 16px;background:var(--ground);color:var(--ink);\
font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
main{width:100%;max-width:520px;padding:36px 36px 32px;background:var(--card);border:1px solid var(--line);border-radius:16px;\
box-shadow:0 10px 30px rgba(20,30,50,.07)}\
.mark{width:44px;height:44px;margin:0 0 18px;border-radius:50%;color:#fff;font-size:22px;font-weight:700;line-height:44px;text-align:center}\
h1{margin:0 0 8px;font-size:25px;line-height:1.25;letter-spacing:-.01em}\
.words{margin:0;color:var(--soft)}\
dl{margin:24px 0 0;border-top:1px solid var(--line)}\
dl div{display:grid;grid-template-columns:88px 1fr;gap:12px;padding:11px 0;border-bottom:1px solid var(--line)}\
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
form{margin:26px 0 0}\
button{width:100%;padding:13px 20px;border:0;border-radius:10px;background:var(--act);color:#fff;font:inherit;font-weight:600;cursor:pointer}\
button:hover{background:var(--over)}button:focus-visible{outline:3px solid var(--act);outline-offset:3px}\
@media(max-width:480px){main{padding:28px 22px 24px}dl div{grid-template-columns:1fr;gap:0}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_has_a_button_and_nothing_is_fetched() {
        let asked = Said::Asked {
            sender: "<b>\"x\"</b>".to_owned(),
            subject: "\u{202e}a\r\nb".to_owned(),
            at: "today".to_owned(),
            why: "spam".to_owned(),
        };
        let html = Page::of(&asked).html();
        assert!(html.contains("<form method=\"post\">") && html.contains("&lt;b&gt;&quot;x&quot;"), "{html}");
        assert!(html.contains("<dd>ab</dd>") && !html.contains("<b>"));
        let others = [
            Said::Released,
            Said::Refused("the <mailbox> is full".to_owned()),
            Said::Over { at: None, released: false },
            Said::Expired("yesterday".to_owned()),
            Said::Unknown,
            Said::Trouble,
        ];
        for page in others.iter().map(|said| Page::of(said).html()).chain([html]) {
            for part in ["src=", "url(", "@import", "<link", "<script", "href="] {
                assert!(!page.contains(part), "{part}");
            }
        }
        assert!(others.iter().all(|said| !Page::of(said).html().contains("<form")));
    }
}
