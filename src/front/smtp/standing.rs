//! What policy wants done with a message, gathered from everybody who was asked about it.

use posthorn_model::policy::Action;
use posthorn_model::{EnhancedCode, Refusal};

/// What policy wants done with a message; begins anew with each one.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// What the client is told if nothing else refuses it.
    pub(super) defer_if_permit: Option<Refusal>,
    /// Whether final refusals are told as temporary ones, and in which words.
    pub(super) defer_if_reject: Option<Refusal>,
    /// Accept it, and drop it: why.
    pub(super) discard: Option<String>,
    /// It waits for an operator: why.
    pub(super) hold: Option<String>,
    /// The route that it takes.
    pub(super) filter: Option<String>,
    /// The one recipient instead of all.
    pub(super) redirect: Option<String>,
    /// One more recipient.
    pub(super) bcc: Option<String>,
    /// Fields on top of it, each whole with its CRLF.
    pub(super) prepend: Vec<u8>,
    /// What is worth knowing of it, for the trace.
    pub(super) notes: Vec<String>,
}

/// What an action means for what comes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Course {
    /// Whoever is next is asked.
    On,
    /// Nobody else is asked at this stage.
    Enough,
    /// The client is told.
    Refuse(Refusal),
    /// It is an order that nobody here can carry out.
    Unknown,
}

/// More notes about one message help nobody.
const NOTES: usize = 64;
/// RFC 5322 §2.1.1.
const FIELD_LINE: usize = 998;

impl Standing {
    /// Takes an action of `who` into account.
    pub(super) fn take(&mut self, action: &Action, who: &str) -> Course {
        match action {
            Action::Dunno | Action::Ok => {}
            other => self.note(format!("{who}: {other}")),
        }
        match action {
            Action::Ok => return Course::Enough,
            Action::Dunno | Action::Info(_) => {}
            Action::Warn(text) => {
                tracing::warn!(service = who, text = text.as_deref().unwrap_or_default(), "policy warns");
            }
            Action::Reject(_) | Action::Code { .. } | Action::Defer(_) => return Course::Refuse(refusal(action)),
            Action::DeferIfPermit(_) => self.defer_if_permit = Some(refusal(action)),
            Action::DeferIfReject(_) => self.defer_if_reject = Some(refusal(action)),
            Action::Discard(text) => {
                self.discard = Some(text.clone().unwrap_or_else(|| format!("{who} says so")));
                return Course::Enough;
            }
            Action::Hold(text) => self.hold = Some(text.clone().unwrap_or_else(|| format!("{who} says so"))),
            Action::Filter(destination) => self.filter = Some(next_hop(destination)),
            Action::Redirect(address) => self.redirect = Some(address.clone()),
            Action::Bcc(address) => self.bcc = Some(address.clone()),
            Action::Prepend { name, value } => self.put_on_top(name, value),
            Action::Restriction(name) => return self.take_restriction(name, who),
        }
        Course::On
    }

    /// Something for the trace.
    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES {
            self.notes.push(note);
        }
    }

    /// What a client hears that is refused: for good, or for now where somebody wants that.
    pub(super) fn softened(&self, refusal: Refusal) -> Refusal {
        match &self.defer_if_reject {
            Some(softer) if !refusal.is_temporary() => softer.clone(),
            _ => refusal,
        }
    }

    /// Some restrictions of Postfix mean something here; who may relay is decided elsewhere, always.
    fn take_restriction(&mut self, name: &str, who: &str) -> Course {
        let action = match name {
            "permit" => Action::Ok,
            "reject" => Action::Reject(None),
            "defer" => Action::Defer(None),
            "defer_if_permit" => Action::DeferIfPermit(None),
            "defer_if_reject" => Action::DeferIfReject(None),
            "defer_unauth_destination"
            | "permit_auth_destination"
            | "permit_mynetworks"
            | "permit_sasl_authenticated"
            | "permit_tls_all_clientcerts"
            | "permit_tls_clientcerts"
            | "reject_unauth_destination" => return Course::On,
            _ => return Course::Unknown,
        };
        self.take(&action, who)
    }

    fn put_on_top(&mut self, name: &str, value: &str) {
        let mut field = format!("{name}: {value}");
        if field.len() > FIELD_LINE {
            let cut = (0..=FIELD_LINE).rev().find(|at| field.is_char_boundary(*at)).unwrap_or(0);
            field.truncate(cut);
        }
        // What comes last goes on top, as Received fields do.
        field.push_str("\r\n");
        self.prepend.splice(..0, field.into_bytes());
    }
}

/// What a client hears: the texts of access(5), which may begin with an enhanced code.
fn refusal(action: &Action) -> Refusal {
    let (code, text) = match action {
        Action::Code { code, text } => (*code, Some(text.as_str())),
        Action::Reject(text) => (554, text.as_deref()),
        Action::Defer(text) | Action::DeferIfPermit(text) | Action::DeferIfReject(text) => (450, text.as_deref()),
        _ => (554, None),
    };
    let class = if code < 500 { 4 } else { 5 };
    let text = text.unwrap_or_default().trim();
    let (subject, detail, text) = enhanced(text).unwrap_or((7, 1, text));
    let usual = if class == 4 { "try again later" } else { "refused by policy" };
    Refusal::new(code, EnhancedCode(class, subject, detail), if text.is_empty() { usual } else { text })
}

/// Parts `4.7.1 text`; the class follows the reply code.
fn enhanced(text: &str) -> Option<(u16, u16, &str)> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = code.splitn(3, '.');
    let class: u8 = parts.next()?.parse().ok()?;
    let number = |part: &str| (part.len() <= 3).then(|| part.parse::<u16>().ok()).flatten();
    let (subject, detail) = (number(parts.next()?)?, number(parts.next()?)?);
    matches!(class, 2 | 4 | 5).then_some((subject, detail, rest.trim_start()))
}

/// The next hop that `transport:destination` means: the name of a route of ours, or a host.
fn next_hop(destination: &str) -> String {
    let Some((transport, host)) = destination.split_once(':') else { return destination.to_owned() };
    let scheme = match transport {
        "smtp" | "relay" => "smtp",
        "lmtp" => "lmtp",
        _ if host.is_empty() => return transport.to_owned(),
        _ => return destination.to_owned(),
    };
    if let Some(path) = host.strip_prefix("unix:") {
        return format!("{scheme}:{path}");
    }
    let host = host.strip_prefix("inet:").unwrap_or(host);
    // Brackets say that no MX is looked up, which the next hop of a route never is; only IPv6 keeps them.
    let plain = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) if !name.contains(':') => format!("{name}{port}"),
        _ => host.to_owned(),
    };
    format!("{scheme}://{plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(standing: &mut Standing, action: &str) -> Course {
        standing.take(&action.parse().expect("an action"), "test")
    }

    fn refused(action: &str) -> String {
        match take(&mut Standing::default(), action) {
            Course::Refuse(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_have_the_codes_of_the_protocol() {
        assert_eq!(refused("REJECT"), "554 5.7.1 refused by policy");
        assert_eq!(refused("REJECT 5.1.1 nobody of that name"), "554 5.1.1 nobody of that name");
        assert_eq!(refused("DEFER in a while"), "450 4.7.1 in a while");
        assert_eq!(refused("521 5.7.1 go away"), "521 5.7.1 go away");
        // The class follows the code.
        assert_eq!(refused("450 5.7.1 wait"), "450 4.7.1 wait");
        assert_eq!(refused("550 1.2.3 is a version"), "550 5.7.1 1.2.3 is a version");
        assert_eq!(refused("reject"), "554 5.7.1 refused by policy");
    }

    #[test]
    fn what_is_remembered_refuses_later() {
        let mut standing = Standing::default();
        assert_eq!(take(&mut standing, "DEFER_IF_PERMIT greylisted"), Course::On);
        assert_eq!(standing.defer_if_permit.as_ref().map(ToString::to_string).as_deref(), Some("450 4.7.1 greylisted"));
        let hard = Refusal::new(550, EnhancedCode(5, 1, 1), "no such user");
        assert_eq!(standing.softened(hard.clone()), hard);
        assert_eq!(take(&mut standing, "DEFER_IF_REJECT 4.3.5 we are moving"), Course::On);
        assert_eq!(standing.softened(hard).to_string(), "450 4.3.5 we are moving");
    }

    #[test]
    fn orders_about_the_message_are_gathered() {
        let mut standing = Standing::default();
        for action in ["PREPEND X-A: 1", "PREPEND X-B: 2", "BCC a@example.org", "BCC b@example.org", "HOLD", "DUNNO"] {
            assert_eq!(take(&mut standing, action), Course::On);
        }
        assert_eq!(standing.prepend, b"X-B: 2\r\nX-A: 1\r\n");
        assert_eq!(standing.bcc.as_deref(), Some("b@example.org"));
        assert_eq!(standing.hold.as_deref(), Some("test says so"));
        assert_eq!((take(&mut standing, "OK"), take(&mut standing, "DISCARD spam")), (Course::Enough, Course::Enough));
        assert_eq!(take(&mut standing, "permit_mynetworks"), Course::On);
        assert_eq!(take(&mut standing, "reject_rbl_client"), Course::Unknown);
        let long = Action::Prepend { name: "X".to_owned(), value: "ü".repeat(2000) };
        standing.take(&long, "test");
        assert!(standing.prepend.iter().position(|b| *b == b'\n').is_some_and(|at| at <= FIELD_LINE + 1));
    }

    #[test]
    fn filters_become_next_hops() {
        for (postfix, ours) in [
            ("smtp:[127.0.0.1]:10024", "smtp://127.0.0.1:10024"),
            ("smtp:[::1]:10024", "smtp://[::1]:10024"),
            ("lmtp:inet:filter.example:24", "lmtp://filter.example:24"),
            ("lmtp:unix:/run/amavis", "lmtp:/run/amavis"),
            ("partner:", "partner"),
            ("partner", "partner"),
        ] {
            assert_eq!(next_hop(postfix), ours);
        }
    }
}
