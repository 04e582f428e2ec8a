//! The files in `tests/transcripts`, and what is written the same in all of them; their page there has the rest.

use std::path::Path;

/// The transcripts of a protocol, by name: each file's name and text.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn files(protocol: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(protocol);
    let paths = std::fs::read_dir(&folder).expect("transcripts").map(|entry| entry.expect("an entry").path());
    let texts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let mut files: Vec<_> = texts
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a text"))
        })
        .collect();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files.sort();
    files
}

/// The octets of a line: `\r`, `\n`, `\0`, `\\`, `\xHH`, and `{what*times}` written out. Every other backslash stands for
/// itself, as that of a pattern's `\*` does.
#[must_use]
pub fn unescape(text: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((what, times, behind)) = repetition(rest) {
            plain.extend(unescape(what).repeat(times));
            rest = behind;
        } else if let Some((octet, behind)) = escape(rest) {
            plain.push(octet);
            rest = behind;
        } else {
            plain.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    plain
}

/// The octet that an escape at the start of a text stands for, and what follows it.
fn escape(text: &str) -> Option<(u8, &str)> {
    let (kind, behind) = text.strip_prefix('\\')?.split_at_checked(1)?;
    Some(match kind {
        "r" => (b'\r', behind),
        "n" => (b'\n', behind),
        "0" => (0, behind),
        "\\" => (b'\\', behind),
        "x" => (u8::from_str_radix(behind.get(..2)?, 16).ok()?, &behind[2..]),
        _ => return None,
    })
}

/// `{what*times}` at the start of a text, and what follows it. Other braces stand for themselves, as IMAP's literals do.
fn repetition(text: &str) -> Option<(&str, usize, &str)> {
    let (inside, behind) = text.strip_prefix('{')?.split_once('}')?;
    let (what, times) = inside.rsplit_once('*')?;
    Some((what, times.parse().ok()?, behind))
}

/// Whether `*` can stand for something that makes the pattern the text.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, behind)) => text
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(behind, &rest[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_repetitions_are_written_out() {
        assert_eq!(unescape(r"a\r\n\0\\\xff{ab\x01*3}"), b"a\r\n\0\\\xffab\x01ab\x01ab\x01");
        assert_eq!(unescape("APPEND x {3+}"), b"APPEND x {3+}");
        assert_eq!(unescape("{a*}{"), b"{a*}{");
        assert_eq!(unescape(r"\* \x4 \"), br"\* \x4 \");
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(glob("250 *", "250 ") && glob("a*b*c", "a--b-c") && glob("ä*", "äö"));
        assert!(!glob("250 *", "251 x") && !glob("a*b", "a-b-") && !glob("a", "ab"));
    }
}
