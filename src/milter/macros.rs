//! Macros: what an MTA tells beside its commands, such as the queue id (`i`) or the login (`{auth_authen}`).

use bytes::Bytes;

/// The commands that macros go with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// The connection's.
    Connect,
    /// HELO's.
    Helo,
    /// MAIL's.
    Mail,
    /// The last RCPT's.
    Rcpt,
    /// DATA's, and those of the header's end and the body.
    Data,
    /// The message's end's.
    EndOfMessage,
}

impl Stage {
    /// Which command's macros a letter announces.
    pub(crate) fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'C' => Self::Connect,
            b'H' => Self::Helo,
            b'M' => Self::Mail,
            b'R' => Self::Rcpt,
            b'T' | b'L' | b'N' | b'B' | b'U' => Self::Data,
            b'E' => Self::EndOfMessage,
            _ => return None,
        })
    }
}

/// The macros that are known now.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    all: Vec<(Stage, Bytes, Bytes)>,
    size: usize,
}

impl Macros {
    /// A macro by its name, with or without braces; the latest stage counts.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let wanted = bare(name.as_bytes());
        let found = self.all.iter().filter(|(_, known, _)| bare(known) == wanted);
        found.max_by_key(|(stage, ..)| *stage).map(|(.., value)| &value[..])
    }

    /// A macro as text, with what is no UTF-8 replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Replaces a stage's macros, and forgets those of later ones. False: too many octets.
    pub(crate) fn set(&mut self, stage: Stage, pairs: Vec<Bytes>) -> bool {
        self.forget_from(stage);
        for pair in pairs.chunks_exact(2) {
            self.size += pair[0].len() + pair[1].len();
            self.all.push((stage, pair[0].clone(), pair[1].clone()));
        }
        self.size <= MOST_OCTETS && self.all.len() <= MOST_MACROS
    }

    pub(crate) fn forget_from(&mut self, stage: Stage) {
        self.all.retain(|(known, ..)| *known < stage);
        self.size = self.all.iter().map(|(_, name, value)| name.len() + value.len()).sum();
    }
}

fn bare(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")).unwrap_or(name)
}

const MOST_OCTETS: usize = 64 << 10;
const MOST_MACROS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(words: &[&'static str]) -> Vec<Bytes> {
        words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect()
    }

    #[test]
    fn later_stages_go_with_the_message() {
        let mut macros = Macros::default();
        assert!(macros.set(Stage::Connect, pairs(&["j", "mx.example.org", "{daemon_name}", "smtp"])));
        assert!(macros.set(Stage::Mail, pairs(&["i", "4Q1", "{auth_authen}", "anna"])));
        assert_eq!(macros.text("auth_authen").as_deref(), Some("anna"));
        assert_eq!(macros.text("{i}").as_deref(), Some("4Q1"));
        macros.forget_from(Stage::Mail);
        assert_eq!(macros.value("i"), None);
        assert_eq!(macros.text("j").as_deref(), Some("mx.example.org"));
    }

    #[test]
    fn their_number_and_size_are_bounded() {
        let mut macros = Macros::default();
        assert!(!macros.set(Stage::Mail, vec![Bytes::from_static(b"x"), Bytes::from(vec![b'y'; MOST_OCTETS + 1])]));
        assert!(!Macros::default().set(Stage::Mail, vec![Bytes::from_static(b"x"); 2 * MOST_MACROS + 2]));
    }
}
