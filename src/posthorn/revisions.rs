//! Configurations as they were applied, kept in the database: who applied what, when, and what differed.

use std::path::Path;

use posthorn_config::{Config, Loaded};
use posthorn_store::Store;
use posthorn_store::config_revisions::{self, NewRevision, Revision};
use similar::TextDiff;

/// What stands in the place of a password.
const HIDDEN: &str = "***";

/// A configuration as it is kept: everything that holds, and the files as they are, both without passwords.
#[must_use]
pub fn revision(loaded: &Loaded, running: &Config, author: &str) -> NewRevision {
    let files = loaded.files().into_iter().filter(|file| file.extension().is_some_and(|name| name == "toml"));
    let text = |file: &Path| without_passwords(&std::fs::read_to_string(file).unwrap_or_default());
    NewRevision {
        server: running.server.hostname.clone(),
        author: author.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings(running),
        files: files.map(|file| (file.display().to_string(), text(&file))).collect(),
    }
}

/// Everything that holds, as TOML without origins, which say nothing about what it means.
#[must_use]
pub fn settings(config: &Config) -> String {
    let shown = Loaded::from(config.clone()).show();
    let plain = |line: &str| line.strip_suffix("  # default").unwrap_or(line).to_owned();
    shown.lines().map(plain).collect::<Vec<_>>().join("\n") + "\n"
}

/// Keeps it unless it is what was applied last; a database that is away keeps no configuration from being applied.
pub(crate) async fn keep(store: &Store, revision: &NewRevision) -> Option<i64> {
    let kept = async {
        let mut connection = store.acquire().await?;
        config_revisions::keep(&mut connection, revision, chrono::Utc::now()).await
    };
    match kept.await {
        Ok(id) => id,
        Err(error) => {
            tracing::warn!(%error, "the configuration is applied, but not written down as a revision");
            None
        }
    }
}

/// What differs, as a unified diff; empty when nothing does.
#[must_use]
pub fn diff(old: (&str, &str), new: (&str, &str)) -> String {
    let diff = TextDiff::from_lines(old.1, new.1);
    diff.unified_diff().context_radius(2).header(old.0, new.0).to_string()
}

/// Lines that came and went from one revision to the next.
#[must_use]
pub fn lines_changed(old: &str, new: &str) -> (usize, usize) {
    let diff = TextDiff::from_lines(old, new);
    diff.iter_all_changes().fold((0, 0), |(came, went), change| match change.tag() {
        similar::ChangeTag::Insert => (came + 1, went),
        similar::ChangeTag::Delete => (came, went + 1),
        similar::ChangeTag::Equal => (came, went),
    })
}

/// Replaces the password of every URL in a text.
#[must_use]
pub fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, url, after)) = next_url(rest) {
        out.push_str(before);
        out.push_str(&posthorn_config::without_password(url));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text before a URL, the URL, and the text behind it.
fn next_url(text: &str) -> Option<(&str, &str, &str)> {
    let colon = text.find("://")?;
    let start = text[..colon]
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '+')
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    // Inside quotes it ends only at the quote that opened them: a password may hold the other one, and spaces.
    let quote = text[..start].chars().next_back().filter(|c| matches!(c, '"' | '\''));
    let ends = |c: char| match quote {
        Some(quote) => c == quote || c == '\n',
        None => c.is_whitespace() || matches!(c, '"' | '\''),
    };
    let end = text[colon..].find(ends).map_or(text.len(), |at| colon + at);
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// An old text with the passwords that its URLs have today: none is kept. `None` when one cannot be told.
#[must_use]
pub fn with_passwords(old: &str, today: &str) -> Option<String> {
    let mut known = Vec::new();
    let mut rest = today;
    while let Some((_, url, after)) = next_url(rest) {
        known.push((posthorn_config::without_password(url), url));
        rest = after;
    }
    let mut out = String::with_capacity(old.len());
    rest = old;
    while let Some((before, url, after)) = next_url(rest) {
        out.push_str(before);
        match known.iter().find(|(hidden, _)| hidden == url) {
            Some((_, whole)) => out.push_str(whole),
            None if url.contains(HIDDEN) => return None,
            None => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The revisions of a server, newest first, each with the one before it.
///
/// # Errors
/// What the database said.
pub async fn history(store: &Store, server: Option<&str>, most: i64) -> anyhow::Result<Vec<Revision>> {
    let mut connection = store.acquire().await?;
    Ok(config_revisions::list(&mut connection, server, most).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_left_out_and_put_back() {
        let text = "[database]\nurl = \"postgres://m:s3cret@db/mail\" # postgres://x\nother = 'postgres://db/a?password=b&c=d'\n";
        let hidden = without_passwords(text);
        assert!(!hidden.contains("s3cret") && !hidden.contains("password=b"), "{hidden}");
        assert!(hidden.contains("postgres://m:***@db/mail\" # postgres://x"), "{hidden}");
        assert_eq!(with_passwords(&hidden, text).as_deref(), Some(text));
        assert_eq!(with_passwords(&hidden, "url = 'postgres://m:new@db2/mail'"), None);
        assert_eq!(with_passwords("a = 'smtp://relay:25'", "").as_deref(), Some("a = 'smtp://relay:25'"));
        assert_eq!(without_passwords("ü://x"), "ü://x");
    }

    #[test]
    fn settings_are_the_same_whoever_wrote_them() {
        let shown = settings(&Config::default());
        assert!(shown.contains("max_hops = 100\n") && !shown.contains("# default"), "{shown}");
        assert_eq!(lines_changed(&shown, &shown.replace("max_hops = 100", "max_hops = 7")), (1, 1));
        let text = diff(("1", "a\nb\n"), ("2", "a\nc\n"));
        assert!(text.contains("-b") && text.contains("+c"), "{text}");
    }
}
