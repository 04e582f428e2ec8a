//! Body hashes of DKIM signatures (RFC 6376 §3.4 and §3.7), and messages for mail-auth to verify.
//!
//! mail-auth 0.13 hashes relaxed bodies wrongly when they end in lines of nothing but spaces and tabs: it takes the
//! line breaks before them for content. Such bodies are hashed here instead ([`parse`]). The tests say so when a newer
//! mail-auth no longer needs it.

use aws_lc_rs::digest;
use mail_auth::{AuthenticatedMessage, common::crypto::HashAlgorithm, dkim};
use memchr::memchr2;

/// How a body is made insensitive to changes on its way (RFC 6376 §3.4): the second half of a signature's `c=`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Canonicalization {
    /// Runs of spaces and tabs count as one space, and as none at the end of a line (RFC 6376 §3.4.4).
    Relaxed,
    /// Only empty lines at the end do not count (RFC 6376 §3.4.3).
    Simple,
}

/// The SHA-256 hash of a body, what a signature's `bh=` holds before base64.
///
/// Lines end in CRLF; a bare CR or LF is content. `length` is a signature's `l=`, in octets of the canonical body;
/// where it is more than there is, all is hashed (and the signature is wrong, RFC 6376 §3.5).
#[must_use]
pub fn body_hash(canonicalization: Canonicalization, body: &[u8], length: Option<u64>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(hash_with(&digest::SHA256, canonicalization, body, length).as_ref());
    hash
}

/// Parses a message for mail-auth's verifiers of DKIM and ARC, with the right body hashes for each signature in it.
///
/// Signatures with a length (`l=`) are errors in the result: text could be appended to what they sign. `None` when
/// there is no header at all.
#[must_use]
pub fn parse(message: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let mut parsed = AuthenticatedMessage::parse(message)?;
    let body = message.get(parsed.body_offset()..).unwrap_or_default();
    if ends_in_whitespace_lines(body) {
        for (canonicalization, algorithm, length, hash) in &mut parsed.body_hashes {
            if matches!(canonicalization, dkim::Canonicalization::Relaxed) {
                let algorithm = match algorithm {
                    HashAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
                    HashAlgorithm::Sha256 => &digest::SHA256,
                };
                // Here 0 stands for a signature without `l=`.
                let length = (*length != 0).then_some(*length);
                *hash = hash_with(algorithm, Canonicalization::Relaxed, body, length).as_ref().to_vec();
            }
        }
    }
    Some(parsed)
}

/// Where mail-auth errs: something in the blank end of a body is not a line break.
fn ends_in_whitespace_lines(body: &[u8]) -> bool {
    let content = content(Canonicalization::Relaxed, body);
    memchr2(b' ', b'\t', &body[content.len()..]).is_some()
}

fn hash_with(
    algorithm: &'static digest::Algorithm,
    canonicalization: Canonicalization,
    body: &[u8],
    length: Option<u64>,
) -> digest::Digest {
    let mut sink = Sink { context: digest::Context::new(algorithm), left: length.unwrap_or(u64::MAX) };
    let content = content(canonicalization, body);
    match canonicalization {
        Canonicalization::Relaxed => write_relaxed(content, &mut sink),
        Canonicalization::Simple => sink.write(content),
    }
    // An empty body is one empty line when simple, and nothing when relaxed.
    let nothing = content.is_empty() && canonicalization == Canonicalization::Relaxed;
    if !content.ends_with(b"\r\n") && !nothing {
        sink.write(b"\r\n");
    }
    sink.context.finish()
}

/// The body up to and with its last line that is not blank: not empty or, when relaxed, not of whitespace alone.
fn content(canonicalization: Canonicalization, body: &[u8]) -> &[u8] {
    let mut kept = body.len();
    let mut line_end = kept;
    loop {
        let line = &body[..line_end];
        let line = match canonicalization {
            Canonicalization::Relaxed => without_final_wsp(line),
            Canonicalization::Simple => line,
        };
        if line.is_empty() {
            return line;
        }
        if !line.ends_with(b"\r\n") {
            return &body[..kept];
        }
        kept = line.len();
        line_end = kept - 2;
    }
}

/// Content with its whitespace reduced, in pieces as long as they can be.
fn write_relaxed(content: &[u8], sink: &mut Sink) {
    let mut rest = content;
    let mut searched = 0;
    while let Some(at) = memchr2(b' ', b'\t', &rest[searched..]).map(|at| at + searched) {
        let behind = without_leading_wsp(&rest[at..]);
        let visible = !behind.is_empty() && !behind.starts_with(b"\r\n");
        if visible && rest[at] == b' ' && behind.len() == rest.len() - at - 1 {
            // One space between words stays as it is.
            searched = at + 1;
            continue;
        }
        sink.write(&rest[..at]);
        if visible {
            sink.write(b" ");
        }
        rest = behind;
        searched = 0;
    }
    sink.write(rest);
}

/// `WSP` is space and tab only (RFC 6376 §2.8).
fn without_final_wsp(mut text: &[u8]) -> &[u8] {
    while let [shorter @ .., b' ' | b'\t'] = text {
        text = shorter;
    }
    text
}

fn without_leading_wsp(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', shorter @ ..] = text {
        text = shorter;
    }
    text
}

/// A hash that takes no more octets than `l=` allows.
struct Sink {
    context: digest::Context,
    left: u64,
}

impl Sink {
    fn write(&mut self, octets: &[u8]) {
        let taken = usize::try_from(self.left).map_or(octets.len(), |left| octets.len().min(left));
        self.context.update(&octets[..taken]);
        self.left -= taken as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        borrow::Borrow,
        hash::Hash,
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Waker},
        time::Instant,
    };

    use base64::{Engine, engine::general_purpose::STANDARD};
    use mail_auth::{
        DkimResult, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
        common::{crypto::Ed25519Key, headers::HeaderWriter, parse::TxtRecordParser, verify::DomainKey},
        dkim::{DkimError, DkimSigner},
    };

    use super::*;
    use Canonicalization::{Relaxed, Simple};

    fn sha256(canonical: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, canonical).as_ref().try_into().expect("32 octets")
    }

    /// Canonical bodies written down by hand from RFC 6376 §3.4.
    #[test]
    fn bodies_are_canonical() {
        for (body, relaxed, simple) in [
            ("", "", "\r\n"),
            ("\r\n", "", "\r\n"),
            ("\r\n\r\n\r\n", "", "\r\n"),
            (" \t", "", " \t\r\n"),
            (" \r\n\t\r\n", "", " \r\n\t\r\n"),
            ("a", "a\r\n", "a\r\n"),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a\r\n\r\n\r\n", "a\r\n", "a\r\n"),
            ("a\r\n \r\n", "a\r\n", "a\r\n \r\n"),
            ("a\r\n\t \r\n\r\n \r\n", "a\r\n", "a\r\n\t \r\n\r\n \r\n"),
            ("a\r\n ", "a\r\n", "a\r\n \r\n"),
            ("a  ", "a\r\n", "a  \r\n"),
            ("a \r\nb", "a\r\nb\r\n", "a \r\nb\r\n"),
            ("\r\n \r\na", "\r\n\r\na\r\n", "\r\n \r\na\r\n"),
            // RFC 6376 §3.4.5.
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n", " C \r\nD \t E\r\n"),
            ("a b  c\td \te\r\n", "a b c d e\r\n", "a b  c\td \te\r\n"),
            ("a \rb \nc\n\r\n", "a \rb \nc\n\r\n", "a \rb \nc\n\r\n"),
        ] {
            assert_eq!(body_hash(Relaxed, body.as_bytes(), None), sha256(relaxed.as_bytes()), "relaxed {body:?}");
            assert_eq!(body_hash(Simple, body.as_bytes(), None), sha256(simple.as_bytes()), "simple {body:?}");
        }
    }

    /// The empty body's hashes as RFC 6376 §3.4.3 and §3.4.4 print them.
    #[test]
    fn empty_bodies_hash_as_printed() {
        assert_eq!(STANDARD.encode(body_hash(Simple, b"", None)), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
        assert_eq!(STANDARD.encode(body_hash(Relaxed, b"", None)), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn lengths_count_canonical_octets() {
        let body = b"a  b \r\nc\r\n\r\n";
        for (length, expected) in [
            (0, &b""[..]),
            (1, b"a"),
            (2, b"a "),
            (3, b"a b"),
            (5, b"a b\r\n"),
            (8, b"a b\r\nc\r\n"),
            (99, b"a b\r\nc\r\n"),
        ] {
            assert_eq!(body_hash(Relaxed, body, Some(length)), sha256(expected), "{length}");
        }
    }

    /// Every body of up to seven tokens, in a message signed both ways (the signatures need not be right for this).
    #[test]
    fn parsed_messages_have_our_hashes() {
        let header = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=k; h=From; bh=AAAA; b=AAAA\r\n\
                      DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=example.org; s=k; h=From; bh=AAAA; b=AAAA\r\n\
                      From: bob@example.org\r\n\r\n";
        let mut mistakes = 0;
        for number in 0..4_usize.pow(7) {
            let mut message = header.to_owned();
            let mut digits = number;
            while digits > 0 {
                // No digit means 0, so short bodies come up, too.
                message.push_str(["a", " ", "\t", "\r\n"][digits % 4]);
                digits /= 4;
            }
            let body = &message.as_bytes()[header.len()..];
            let hashes = |parsed: &AuthenticatedMessage<'_>| {
                parsed.body_hashes.iter().map(|(_, _, _, hash)| hash.clone()).collect::<Vec<_>>()
            };
            let ours = hashes(&parse(message.as_bytes()).expect("a header"));
            assert_eq!(ours, [body_hash(Relaxed, body, None), body_hash(Simple, body, None)], "{body:?}");

            let theirs = hashes(&AuthenticatedMessage::parse(message.as_bytes()).expect("a header"));
            if theirs != ours {
                assert!(ends_in_whitespace_lines(body), "{body:?}");
                mistakes += 1;
            }
        }
        assert!(mistakes > 0, "mail-auth is right by itself: this module is no longer needed");
    }

    const MESSAGE: &[u8] = b"From: bob@example.org\r\nSubject: whitespace\r\n\r\nHello.\r\n \t\r\n\r\n \r\n";

    /// The same to a relaxed signature, and what mail-auth signs rightly.
    const PLAIN: &[u8] = b"From: bob@example.org\r\nSubject: whitespace\r\n\r\nHello.\r\n";

    /// A signature of mail-auth's over what is given, on top of [`MESSAGE`]; and the key for its verifier.
    fn sign(signed: &[u8], canonicalization: dkim::Canonicalization) -> (Vec<u8>, Key) {
        let key = Ed25519Key::from_pkcs8_der(&Ed25519Key::generate_pkcs8().expect("a key")).expect("a key");
        let record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key()));
        let signature = DkimSigner::from_key(key)
            .domain("example.org")
            .selector("k")
            .headers(["From", "Subject"])
            .body_canonicalization(canonicalization)
            .sign(signed)
            .expect("signed");
        let message = [signature.to_header().as_bytes(), MESSAGE].concat();
        (message, Key(Arc::new(DomainKey::parse(record.as_bytes()).expect("a record"))))
    }

    /// The key stands in for the DNS; nothing is looked up, so the future is ready at once.
    fn verify(message: &AuthenticatedMessage<'_>, key: &Key) -> DkimResult {
        let authenticator = MessageAuthenticator::new_cloudflare().expect("a resolver");
        let verification = pin!(authenticator.verify_dkim(Parameters::new(message).with_txt_cache(key)));
        match verification.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output.first().expect("a signature").result().clone(),
            Poll::Pending => panic!("the key was not in the cache"),
        }
    }

    struct Key(Arc<DomainKey>);

    impl ResolverCache<Box<str>, Txt> for Key {
        fn get<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
        where
            Box<str>: Borrow<Q>,
        {
            Some(Txt::DomainKey(self.0.clone()))
        }

        fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
        where
            Box<str>: Borrow<Q>,
        {
            None
        }

        fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
    }

    #[test]
    fn relaxed_signatures_over_trailing_whitespace_lines_hold() {
        let (message, key) = sign(PLAIN, dkim::Canonicalization::Relaxed);
        let ours = parse(&message).expect("a header");
        let signature = &ours.dkim_headers.first().expect("a signature").header;
        assert_eq!(signature.bh, sha256(b"Hello.\r\n"));
        assert_eq!(verify(&ours, &key), DkimResult::Pass);

        let theirs = AuthenticatedMessage::parse(&message).expect("a header");
        assert_eq!(
            verify(&theirs, &key),
            DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch)),
            "mail-auth is right by itself: this module is no longer needed"
        );
    }

    #[test]
    fn simple_signatures_and_changed_bodies_are_judged_as_ever() {
        let (mut message, key) = sign(MESSAGE, dkim::Canonicalization::Simple);
        assert_eq!(verify(&parse(&message).expect("a header"), &key), DkimResult::Pass);
        message.extend_from_slice(b" \r\n");
        let failed = DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch));
        assert_eq!(verify(&parse(&message).expect("a header"), &key), failed);

        let (mut message, key) = sign(PLAIN, dkim::Canonicalization::Relaxed);
        message.extend_from_slice(b".\r\n \r\n");
        assert_eq!(verify(&parse(&message).expect("a header"), &key), failed);
    }

    #[test]
    fn messages_may_have_no_body() {
        for message in [&b"\r\n"[..], b" \r\n", b"From: bob@example.org", b"From: bob@example.org\r\n\r\n"] {
            assert!(parse(message).is_none_or(|parsed| parsed.body_hashes.is_empty()));
        }
        assert!(parse(b"").is_none());
    }
}
