//! Words that several commands about policy read and write.

use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use posthorn_config::{PolicyPattern, nearest};
use posthorn_mail::Mail;

use crate::output::tell;

/// A pattern; a domain or what is below one may be written without the `@`.
pub(super) fn pattern(text: &str) -> Result<PolicyPattern, String> {
    let read = text.parse::<PolicyPattern>();
    if read.is_err()
        && !text.starts_with(['@', '~'])
        && let Ok(domain) = format!("@{text}").parse()
    {
        return Ok(domain);
    }
    read.map_err(|error| error.to_string())
}

/// One of the words of a type.
pub(super) fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    // The parser lets pass only names of `all`, so the first one is never taken for another.
    PossibleValuesParser::new(all.map(name))
        .map(move |word| all.into_iter().find(|one| name(*one) == word).unwrap_or(all[0]))
}

/// Says so when the account that something was set for looks like a misspelt domain of ours. It may be right all the
/// same: other servers ask here about their own domains.
pub(super) async fn doubt(mail: &Mail, account: &PolicyPattern) -> anyhow::Result<()> {
    let domain = match account {
        PolicyPattern::Address(address) => address.rsplit_once('@').map_or("", |(_, domain)| domain),
        PolicyPattern::Domain(range) => range.as_str().trim_start_matches('.'),
        _ => return Ok(()),
    };
    let domains = mail.domains().await?;
    let ours = || domains.iter().map(|row| row.name.as_str());
    if ours().any(|one| one == domain) {
        return Ok(());
    }
    if let Some(hint) = nearest(domain, ours()) {
        tell(&format!("{domain} is no domain of this server; {hint}"));
    }
    Ok(())
}

/// ` (did you mean …?)` for a word that none of these is.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |hint| format!("; {hint}"))
}

/// A moment for people.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// How far off a moment is.
pub(super) fn until(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    if at <= now { "now".to_owned() } else { format!("in {}", round(at - now)) }
}

fn round(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds();
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}min", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_needs_no_at_sign() {
        for (written, shown) in [
            ("example.org", "@example.org"),
            (".example.org", "@.example.org"),
            ("A@example.org", "a@example.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("~mx.example.org", "~mx.example.org"),
            ("*", "*"),
            ("<>", "<>"),
        ] {
            assert_eq!(pattern(written).expect(written).to_string(), shown);
        }
        for nonsense in ["", "a b", "@", "~~", "a@", "@@example.org"] {
            assert!(pattern(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn moments_are_round() {
        let now = DateTime::UNIX_EPOCH;
        let shown = [0, 119, 120, 7200, 172_800].map(|seconds| until(now, now + TimeDelta::seconds(seconds)));
        assert_eq!(shown, ["now", "in 119s", "in 2min", "in 2h", "in 2d"]);
    }
}
