//! The arguments of MAIL and RCPT: a path, then `keyword[=value]` parameters (RFC 5321 §4.1.2).

use chrono::{DateTime, Utc};
use posthorn_model::Address;

use crate::{
    BodyType, By, Dialect, Extension, Hold, Late, Notify, Options, OriginalRecipient, Recipient, Reply, Ret, Sender,
    Target, xtext,
};

/// Parses what follows `MAIL`; `secured` says whether TLS is up.
pub(crate) fn mail(arguments: &str, options: &Options, secured: bool) -> Result<Sender, Reply> {
    let (path, rest) = path(arguments, "FROM:")?;
    let mut sender = Sender::default();
    let mut seen = Seen::default();
    for parameter in parameters(rest) {
        let (keyword, value) = seen.admit(parameter, MAIL, options)?;
        if (keyword, value) == ("REQUIRETLS", None) && !secured {
            return Err(Reply::new(530, 7, 10, "REQUIRETLS needs TLS here already"));
        }
        note(&mut sender, (keyword, value), options)?;
    }
    if let (Some(by), Some(Hold::For(seconds))) = (sender.by, sender.hold)
        && by.seconds <= i64::from(seconds)
    {
        return Err(Reply::new(501, 5, 4, "Delivery is wanted before the message may leave"));
    }
    if !path.is_ascii() && !sender.smtputf8 {
        return Err(needs_utf8());
    }
    if options.max_size != 0 && sender.size.is_some_and(|size| size > options.max_size) {
        return Err(Reply::new(552, 3, 4, "Message too big for us"));
    }
    if !path.is_empty() {
        let address = Address::parse(without_route(path)?);
        sender.path = Some(address.map_err(|why| Reply::new(501, 1, 7, format!("Bad sender address: {why}")))?);
    }
    Ok(sender)
}

/// What one parameter of MAIL asks.
fn note(sender: &mut Sender, parameter: (&str, Option<&str>), options: &Options) -> Result<(), Reply> {
    match parameter {
        ("SIZE", Some(digits)) => sender.size = Some(size(digits)?),
        ("BODY", Some(value)) => sender.body = body(value, options)?,
        ("SMTPUTF8", None) => sender.smtputf8 = true,
        ("RET", Some(value)) if value.eq_ignore_ascii_case("FULL") => sender.ret = Some(Ret::Full),
        ("RET", Some(value)) if value.eq_ignore_ascii_case("HDRS") => sender.ret = Some(Ret::Headers),
        ("ENVID", Some(value)) if (1..=100).contains(&value.len()) => {
            sender.envid = Some(xtext::decode(value).filter(|id| is_printable(id)).ok_or_else(bad_value)?);
        }
        ("AUTH", Some(value)) if !value.is_empty() => {
            sender.auth = Some(xtext::decode(value).filter(|name| !has_controls(name)).ok_or_else(bad_value)?);
        }
        ("BY", Some(value)) => sender.by = Some(by(value)?),
        // RFC 4865 §4: the two exclude each other.
        ("HOLDFOR", Some(value)) if sender.hold.is_none() => sender.hold = Some(hold_for(value, options)?),
        ("HOLDUNTIL", Some(value)) if sender.hold.is_none() => sender.hold = Some(hold_until(value, options)?),
        ("MT-PRIORITY", Some(value)) => sender.priority = Some(priority(value)?),
        ("REQUIRETLS", None) => sender.require_tls = true,
        _ => return Err(bad_value()),
    }
    Ok(())
}

/// Parses what follows `RCPT`; `smtputf8` is what MAIL said.
pub(crate) fn rcpt(arguments: &str, options: &Options, smtputf8: bool) -> Result<Recipient, Reply> {
    let (path, rest) = path(arguments, "TO:")?;
    if !path.is_ascii() && !smtputf8 {
        return Err(needs_utf8());
    }
    let target = if path.eq_ignore_ascii_case("postmaster") {
        Target::Postmaster
    } else {
        let address = Address::parse(without_route(path)?);
        Target::Address(address.map_err(|why| Reply::new(501, 1, 3, format!("Bad recipient address: {why}")))?)
    };
    let mut recipient = Recipient { target, notify: None, orcpt: None };
    let mut seen = Seen::default();
    for parameter in parameters(rest) {
        match seen.admit(parameter, RCPT, options)? {
            ("NOTIFY", Some(value)) => recipient.notify = Some(notify(value)?),
            ("ORCPT", Some(value)) => recipient.orcpt = Some(original(value)?),
            _ => return Err(bad_value()),
        }
    }
    Ok(recipient)
}

impl Sender {
    /// What the parameters of a MAIL ask that another server has taken. What that one knows and we do not is passed over,
    /// and so is how long it keeps the message back itself.
    pub fn taken_elsewhere<'p>(path: Option<Address>, parameters: impl IntoIterator<Item = &'p str>) -> Self {
        let options = Options::new(Dialect::Smtp, "");
        let mut sender = Self { path, ..Self::default() };
        let mut seen = Seen::default();
        for parameter in parameters {
            if let Ok(known) = seen.admit(parameter, MAIL, &options) {
                let _passed_over = note(&mut sender, known, &options);
            }
        }
        sender
    }
}

impl Recipient {
    /// The same of a RCPT.
    pub fn taken_elsewhere<'p>(target: Target, parameters: impl IntoIterator<Item = &'p str>) -> Self {
        let options = Options::new(Dialect::Smtp, "");
        let mut recipient = Self { target, notify: None, orcpt: None };
        let mut seen = Seen::default();
        for parameter in parameters {
            match seen.admit(parameter, RCPT, &options) {
                Ok(("NOTIFY", Some(value))) => recipient.notify = notify(value).ok(),
                Ok(("ORCPT", Some(value))) => recipient.orcpt = original(value).ok(),
                _ => {}
            }
        }
        recipient
    }
}

/// Keywords and the extensions that they belong to.
type Keywords = &'static [(&'static str, Extension)];

const MAIL: Keywords = &[
    ("SIZE", Extension::Size),
    ("BODY", Extension::EightBitMime),
    ("SMTPUTF8", Extension::SmtpUtf8),
    ("RET", Extension::Dsn),
    ("ENVID", Extension::Dsn),
    ("AUTH", Extension::Auth),
    ("BY", Extension::DeliverBy),
    ("HOLDFOR", Extension::FutureRelease),
    ("HOLDUNTIL", Extension::FutureRelease),
    ("MT-PRIORITY", Extension::MtPriority),
    ("REQUIRETLS", Extension::RequireTls),
];

const RCPT: Keywords = &[("NOTIFY", Extension::Dsn), ("ORCPT", Extension::Dsn)];

/// Which parameters came already, as bits in the order of [`Keywords`].
#[derive(Default)]
struct Seen(u16);

impl Seen {
    /// The parameter's known keyword and its value; refused when unknown, not offered, or repeated.
    fn admit<'a>(
        &mut self,
        parameter: &'a str,
        known: Keywords,
        options: &Options,
    ) -> Result<(&'static str, Option<&'a str>), Reply> {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        let at = known
            .iter()
            .position(|(name, extension)| name.eq_ignore_ascii_case(keyword) && options.offers(*extension))
            .ok_or_else(|| Reply::new(555, 5, 4, "Parameter not recognized or not offered"))?;
        if self.0 & 1 << at != 0 {
            return Err(Reply::new(501, 5, 4, "Parameter given twice"));
        }
        self.0 |= 1 << at;
        Ok((known[at].0, value))
    }
}

/// The path between the angle brackets and what follows them. One blank behind the colon is forgiven: too many
/// programs send it.
fn path<'a>(arguments: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Reply> {
    let malformed = || Reply::new(501, 5, 4, format!("Syntax: {keyword}<path> [parameters]"));
    let (head, rest) = arguments.split_at_checked(keyword.len()).ok_or_else(malformed)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(malformed());
    }
    let inside = rest.strip_prefix(' ').unwrap_or(rest).strip_prefix('<').ok_or_else(malformed)?;
    let end = closing_bracket(inside).ok_or_else(malformed)?;
    let rest = &inside[end + 1..];
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(malformed());
    }
    Ok((&inside[..end], rest))
}

/// The first `>` outside a quoted local part.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Drops `@one,@two:` before the mailbox (RFC 5321 §4.1.1.3: must be understood, should be ignored).
fn without_route(path: &str) -> Result<&str, Reply> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    path.split_once(':').map(|(_, mailbox)| mailbox).ok_or_else(|| Reply::new(501, 5, 4, "Malformed source route"))
}

fn parameters(rest: &str) -> impl Iterator<Item = &str> {
    rest.split(' ').filter(|parameter| !parameter.is_empty())
}

/// RFC 1870 §4: up to 20 digits. What does not fit is more than anybody takes.
fn size(digits: &str) -> Result<u64, Reply> {
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_value());
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn body(value: &str, options: &Options) -> Result<BodyType, Reply> {
    if value.eq_ignore_ascii_case("7BIT") {
        Ok(BodyType::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Ok(BodyType::EightBit)
    } else if value.eq_ignore_ascii_case("BINARYMIME") && options.offers(Extension::BinaryMime) {
        Ok(BodyType::Binary)
    } else {
        Err(bad_value())
    }
}

/// RFC 3461 §4.1: `NEVER` stands alone.
fn notify(value: &str) -> Result<Notify, Reply> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        let flag = if word.eq_ignore_ascii_case("SUCCESS") {
            &mut notify.success
        } else if word.eq_ignore_ascii_case("FAILURE") {
            &mut notify.failure
        } else if word.eq_ignore_ascii_case("DELAY") {
            &mut notify.delay
        } else {
            return Err(bad_value());
        };
        if std::mem::replace(flag, true) {
            return Err(bad_value());
        }
    }
    Ok(notify)
}

/// RFC 3461 §4.2: at most 500 octets, an address type, a semicolon, xtext.
fn original(value: &str) -> Result<OriginalRecipient, Reply> {
    let (kind, address) = value.split_once(';').filter(|_| value.len() <= 500).ok_or_else(bad_value)?;
    let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match xtext::decode(address) {
        Some(address) if is_atom && !address.is_empty() && !has_controls(&address) => {
            Ok(OriginalRecipient { kind: kind.to_owned(), address })
        }
        _ => Err(bad_value()),
    }
}

/// RFC 2852 §4: seconds of up to nine digits with a sign, `;`, `N` or `R`, perhaps `T`. Time that is used up makes sense
/// only where the sender is told.
fn by(value: &str) -> Result<By, Reply> {
    let (seconds, mode) = value.split_once(';').ok_or_else(bad_value)?;
    let (negative, digits) = match seconds.as_bytes().first() {
        Some(b'-') => (true, &seconds[1..]),
        Some(b'+') => (false, &seconds[1..]),
        _ => (false, seconds),
    };
    let amount = i64::from(number(digits, 9)?);
    let seconds = if negative { -amount } else { amount };
    let (late, rest) = match mode.as_bytes().first() {
        Some(b'N' | b'n') => (Late::Notify, &mode[1..]),
        Some(b'R' | b'r') if seconds > 0 => (Late::Return, &mode[1..]),
        _ => return Err(bad_value()),
    };
    match rest {
        "" => Ok(By { seconds, late, trace: false }),
        "T" | "t" => Ok(By { seconds, late, trace: true }),
        _ => Err(bad_value()),
    }
}

/// RFC 4865 §4: one to nine digits, not beyond what was announced.
fn hold_for(value: &str, options: &Options) -> Result<Hold, Reply> {
    let seconds = number(value, 9)?;
    match options.hold {
        Some(longest) if (1..=longest.seconds).contains(&seconds) => Ok(Hold::For(seconds)),
        _ => Err(too_long()),
    }
}

/// RFC 4865 §4: a date and time of RFC 3339, not beyond what was announced.
fn hold_until(value: &str, options: &Options) -> Result<Hold, Reply> {
    let until = DateTime::parse_from_rfc3339(value).map_err(|_| bad_value())?.with_timezone(&Utc);
    match options.hold {
        Some(longest) if until <= longest.until => Ok(Hold::Until(until)),
        _ => Err(too_long()),
    }
}

/// RFC 6710 §5: `0`, or a digit from 1 to 9 perhaps with a minus.
fn priority(value: &str) -> Result<i8, Reply> {
    match value.as_bytes() {
        [digit @ b'0'..=b'9'] => Ok((digit - b'0').cast_signed()),
        [b'-', digit @ b'1'..=b'9'] => Ok(-(digit - b'0').cast_signed()),
        _ => Err(bad_value()),
    }
}

/// Decimal digits, at least one and at most `most` (no more than nine).
fn number(digits: &str, most: usize) -> Result<u32, Reply> {
    if digits.len() > most || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_value());
    }
    digits.parse().map_err(|_| bad_value())
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn bad_value() -> Reply {
    Reply::new(501, 5, 4, "Malformed parameter")
}

fn too_long() -> Reply {
    Reply::new(501, 5, 4, "Longer than messages are kept back here")
}

fn needs_utf8() -> Reply {
    Reply::new(553, 6, 7, "Non-ASCII address needs SMTPUTF8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { auth: vec!["PLAIN".to_owned()], ..Options::new(Dialect::Smtp, "mx.example.org") }
    }

    fn code<T>(result: Result<T, Reply>) -> u16 {
        result.map_or_else(|reply| reply.code, |_| 250)
    }

    #[test]
    fn mail_parameters_are_kept() {
        let line = "from:<Bob@Example.org> SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B1 AUTH=<>";
        let sender = mail(line, &options(), false).expect("well-formed");
        assert_eq!(sender.path.map(|path| path.to_string()).as_deref(), Some("Bob@example.org"));
        assert_eq!((sender.size, sender.body, sender.smtputf8), (Some(1000), BodyType::EightBit, true));
        assert_eq!(
            (sender.ret, sender.envid.as_deref(), sender.auth.as_deref()),
            (Some(Ret::Headers), Some("QQ+1"), Some("<>"))
        );
        assert_eq!(mail("FROM:<>", &options(), false), Ok(Sender::default()));
    }

    #[test]
    fn rcpt_parameters_are_kept() {
        let line = "TO:<@a.example,@b.example:bob@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@example.net";
        let recipient = rcpt(line, &options(), false).expect("well-formed");
        assert_eq!(recipient.target.to_string(), "bob@example.org");
        assert_eq!(recipient.notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(recipient.orcpt.map(|original| original.address).as_deref(), Some("Bob+x@example.net"));
        assert_eq!(rcpt("TO:<PostMaster>", &options(), false).map(|one| one.target), Ok(Target::Postmaster));
    }

    #[test]
    fn what_another_server_took_is_read_as_far_as_it_is_known() {
        let words =
            ["SIZE=x", "BODY=8BITMIME", "XVERP", "RET=hdrs", "ENVID=QQ+2B1", "RET=FULL", "REQUIRETLS", "SMTPUTF8"];
        let sender = Sender::taken_elsewhere(None, words);
        assert_eq!((sender.size, sender.body, sender.ret), (None, BodyType::EightBit, Some(Ret::Headers)));
        assert_eq!((sender.envid.as_deref(), sender.require_tls, sender.smtputf8), (Some("QQ+1"), true, true));
        let recipient = Recipient::taken_elsewhere(Target::Postmaster, ["X=1", "NOTIFY=never", "ORCPT=rfc822;b+2Bx@y"]);
        assert_eq!(recipient.notify, Some(Notify::default()));
        assert_eq!(recipient.orcpt.map(|original| original.address).as_deref(), Some("b+x@y"));
        assert_eq!(Recipient::taken_elsewhere(Target::Postmaster, ["NOTIFY=NOW"]).notify, None);
    }

    #[test]
    fn brackets_inside_quotes_do_not_close() {
        let recipient = rcpt("TO:<\"a>b\\\"c\"@example.org>", &options(), false).expect("well-formed");
        assert_eq!(recipient.target.to_string(), "\"a>b\\\"c\"@example.org");
    }

    #[test]
    fn nonsense_has_its_code() {
        for (line, expected) in [
            ("", 501),
            ("FROM", 501),
            ("FROM:bob@example.org", 501),
            ("FROM:<bob@example.org", 501),
            ("FROM:<bob@example.org>SIZE=1", 501),
            ("FROM:  <bob@example.org>", 501),
            ("FROM:<bob>", 501),
            ("FROM:<@a.example>", 501),
            ("FROM:<bob@example.org> SIZE=", 501),
            ("FROM:<bob@example.org> SIZE=1 SIZE=1", 501),
            ("FROM:<bob@example.org> BODY=9BIT", 501),
            ("FROM:<bob@example.org> SMTPUTF8=1", 501),
            ("FROM:<bob@example.org> ENVID=a=b", 501),
            ("FROM:<bob@example.org> FOO", 555),
            ("FROM:<bob@example.org> SIZE=99999999999999999999", 552),
            ("FROM:<bücher@example.org>", 553),
            ("FROM:<bücher@example.org> SMTPUTF8", 250),
            ("FROM: <bob@example.org>", 250),
        ] {
            assert_eq!(code(mail(line, &options(), false)), expected, "{line:?}");
        }
        for (line, expected) in [
            ("TO:<>", 501),
            ("TO:<a@b.example> NOTIFY=NEVER,DELAY", 501),
            ("TO:<a@b.example> NOTIFY=", 501),
            ("TO:<a@b.example> ORCPT=bob", 501),
            ("TO:<a@b.example> ORCPT=rfc822;a+0Ab", 501),
            ("TO:<a@b.example> SIZE=1", 555),
        ] {
            assert_eq!(code(rcpt(line, &options(), false)), expected, "{line:?}");
        }
    }

    #[test]
    fn what_a_courier_is_told_is_kept() {
        let until = DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
        let mut options = Options { hold: Some(crate::LongestHold { seconds: 86_400, until }), ..options() };
        options.extensions = options.extensions.with(Extension::FutureRelease).with(Extension::MtPriority);
        let line = "FROM:<a@b.example> BY=+120;rt HOLDFOR=60 MT-PRIORITY=-4 requiretls";
        let sender = mail(line, &options, true).expect("well-formed");
        assert_eq!(sender.by, Some(By { seconds: 120, late: Late::Return, trace: true }));
        assert_eq!((sender.hold, sender.priority, sender.require_tls), (Some(Hold::For(60)), Some(-4), true));
        let line = "FROM:<> BY=-5;N HOLDUNTIL=2027-01-15T09:00:00+01:00 MT-PRIORITY=9";
        let sender = mail(line, &options, true).expect("well-formed");
        assert_eq!(sender.by, Some(By { seconds: -5, late: Late::Notify, trace: false }));
        assert_eq!((sender.hold, sender.priority), (Some(Hold::Until(until)), Some(9)));
        for parameter in [
            "BY=0;R",
            "BY=-1;R",
            "BY=60",
            "BY=60;X",
            "BY=60;RN",
            "BY=1234567890;N",
            "BY=;N",
            "HOLDFOR=0",
            "HOLDFOR=86401",
            "HOLDFOR=60 HOLDUNTIL=2027-01-15T08:00:00Z",
            "HOLDFOR=60 BY=60;R",
            "HOLDUNTIL=2027-01-15T08:00:01Z",
            "HOLDUNTIL=tomorrow",
            "MT-PRIORITY=10",
            "MT-PRIORITY=-0",
            "MT-PRIORITY=+1",
            "REQUIRETLS=1",
        ] {
            assert_eq!(code(mail(&format!("FROM:<> {parameter}"), &options, true)), 501, "{parameter}");
        }
        assert_eq!(code(mail("FROM:<> REQUIRETLS", &options, false)), 530);
        options.dialect = Dialect::Lmtp;
        assert_eq!(code(mail("FROM:<> BY=60;R", &options, true)), 555);
    }

    #[test]
    fn withheld_extensions_refuse_their_parameters() {
        let mut options = options();
        options.extensions = options.extensions.without(Extension::Dsn).without(Extension::Chunking);
        assert_eq!(code(mail("FROM:<> RET=FULL", &options, false)), 555);
        assert_eq!(code(mail("FROM:<> BODY=BINARYMIME", &options, false)), 501);
        assert_eq!(code(rcpt("TO:<postmaster> NOTIFY=NEVER", &options, false)), 555);
    }
}
