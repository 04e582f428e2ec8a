//! Base 32 (RFC 4648 §6) in small letters, without padding: what a host on the way may fold to any case.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Writes all bits; the last digit is filled up with zeros.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(digit(bits >> held));
        }
    }
    if held > 0 {
        text.push(digit(bits << (5 - held)));
    }
    text
}

/// Writes a number in exactly so many digits, the highest first; higher bits are lost.
pub(crate) fn encode_number(number: u64, digits: u32) -> String {
    (0..digits).rev().map(|at| digit((number.checked_shr(at * 5).unwrap_or(0) & 31) as u32)).collect()
}

/// Reads a number; `None` for other letters, an empty text or more than 64 bits.
pub(crate) fn decode_number(text: &str) -> Option<u64> {
    let known = |b: u8| ALPHABET.iter().position(|digit| digit.eq_ignore_ascii_case(&b)).map(|at| at as u64);
    let mut number = (!text.is_empty()).then_some(0_u64)?;
    for b in text.bytes() {
        if number >> 59 != 0 {
            return None;
        }
        number = number << 5 | known(b)?;
    }
    Some(number)
}

fn digit(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648 §10, in our case and without padding.
    #[test]
    fn octets_are_written_as_printed() {
        for (plain, coded) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn numbers_return_in_any_case() {
        for number in [0, 1, 31, 32, 1023, u64::MAX >> 1, u64::MAX] {
            let text = encode_number(number, 13);
            assert_eq!(decode_number(&text), Some(number), "{text}");
            assert_eq!(decode_number(&text.to_uppercase()), Some(number));
        }
        assert_eq!(encode_number(33, 2), "bb");
        for text in ["", "a1", "a-", "ä", "77777777777777"] {
            assert_eq!(decode_number(text), None, "{text}");
        }
    }
}
