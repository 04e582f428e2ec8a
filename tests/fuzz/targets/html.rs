//! What people see in HTML, and addresses in text, against any text.

use posthorn_contents::{html_text, links_in_text};

/// Octets of text that are asked for.
const LIMIT: usize = 2000;

/// Reads the octets as HTML and as text.
pub fn target(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mut links = 0;
    let read = html_text(&text, LIMIT, &mut |url, shown, _| {
        links += 1;
        assert!(!url.is_empty() && !url.chars().any(char::is_control), "{url:?}");
        assert!(shown.is_none_or(|shown| !shown.is_empty()));
    });
    assert!(links <= octets.len());
    for text in [&read.visible, &read.hidden] {
        assert!(text.len() <= LIMIT);
        assert!(!text.starts_with(' ') && !text.contains("  ") && !text.contains(['\n', '\t']), "{text:?}");
    }
    let mut behind = 0;
    links_in_text(&text, |url| {
        // Each stands in the text, behind the one before.
        let at = url.as_ptr().addr() - text.as_ptr().addr();
        assert!(at >= behind && !url.chars().any(char::is_whitespace), "{url:?}");
        behind = at + url.len();
        true
    });
}
