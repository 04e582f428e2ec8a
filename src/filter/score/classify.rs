//! A message as the classifier sees it: its tokens, and a hash by which it is known again.

use super::hosts::{Host, registered};
use super::reading::Reading;
use super::tokens::{Place, Tokens, keyed};

/// Octets of all texts together that make the hash.
const HASHED: usize = 16 * 1024;

/// The tokens of a message.
pub(crate) fn tokens(reading: &Reading<'_>, secret: u64) -> Tokens {
    let mut tokens = Tokens::new(secret);
    // What says most comes first, should there be too many.
    for line in &reading.lines {
        let name = line.name;
        let place = if name.eq_ignore_ascii_case(b"subject") {
            Place::Subject
        } else if ["from", "reply-to", "sender"].iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            Place::Author
        } else if ["x-mailer", "user-agent", "list-id", "organization"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        {
            Place::Field
        } else {
            continue;
        };
        tokens.text(place, &line.text, place == Place::Subject);
    }
    for author in &reading.authors {
        tokens.whole(Place::Author, &author.address);
    }
    for target in reading.hosts.iter().take(200) {
        match &target.host {
            Host::Name(name) => {
                tokens.whole(Place::Link, name);
                tokens.whole(Place::Link, registered(name));
            }
            Host::Address(_) => tokens.whole(Place::Link, "an address"),
        }
    }
    let contents = reading.evidence.contents;
    for node in contents.nodes().iter().take(50) {
        tokens.whole(Place::Shape, node.declared_type());
        for name in &node.names {
            if let Some((_, extension)) = name.rsplit_once('.') {
                tokens.whole(Place::Shape, extension);
            }
        }
    }
    for charset in contents.charsets() {
        tokens.whole(Place::Shape, charset);
    }
    for text in contents.texts() {
        tokens.text(Place::Text, &text.text, true);
        tokens.text(Place::Hidden, &text.hidden, false);
    }
    tokens
}

/// What stays of a message when fields are put on top of it: one number.
pub(crate) fn identity(reading: &Reading<'_>, secret: u64) -> u64 {
    let field = |name: &str| reading.field(name).unwrap_or_default().trim().as_bytes().to_vec();
    let mut parts = vec![field("Message-ID"), field("Date"), field("From")];
    let mut left = HASHED;
    for text in reading.evidence.contents.texts() {
        let octets = text.text.as_bytes();
        let taken = octets.len().min(left);
        left -= taken;
        parts.push(octets[..taken].to_vec());
    }
    keyed(secret, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}
