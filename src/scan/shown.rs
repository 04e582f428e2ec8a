//! What a stranger said, for a log or a reply.

/// The text on one line, without control characters and without end.
pub(crate) fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(800)]);
    text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
