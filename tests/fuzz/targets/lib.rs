//! What every parser that strangers reach must bear, as plain functions of octets.
//!
//! Each target panics when an invariant is broken and returns otherwise. It asks nothing of its input: the first
//! [`OPTIONS`] octets choose how a session is set up, the rest is what the stranger sends. The same functions run
//! under cargo-fuzz (see the page beside this) and for a moment with every `cargo test`.

pub mod ampdp;
pub mod archive;
pub mod authentication;
pub mod html;
pub mod imap_server;
pub mod listen_address;
pub mod message;
pub mod milter;
pub mod policy;
pub mod proxy_header;
pub mod scoring;
pub mod smtp_server;
pub mod spf;
pub mod structure_codec;
pub mod tokenizer;

/// How many octets in front of an input set the session up.
pub const OPTIONS: usize = 4;

/// A target: panics when what it was given broke something.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 15] = [
    ("smtp_server", smtp_server::target),
    ("imap_server", imap_server::target),
    ("listen_address", listen_address::target),
    ("message", message::target),
    ("policy", policy::target),
    ("ampdp", ampdp::target),
    ("milter", milter::target),
    ("proxy_header", proxy_header::target),
    ("structure_codec", structure_codec::target),
    ("authentication", authentication::target),
    ("archive", archive::target),
    ("html", html::target),
    ("scoring", scoring::target),
    ("tokenizer", tokenizer::target),
    ("spf", spf::target),
];

/// The options in front of an input, and the rest.
fn parted(octets: &[u8]) -> ([u8; OPTIONS], &[u8]) {
    let (options, rest) = octets.split_at(octets.len().min(OPTIONS));
    let mut all = [0; OPTIONS];
    all[..options.len()].copy_from_slice(options);
    (all, rest)
}

/// The pieces that a stream arrives in, cut by a seed: none longer than 64 octets, many of one.
fn pieces(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed) | 1;
    let mut rest = stream;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = if state & 1 << 20 == 0 { 1 } else { 1 + (state >> 26) as usize };
        let (piece, more) = rest.split_at(length.min(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}
