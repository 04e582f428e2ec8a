//! The words of a message as 64-bit numbers: what the classifier counts.
//!
//! Each word, each pair of neighbours, and each word of a place that says more than the text does (subject, author, links)
//! is one number, made with the installation's secret, so that nobody outside can make words that meet.

/// Tokens of one message that count; a longer one is judged by its beginning.
const MOST: usize = 4096;
/// Twice as many slots, so that probes stay short.
const SLOTS: usize = 2 * MOST;
/// Octets of one text that are read.
const TEXT_LIMIT: usize = 64 * 1024;
/// Shorter words say nothing, longer ones are no words.
const WORD: std::ops::RangeInclusive<usize> = 2..=40;

/// Where a word stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// In what people read.
    Text = 1,
    /// In the subject.
    Subject,
    /// In a name or an address of who wrote it.
    Author,
    /// In the name of a host that a link leads to.
    Link,
    /// In another field of the header.
    Field,
    /// What the message consists of.
    Shape,
    /// In text that is not to be seen.
    Hidden,
}

/// The tokens of one message, each once, in no order.
#[derive(Debug)]
pub(crate) struct Tokens {
    secret: u64,
    /// By hash, the place in `all`, counted from one; zero is free. Small, so that it stays in the fastest memory.
    slots: Vec<u16>,
    all: Vec<u64>,
}

impl Tokens {
    /// None yet.
    pub(crate) fn new(secret: u64) -> Self {
        Self { secret, slots: vec![0; SLOTS], all: Vec::with_capacity(1024) }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[u64] {
        &self.all
    }

    /// Adds the words of a text and, with `pairs`, what stands beside what.
    pub(crate) fn text(&mut self, place: Place, text: &str, pairs: bool) {
        let text = &text[..text.floor_char_boundary(TEXT_LIMIT)];
        let start = self.start(place);
        let (mut hash, mut length, mut before) = (start, 0_usize, 0_u64);
        let mut rest = text.as_bytes();
        while let Some((&octet, behind)) = rest.split_first() {
            let kind = KINDS[usize::from(octet)];
            if kind >= LETTER {
                rest = behind;
                hash = step(hash, kind);
                length += 1;
                continue;
            }
            if kind == BREAK {
                rest = behind;
                self.word(hash, length, &mut before, pairs);
                (hash, length) = (start, 0);
                continue;
            }
            // Not ASCII: rarer, and by characters.
            let at = text.len() - rest.len();
            let Some(c) = text[at..].chars().next() else { break };
            rest = &rest[c.len_utf8()..];
            if is_ideograph(c) {
                // Without spaces between words, every character is one; pairs tell them apart.
                self.word(hash, length, &mut before, pairs);
                self.word(wide(start, c), 2, &mut before, true);
                (hash, length) = (start, 0);
            } else if c.is_alphanumeric() {
                for small in c.to_lowercase() {
                    hash = wide(hash, small);
                }
                length += 1;
            } else {
                self.word(hash, length, &mut before, pairs);
                (hash, length) = (start, 0);
            }
        }
        self.word(hash, length, &mut before, pairs);
    }

    /// Adds one thing as it is, in small letters.
    pub(crate) fn whole(&mut self, place: Place, thing: &str) {
        let hash =
            thing.bytes().take(256).fold(!self.start(place), |hash, octet| step(hash, octet.to_ascii_lowercase()));
        self.put(finish(hash));
    }

    fn word(&mut self, hash: u64, length: usize, before: &mut u64, pairs: bool) {
        if length == 0 {
            return;
        }
        if !WORD.contains(&length) {
            *before = 0;
            return;
        }
        let word = finish(hash);
        self.put(word);
        if pairs && *before != 0 {
            self.put(finish(before.rotate_left(23) ^ word));
        }
        *before = word;
    }

    fn put(&mut self, token: u64) {
        if self.all.len() >= MOST {
            return;
        }
        // Zero is nobody's token.
        let token = token.max(1);
        let mut at = slot(token);
        while let Some(there) = usize::from(self.slots[at]).checked_sub(1) {
            if self.all[there] == token {
                return;
            }
            at = (at + 1) % SLOTS;
        }
        self.all.push(token);
        self.slots[at] = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
    }

    fn start(&self, place: Place) -> u64 {
        self.secret ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits of a finished hash are as evenly spread as all")]
fn slot(token: u64) -> usize {
    token as usize % SLOTS
}

fn step(hash: u64, octet: u8) -> u64 {
    (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn wide(hash: u64, c: char) -> u64 {
    u32::from(c).to_le_bytes().into_iter().take(3).fold(hash, step)
}

/// Spreads what differs in any bit over all of them.
pub(crate) fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// A keyed number for any octets.
pub(crate) fn keyed(secret: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = secret;
    for part in parts {
        hash = part.iter().fold(hash, |hash, octet| step(hash, *octet));
        hash = finish(hash ^ part.len() as u64);
    }
    hash.max(1)
}

const BREAK: u8 = 0;
const HIGH: u8 = 1;
/// From here on, the small letter itself.
const LETTER: u8 = 2;

/// What each octet is in a word.
const KINDS: [u8; 256] = {
    let mut kinds = [BREAK; 256];
    let mut octet = 0_u8;
    loop {
        kinds[octet as usize] = match octet {
            b'A'..=b'Z' => octet + 32,
            b'a'..=b'z' | b'0'..=b'9' | b'$' | b'%' | b'\'' | b'_' => octet,
            0x80.. => HIGH,
            _ => BREAK,
        };
        if octet == u8::MAX {
            break;
        }
        octet += 1;
    }
    kinds
};

/// Scripts that are written without spaces.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c), 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0xabff | 0xf900..=0xfaff | 0x1_f000..=0x3_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<u64> {
        let mut tokens = Tokens::new(7);
        tokens.text(Place::Text, text, true);
        let mut all = tokens.all().to_vec();
        all.sort_unstable();
        all
    }

    #[test]
    fn case_and_punctuation_do_not_matter() {
        assert_eq!(of("Cheap  PILLS, online!"), of("cheap pills online"));
        assert_eq!(of("ÄRGER über Straßen"), of("ärger, Über straßen"));
        assert_eq!(of("cheap pills online").len(), 5);
        assert_ne!(of("cheap pills"), of("pills cheap"));
    }

    #[test]
    fn a_word_counts_once_and_by_its_place_and_secret() {
        assert_eq!(of("spam spam spam spam").len(), 2);
        let mut tokens = Tokens::new(7);
        for place in [Place::Text, Place::Subject, Place::Text] {
            tokens.text(place, "offer", false);
        }
        tokens.whole(Place::Text, "offer");
        assert_eq!(tokens.all().len(), 3);
        let mut other = Tokens::new(8);
        other.text(Place::Text, "offer", false);
        assert!(!tokens.all().contains(&other.all()[0]));
    }

    #[test]
    fn scripts_without_spaces_have_words_too() {
        let (one, other) = (of("免费发票代开"), of("免费会议"));
        let shared = one.iter().filter(|token| other.contains(token)).count();
        assert_eq!((one.len(), other.len(), shared), (11, 7, 3));
    }

    #[test]
    fn endless_and_odd_text_is_bounded() {
        let many: String = (0..200_000).map(|n| format!("w{n} ")).collect();
        assert_eq!(of(&many).len(), MOST);
        assert!(of(&"x".repeat(1_000_000)).is_empty());
        assert!(of("\0\u{fffd}\u{200b} \r\n").is_empty());
    }
}
