//! Replies: a code, an enhanced code, text (RFC 5321 §4.2, RFC 2034).

use std::borrow::Cow;

use bytes::BytesMut;
use posthorn_model::{EnhancedCode, Refusal};

/// Octets of text on one line: RFC 5321 §4.5.3.1.5 allows 512 with code, enhanced code and CRLF.
const TEXT_LINE: usize = 480;

/// One reply, sent by a server or received by a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced code, where the reply has one.
    pub enhanced: Option<EnhancedCode>,
    /// The text without codes; `\n` parts the lines of a multi-line reply.
    pub text: Cow<'static, str>,
    /// What follows.
    pub then: Then,
}

/// What a server does after a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// Closes the connection.
    Close,
    /// Goes on.
    Continue,
}

impl Reply {
    /// A reply without enhanced code, as greetings, EHLO and 3xx have it.
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, text: text.into(), then: if code == 421 { Then::Close } else { Then::Continue } }
    }

    /// A reply with enhanced code; its class is the code's first digit. 421 closes (RFC 5321 §3.8).
    #[must_use]
    pub fn new(code: u16, subject: u16, detail: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let enhanced = EnhancedCode((code / 100) as u8, subject, detail);
        Self { enhanced: Some(enhanced), ..Self::plain(code, text) }
    }

    /// 334 with an encoded challenge (RFC 4954 §4), which may be longer than any other line and is never folded.
    pub(crate) fn challenge(coded: String) -> Self {
        Self::plain(334, coded)
    }

    /// The same reply, after which the connection is closed.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { then: Then::Close, ..self }
    }

    /// Whether the code is 2xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// The reply as a refusal; `None` unless 4xx or 5xx. A missing enhanced code becomes x.0.0.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let class = (self.code / 100) as u8;
        matches!(class, 4 | 5).then(|| {
            Refusal::new(self.code, self.enhanced.unwrap_or(EnhancedCode(class, 0, 0)), self.text.replace('\n', " "))
        })
    }

    /// Appends the reply as it goes over the wire. Control characters become spaces, long lines are folded.
    pub(crate) fn render(&self, enhanced_codes: bool, out: &mut BytesMut) {
        let width = if self.code == 334 { usize::MAX } else { TEXT_LINE };
        let mut lines = self.text.split('\n').flat_map(|text| fold(text, width)).peekable();
        while let Some(line) = lines.next() {
            let mut code = [0; 3];
            for (at, divisor) in [100, 10, 1].into_iter().enumerate() {
                code[at] = b'0' + (self.code / divisor % 10) as u8;
            }
            out.extend_from_slice(&code);
            out.extend_from_slice(if lines.peek().is_some() { b"-" } else { b" " });
            if let Some(enhanced) = self.enhanced.filter(|_| enhanced_codes) {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            if line.bytes().any(|b| b.is_ascii_control()) {
                out.extend(line.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
            } else {
                out.extend_from_slice(line.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        // A code outside 4xx and 5xx must never read as acceptance.
        let code = if (400..600).contains(&refusal.code) { refusal.code } else { 451 };
        let reply = Self { enhanced: Some(refusal.enhanced), ..Self::plain(code, refusal.text) };
        if code == 521 { reply.closing() } else { reply }
    }
}

/// Parts a text into pieces of at most `width` octets; nothing stays one empty piece.
fn fold(text: &str, width: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, more) = text.split_at(text.floor_char_boundary(width));
        rest = (!more.is_empty()).then_some(more);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(reply: &Reply, enhanced_codes: bool) -> String {
        let mut out = BytesMut::new();
        reply.render(enhanced_codes, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn lines_carry_code_and_enhanced_code() {
        let reply = Reply::new(214, 0, 0, "one\ntwo");
        assert_eq!(rendered(&reply, true), "214-2.0.0 one\r\n214 2.0.0 two\r\n");
        assert_eq!(rendered(&reply, false), "214-one\r\n214 two\r\n");
        assert_eq!(rendered(&Reply::plain(354, ""), true), "354 \r\n");
    }

    #[test]
    fn text_cannot_inject_a_reply() {
        let refusal = Refusal::new(550, EnhancedCode(5, 7, 1), "no\r\n250 yes\0");
        assert_eq!(rendered(&refusal.into(), true), "550-5.7.1 no \r\n550 5.7.1 250 yes \r\n");
        let lie = Refusal::new(250, EnhancedCode(2, 0, 0), "yes");
        assert_eq!(Reply::from(lie).code, 451);
    }

    #[test]
    fn long_text_is_folded_at_a_character() {
        let text = rendered(&Reply::new(550, 0, 0, "ü".repeat(500)), true);
        assert!(text.split("\r\n").all(|line| line.len() <= 510));
        assert_eq!(text.matches('ü').count(), 500);
    }
}
