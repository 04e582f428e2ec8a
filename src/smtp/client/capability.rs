//! What a server offers.

use crate::{Extension, Extensions};

/// The EHLO reply, as far as it is understood.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// The extensions offered.
    pub extensions: Extensions,
    /// `SIZE`: octets that a message may have; `None` when unsaid or unlimited.
    pub size: Option<u64>,
    /// `AUTH`: mechanisms in the server's order, in upper case.
    pub auth: Vec<String>,
    /// `LIMITS RCPTMAX` (RFC 9422).
    pub recipients: Option<u64>,
}

impl Capabilities {
    /// Whether the server offers the extension.
    #[must_use]
    pub fn offers(&self, extension: Extension) -> bool {
        self.extensions.has(extension)
    }

    /// Reads the text of an EHLO reply, whose first line is the greeting.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(extension) = words.next().and_then(Extension::from_keyword) else { continue };
            all.extensions = all.extensions.with(extension);
            match extension {
                Extension::Auth => all.auth.extend(words.map(str::to_ascii_uppercase)),
                Extension::Size => all.size = words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0),
                Extension::Limits => {
                    all.recipients = words.filter_map(|word| word.strip_prefix("RCPTMAX=")?.parse().ok()).next();
                }
                _ => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keywords_are_read() {
        let all = Capabilities::parse(
            "mx.example.org PIPELINING\nsize 1000\nAUTH plain LOGIN\nLIMITS MAILMAX=2 RCPTMAX=5\nX-ODD",
        );
        assert!(all.offers(Extension::Size) && !all.offers(Extension::Pipelining));
        assert_eq!((all.size, all.recipients), (Some(1000), Some(5)));
        assert_eq!(all.auth, ["PLAIN", "LOGIN"]);
        assert_eq!(Capabilities::parse("x\nSIZE 0").size, None);
    }
}
