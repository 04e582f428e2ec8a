//! `xtext` (RFC 3461 §4): `+` and two hexadecimal digits stand for what cannot be written.

/// Decodes xtext; `None` when it is malformed or does not hold UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    if !text.contains('+') && text.bytes().all(is_xchar) {
        return Some(text.to_owned());
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => plain.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
            b if is_xchar(b) => plain.push(b),
            _ => return None,
        }
    }
    String::from_utf8(plain).ok()
}

/// Encodes as xtext.
pub(crate) fn encode(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii() && is_xchar(b) {
            coded.push(char::from(b));
        } else {
            coded.push('+');
            for nibble in [b >> 4, b & 15] {
                coded.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    coded
}

/// `xchar`, widened to the octets of UTF-8 that RFC 6531 lets parameters hold.
fn is_xchar(b: u8) -> bool {
    matches!(b, b'!'..=b'~' | 0x80..) && b != b'+' && b != b'='
}

/// Upper-case digits are the rule; lower-case ones are understood.
fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        for text in ["", "QQ314159", "a+b=c d@example.org", "grüße\r\n"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(encode("a+b c"), "a+2Bb+20c");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["a b", "a=b", "+", "+4", "+4G", "+FF"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
