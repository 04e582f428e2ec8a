//! What is answered: attributes again, in their order.

use bytes::Bytes;

use crate::encoding::encode;

/// What a helper shall tell its MTA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Deliver.
    Continue,
    /// Deliver, and ask no other filter.
    Accept,
    /// Refuse.
    Reject,
    /// Take and throw away.
    Discard,
    /// Refuse for now.
    Tempfail,
}

/// An answer, line by line.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    out: Vec<u8>,
}

impl Answer {
    /// An answer without a line yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That nothing could be done for a reason of ours, and that asking again later makes sense.
    #[must_use]
    pub fn later(why: &str) -> Self {
        Self::new().reply(450, "4.5.0", why).verdict(Verdict::Tempfail).exit_code(75)
    }

    /// An answer about a message that was judged: our version of the protocol comes first, then what our log calls the
    /// session.
    #[must_use]
    pub fn judged(log_id: &str) -> Self {
        Self::new().attribute("version_server", &[b"2"]).attribute("log_id", &[log_id.as_bytes()])
    }

    /// An attribute with its fields.
    #[must_use]
    pub fn attribute(mut self, name: &'static str, fields: &[&[u8]]) -> Self {
        self.out.extend_from_slice(name.as_bytes());
        for (at, field) in fields.iter().enumerate() {
            self.out.push(if at == 0 { b'=' } else { b' ' });
            encode(field, &mut self.out);
        }
        if fields.is_empty() {
            self.out.push(b'=');
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `setreply`: an SMTP reply; after a release one for each recipient, as in LMTP.
    #[must_use]
    pub fn reply(self, code: u16, enhanced: &str, text: &str) -> Self {
        self.attribute("setreply", &[code.to_string().as_bytes(), enhanced.as_bytes(), text.as_bytes()])
    }

    /// `return_value`.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        let word: &[u8] = match verdict {
            Verdict::Continue => b"continue",
            Verdict::Accept => b"accept",
            Verdict::Reject => b"reject",
            Verdict::Discard => b"discard",
            Verdict::Tempfail => b"tempfail",
        };
        self.attribute("return_value", &[word])
    }

    /// `exit_code`, from sysexits.
    #[must_use]
    pub fn exit_code(self, code: u8) -> Self {
        self.attribute("exit_code", &[code.to_string().as_bytes()])
    }

    /// A field to put in at this place, counted from 0 at the top.
    #[must_use]
    pub fn insert_header(self, at: usize, name: &str, value: &str) -> Self {
        self.attribute("insheader", &[at.to_string().as_bytes(), name.as_bytes(), value.as_bytes()])
    }

    /// A field to put at the end of the header.
    #[must_use]
    pub fn add_header(self, name: &str, value: &str) -> Self {
        self.attribute("addheader", &[name.as_bytes(), value.as_bytes()])
    }

    /// A field to take away: the nth of its name, counted from 1.
    #[must_use]
    pub fn delete_header(self, nth: usize, name: &str) -> Self {
        self.attribute("delheader", &[nth.to_string().as_bytes(), name.as_bytes()])
    }

    /// A field to change: the nth of its name, counted from 1.
    #[must_use]
    pub fn change_header(self, nth: usize, name: &str, value: &str) -> Self {
        self.attribute("chgheader", &[nth.to_string().as_bytes(), name.as_bytes(), value.as_bytes()])
    }

    /// A recipient less.
    #[must_use]
    pub fn delete_recipient(self, address: &str) -> Self {
        self.attribute("delrcpt", &[format!("<{address}>").as_bytes()])
    }

    /// A recipient more.
    #[must_use]
    pub fn add_recipient(self, address: &str) -> Self {
        self.attribute("addrcpt", &[format!("<{address}>").as_bytes()])
    }

    /// The octets of it, with the blank line that ends it.
    pub(crate) fn octets(&self) -> Bytes {
        [&self.out[..], b"\r\n"].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_lines_and_end_in_a_blank_one() {
        let answer = Answer::new().reply(250, "2.0.0", "Ok, id=1").insert_header(0, "X-A", "a b").exit_code(0);
        let text = "setreply=250 2.0.0 Ok,%20id=1\r\ninsheader=0 X-A a%20b\r\nexit_code=0\r\n\r\n";
        assert_eq!(answer.octets(), text);
        let text = "setreply=450 4.5.0 busy%0D%0Ax\r\nreturn_value=tempfail\r\nexit_code=75\r\n\r\n";
        assert_eq!(Answer::later("busy\r\nx").octets(), text);
    }
}
