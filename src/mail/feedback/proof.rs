//! Whose a letter with a report is.

use posthorn_trust::dmarc::DmarcResult;
use posthorn_trust::spf::SpfResult;

use crate::checks::Checked;

/// What shows that a letter is its author's domain's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Proof {
    /// A signature of that domain, and perhaps more.
    Signature,
    /// The reverse path alone.
    Path,
    /// Nobody looked: it came from one of our own, or strangers' mail is not checked here.
    Unchecked,
    /// Nothing, and why.
    Nothing(String),
}

/// What was found out about a letter. It must pass DMARC (RFC 9990 §3.5); where its author's domain has no record, what
/// that asks for is held against the domain itself and those above and below.
pub(super) fn proof(checked: Option<&Checked>) -> Proof {
    let Some(Checked { spf, signatures, dmarc, .. }) = checked else { return Proof::Unchecked };
    let author = dmarc.domain.as_str();
    match dmarc.result {
        DmarcResult::Pass if dmarc.dkim_aligned => Proof::Signature,
        DmarcResult::Pass => Proof::Path,
        DmarcResult::None if signatures.signatures.iter().any(|one| one.proves() && is_kin(&one.domain, author)) => {
            Proof::Signature
        }
        DmarcResult::None if spf.result == SpfResult::Pass && is_kin(&spf.domain, author) => Proof::Path,
        DmarcResult::None if author.is_empty() => Proof::Nothing("the letter names no author".to_owned()),
        DmarcResult::None => Proof::Nothing(format!("neither a signature nor the reverse path is of {author}")),
        DmarcResult::Fail | DmarcResult::TempError | DmarcResult::PermError => {
            Proof::Nothing(format!("dmarc={}: {}", dmarc.result, dmarc.why))
        }
    }
}

fn is_kin(domain: &str, author: &str) -> bool {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    !author.is_empty() && (domain == author || is_below(&domain, author) || is_below(author, &domain))
}

/// Whether a name is below another.
pub(super) fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|front| front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kin_share_a_line() {
        for (domain, author, kin) in [
            ("big.test", "big.test", true),
            ("Mail.Big.test.", "big.test", true),
            ("big.test", "mail.big.test", true),
            ("verybig.test", "big.test", false),
            ("small.test", "big.test", false),
            ("", "big.test", false),
            ("big.test", "", false),
        ] {
            assert_eq!(is_kin(domain, author), kin, "{domain} {author}");
        }
    }
}
