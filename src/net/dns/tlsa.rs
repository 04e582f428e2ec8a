//! TLSA records as values (RFC 6698 §2.1).

/// What a TLSA record says of a certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Tlsa {
    /// 2 (DANE-TA) and 3 (DANE-EE) are used in mail; others are unusable (RFC 7672 §3.1.3).
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: the octets themselves; 1: SHA-256; 2: SHA-512.
    pub matching: u8,
    /// The octets or the digest.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// Whether a certificate can match it: parameters that are known, and a digest of the right length
    /// (RFC 7672 §3.1.3, RFC 7671 §4.1).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => !self.data.is_empty(),
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, 2 | 3) && self.selector <= 1 && length
    }
}

impl std::fmt::Display for Tlsa {
    /// As in a zone file: `3 1 1 0123…`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mail_uses_is_usable() {
        let usable = |usage, selector, matching, length| {
            Tlsa { usage, selector, matching, data: vec![0xab; length] }.is_usable()
        };
        assert!(usable(3, 1, 1, 32) && usable(2, 0, 2, 64) && usable(3, 0, 0, 700));
        assert!(!usable(0, 1, 1, 32) && !usable(1, 1, 1, 32), "PKIX usages are for the web");
        assert!(!usable(3, 2, 1, 32) && !usable(3, 1, 3, 32));
        assert!(!usable(3, 1, 1, 31) && !usable(3, 1, 2, 32) && !usable(3, 1, 0, 0));
    }

    #[test]
    fn it_is_written_as_in_a_zone() {
        assert_eq!(Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0x0a, 0xff] }.to_string(), "3 1 1 0aff");
    }
}
