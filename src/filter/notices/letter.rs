//! The words of letters.

use posthorn_mail::copies::Fate;

use crate::Category;

/// What recipients read.
pub(super) const RECIPIENT: &str = "\
A message for you {fate}, because it is {what}: {why}.

From:       {author} (sent as {sender})
Subject:    {subject}
Message-ID: {header_id}
Held as:    {held}

Who it claims to be from need not have sent it. If you expect it, ask your postmaster.
";

/// What administrators read.
pub(super) const ADMINISTRATOR: &str = "\
A message {fate}, because it is {what}: {why}.

Client:     {client}
Sender:     {sender}
From:       {author}
To:         {recipients}
Subject:    {subject}
Message-ID: {header_id}
Held as:    {held}
";

/// The most characters of one value.
const LONGEST: usize = 500;

/// A text with its names replaced; what a message says is shown in one line, and never read for names again.
pub(super) fn letter(template: &str, facts: &[(&'static str, String)], left_out: u32) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        let known = from.find('}').and_then(|end| {
            let (_, value) = facts.iter().find(|(name, _)| *name == &from[1..end])?;
            Some((end, value))
        });
        match known {
            Some((end, value)) => {
                text.push_str(&line(value));
                rest = &from[end + 1..];
            }
            None => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text.push_str(rest);
    if left_out > 0 {
        text.push_str(&format!("\n{left_out} more letters like this were left out before.\n"));
    }
    let mut out = String::with_capacity(text.len() + 32);
    for line in text.lines() {
        out.push_str(line.trim_end());
        out.push_str("\r\n");
    }
    out
}

/// The subject of a letter.
pub(super) fn subject(category: Category, facts: &[(&'static str, String)]) -> String {
    let of = facts.iter().find(|(name, _)| *name == "subject").map(|(_, value)| line(value)).unwrap_or_default();
    format!("A message is {}: {of}", what(category))
}

/// What a message is, in a sentence.
pub(super) fn what(category: Category) -> &'static str {
    match category {
        Category::Virus => "malware",
        Category::Banned => "of a kind that is not allowed",
        Category::Spam | Category::Spammy => "spam",
        Category::BadHeader => "unsound",
        Category::Unchecked => "not to be looked at",
        Category::Oversized => "too large",
        Category::Trouble | Category::Clean => "nothing special",
    }
}

/// What became of it, in a sentence.
pub(super) fn fate(fate: Option<&Fate>) -> String {
    match fate {
        Some(Fate::Hold(_)) => "is held".to_owned(),
        Some(Fate::Refuse(_)) => "was refused".to_owned(),
        Some(Fate::Junk) => "was delivered into Junk".to_owned(),
        Some(Fate::Deliver) | None => "was delivered".to_owned(),
    }
}

fn line(value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lines_and_no_templates() {
        let facts = [("subject", "a\r\nBcc: {sender}".to_owned()), ("sender", "eve@example.org".to_owned())];
        let text = letter("S: {subject}\nF: {sender} {unknown} {\n", &facts, 0);
        assert_eq!(text, "S: a  Bcc: {sender}\r\nF: eve@example.org {unknown} {\r\n");
        assert!(letter("x\n", &facts, 4).ends_with("\r\n4 more letters like this were left out before.\r\n"));
        assert_eq!(subject(Category::Virus, &facts), "A message is malware: a  Bcc: {sender}");
    }

    #[test]
    fn the_texts_name_what_there_is() {
        let names = ["fate", "what", "why", "author", "sender", "subject", "header_id", "held", "client", "recipients"];
        let facts: Vec<(&'static str, String)> = names.map(|name| (name, "x".to_owned())).to_vec();
        for text in [RECIPIENT, ADMINISTRATOR] {
            assert!(!letter(text, &facts, 0).contains('{'), "{text}");
        }
    }
}
