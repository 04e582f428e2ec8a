//! The words of any text.

use std::sync::LazyLock;

use posthorn_config::FilterSection;
use posthorn_filter::score::Offline;

/// Words of one message that count.
const MOST: usize = 4096;

static OFFLINE: LazyLock<Offline> = LazyLock::new(|| Offline::new(&FilterSection::default()));

/// Reads the octets as text.
pub fn target(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let words = OFFLINE.words_of(&text);
    assert!(words.len() <= MOST && !words.contains(&0));
    let mut once = words.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), words.len(), "a word counts once");
    assert_eq!(words, OFFLINE.words_of(&text.to_ascii_lowercase()), "case does not matter");
    if once.len() < MOST && text.len() < 16 * 1024 {
        // What stands twice is no more than once, and the pair where both meet.
        let twice = OFFLINE.words_of(&format!("{text} {text}"));
        assert!(twice.len() <= words.len() + 1, "{} words, twice {}", words.len(), twice.len());
        assert!(words.iter().all(|word| twice.contains(word)));
    }
}
