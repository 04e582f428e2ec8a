//! Quoted-printable (RFC 2045 §6.7), written.

const WIDTH: usize = 76;

/// Encodes octets: CRLF stays a line end, CR and LF alone do not. The last line ends as the content does.
pub(super) fn quoted_printable(content: &[u8], out: &mut Vec<u8>) {
    let mut width = 0;
    let mut at = 0;
    while let Some(&b) = content.get(at) {
        let rest = &content[at + 1..];
        if b == b'\r' && rest.first() == Some(&b'\n') {
            out.extend_from_slice(b"\r\n");
            width = 0;
            at += 2;
            continue;
        }
        let ends = rest.is_empty() || rest.starts_with(b"\r\n");
        let plain = matches!(b, b'!'..=b'<' | b'>'..=b'~') || (matches!(b, b' ' | b'\t') && !ends);
        let length = if plain { 1 } else { 3 };
        // A place is kept for the soft line end, unless the line ends here.
        if width + length > if ends { WIDTH } else { WIDTH - 1 } {
            out.extend_from_slice(b"=\r\n");
            width = 0;
        }
        if plain {
            out.push(b);
        } else {
            out.extend_from_slice(&[b'=', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
        width += length;
        at += 1;
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer;

    fn written(content: &[u8]) -> String {
        let mut out = Vec::new();
        quoted_printable(content, &mut out);
        let mut back = Vec::new();
        transfer::quoted_printable(&out, |piece| back.extend_from_slice(piece));
        assert_eq!(back, content);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn octets_come_back() {
        assert_eq!(written(b"a=b\t\r\n \xff\0 c\nd\r \r\n. "), "a=3Db=09\r\n =FF=00 c=0Ad=0D=20\r\n.=20");
        for length in 70..90 {
            let text = written(&[&b"x".repeat(length)[..], b"\xe4 \r\ny"].concat());
            assert!(text.split("\r\n").all(|line| line.len() <= WIDTH), "{text}");
        }
        assert_eq!(written(&b"x".repeat(76)), "x".repeat(76));
        assert_eq!(written(&b"x".repeat(77)), format!("{}=\r\nxx", "x".repeat(75)));
    }
}
