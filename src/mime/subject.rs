//! Base subjects (RFC 5256 §2.1).

/// What is behind this many octets does not count, so that a subject of nothing but marks costs little.
const SUBJECT_LIMIT: usize = 2000;

/// A subject without its marks of replying and forwarding.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BaseSubject {
    /// What is left, case as written.
    pub base: String,
    /// Whether a mark of replying or forwarding was removed.
    pub is_reply: bool,
}

/// Extracts the base subject of a decoded subject, of its first 2000 octets.
#[must_use]
pub fn base_subject(subject: &str) -> BaseSubject {
    // Step 1: one space for every run of white space.
    let mut text = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut end = text.len().min(SUBJECT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    let mut rest = text.as_str();
    let mut is_reply = false;
    loop {
        // Step 2: trailers.
        while let Some(shorter) = without_suffix(rest.trim_end_matches(' '), "(fwd)") {
            rest = shorter;
            is_reply = true;
        }
        rest = rest.trim_end_matches(' ');
        // Steps 3 to 5: leaders, and marks in brackets unless they are all there is.
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(shorter) = without_leader(rest) {
                rest = shorter;
                is_reply = true;
                continue;
            }
            match without_blob(rest) {
                Some(shorter) if !shorter.is_empty() => rest = shorter,
                _ => break,
            }
        }
        // Step 6: a whole forwarded subject in brackets.
        match without_prefix(rest, "[fwd:").and_then(|inside| inside.strip_suffix(']')) {
            Some(inside) => {
                rest = inside;
                is_reply = true;
            }
            None => return BaseSubject { base: rest.to_owned(), is_reply },
        }
    }
}

/// Removes `*subj-blob subj-refwd`: marks in brackets, then `re`, `fw` or `fwd`, perhaps a mark, and a colon.
fn without_leader(mut text: &str) -> Option<&str> {
    while let Some(shorter) = without_blob(text) {
        text = shorter;
    }
    let text = ["re", "fwd", "fw"].iter().find_map(|mark| without_prefix(text, mark))?.trim_start_matches(' ');
    let text = without_blob(text).unwrap_or(text);
    text.strip_prefix(':')
}

/// Removes `subj-blob`: a bracketed mark without brackets inside, and the spaces behind it.
fn without_blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    Some(inside[end..].strip_prefix(']')?.trim_start_matches(' '))
}

fn without_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn without_suffix<'t>(text: &'t str, suffix: &str) -> Option<&'t str> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_replying_and_forwarding_go() {
        for (subject, base, is_reply) in [
            ("Hello  \t world", "Hello world", false),
            ("Re: hello", "hello", true),
            ("RE : Fwd:fw: hello (FWD) (fwd) ", "hello", true),
            ("[list] Re[2]: [x] hello", "hello", true),
            ("[list] hello", "hello", false),
            ("[list]", "[list]", false),
            ("Re: [list]", "[list]", true),
            ("[Fwd: [list] Re: hello]", "hello", true),
            ("[fwd: hello", "[fwd: hello", false),
            ("Reply: hello", "Reply: hello", false),
            ("Re", "Re", false),
            ("Re:", "", true),
            ("", "", false),
            ("ré: x", "ré: x", false),
            ("(fwd)", "", true),
        ] {
            assert_eq!(base_subject(subject), BaseSubject { base: base.to_owned(), is_reply }, "{subject:?}");
        }
    }

    #[test]
    fn a_subject_of_marks_ends_soon() {
        assert_eq!(base_subject(&"[a]".repeat(100_000)).base, "[a");
        assert_eq!(base_subject(&"re:".repeat(100_000)).base, "re");
        assert!(base_subject(&"ä".repeat(100_000)).base.len() <= SUBJECT_LIMIT);
    }
}
