//! The coding of certificate attributes: `+` and two hexadecimal digits (RFC 3461 §4).

use std::fmt::Write as _;

/// Decodes; what is no coded octet stays as it is.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('+') {
        return text.to_owned();
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        match (first, coded(behind)) {
            (b'+', Some(octet)) => {
                plain.push(octet);
                rest = &behind[2..];
            }
            _ => {
                plain.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Encodes everything that is not printable ASCII, and what the coding itself needs.
pub(crate) fn encode(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for b in text.bytes() {
        if matches!(b, b'!'..=b'~') && b != b'+' && b != b'=' {
            coded.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(coded, "+{b:02X}");
        }
    }
    coded
}

fn coded(behind: &[u8]) -> Option<u8> {
    let digits = behind.get(..2)?;
    let digit = |b: u8| char::from(b).to_digit(16);
    Some((digit(digits[0])? * 16 + digit(digits[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        for text in ["", "mail.example.org", "a+b=c d", "Grüße\n"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(encode("a b"), "a+20b");
    }

    #[test]
    fn what_is_not_coded_stays() {
        for text in ["+", "+4", "a+G1", "++"] {
            assert_eq!(decode(text), text);
        }
    }
}
