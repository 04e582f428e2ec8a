//! Header fields that engines want: what of them can stand in a message.

/// Whether this can be the name of a field (RFC 5322 §2.2), of a length that somebody needs.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// A value whose further lines are folds, whatever parts them.
pub(crate) fn folded(value: &str) -> String {
    let mut folded = String::with_capacity(value.len());
    for (at, line) in value.split(['\r', '\n']).filter(|line| !line.trim().is_empty()).enumerate() {
        if at > 0 {
            folded.push_str(if line.starts_with([' ', '\t']) { "\r\n" } else { "\r\n\t" });
        }
        folded.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_another_field() {
        assert_eq!(folded("a\n b\r\nEvil: c\r\n\r\nbody\0"), "a\r\n b\r\n\tEvil: c\r\n\tbody ");
        for name in ["", "a b", "a:b", "a\r\nb", "\u{e4}"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("X-Spam"));
    }
}
