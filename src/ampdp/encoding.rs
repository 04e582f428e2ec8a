//! How values are written: fields parted by one space, and in them every octet that would be misread as `%XX`.

/// Reads a value of one field. `%` before anything but two hexadecimal digits stands for itself.
pub(crate) fn decode(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let pair = behind.first_chunk::<2>().filter(|_| *first == b'%');
        match pair.and_then(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)) {
            Some(octet) => {
                out.push(octet);
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

/// Writes one field.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    for octet in text {
        if octet.is_ascii_graphic() && *octet != b'%' {
            out.push(*octet);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
    }
}

fn digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let all: Vec<u8> = (0..=255).collect();
        let mut written = Vec::new();
        encode(&all, &mut written);
        assert!(written.iter().all(u8::is_ascii_graphic));
        assert_eq!(decode(&written), all);
        let mut words = Vec::new();
        encode(b"Ok, 100%", &mut words);
        assert_eq!(words, b"Ok,%20100%25");
    }

    #[test]
    fn half_an_escape_is_text() {
        assert_eq!(decode(b"100%"), b"100%");
        assert_eq!(decode(b"%4"), b"%4");
        assert_eq!(decode(b"%zz%41"), b"%zzA");
        assert_eq!(decode(b"%+1"), b"%+1");
    }
}
