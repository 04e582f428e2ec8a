//! What a server offers.

use crate::attribute::XFORWARD;
use crate::{AttributeName, Extension, Extensions};

/// The EHLO reply, as far as it is understood.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// What the server calls itself (RFC 5321 §4.1.1.1); empty when it does not say.
    pub host: String,
    /// The extensions offered.
    pub extensions: Extensions,
    /// `SIZE`: octets that a message may have; `None` when unsaid or unlimited.
    pub size: Option<u64>,
    /// `AUTH`: mechanisms in the server's order, in upper case.
    pub auth: Vec<String>,
    /// `LIMITS RCPTMAX` (RFC 9422).
    pub recipients: Option<u64>,
    /// `XFORWARD`: what the server wants to know of the original client.
    pub xforward: Vec<AttributeName>,
}

impl Capabilities {
    /// Whether the server offers the extension.
    #[must_use]
    pub fn offers(&self, extension: Extension) -> bool {
        self.extensions.has(extension)
    }

    /// Reads the text of an EHLO reply, whose first line is the greeting.
    pub(super) fn parse(text: &str) -> Self {
        let host = text.lines().next().and_then(|line| line.split_ascii_whitespace().next()).unwrap_or_default();
        let mut all = Self { host: host.to_owned(), ..Self::default() };
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
                Extension::Xforward => {
                    let known =
                        |word: &str| XFORWARD.into_iter().find(|name| name.keyword().eq_ignore_ascii_case(word));
                    all.xforward = words.filter_map(known).collect();
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
        assert_eq!(all.host, "mx.example.org");
        assert_eq!((all.size, all.recipients), (Some(1000), Some(5)));
        assert_eq!(all.auth, ["PLAIN", "LOGIN"]);
        assert_eq!(Capabilities::parse("x\nSIZE 0").size, None);
    }
}
