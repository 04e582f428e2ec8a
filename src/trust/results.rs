//! Authentication-Results fields (RFC 8601): written, read, and removed where they claim to be ours.

use std::borrow::Cow;

use posthorn_mime::{Field, fields};

/// What a field says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticationResults {
    /// Who says it.
    pub authserv_id: String,
    /// The results in their order; none for `none`.
    pub results: Vec<MethodResult>,
}

/// The result of one method.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MethodResult {
    /// Such as `dkim`, in small letters.
    pub method: String,
    /// Such as `pass`, in small letters.
    pub result: String,
    /// `reason=`.
    pub reason: Option<String>,
    /// What was looked at, such as `header.d` and `example.org`; names in small letters.
    pub properties: Vec<(String, String)>,
}

/// More results of one field are left out, and more properties of a result.
const MOST_RESULTS: usize = 100;
const MOST_PROPERTIES: usize = 50;
/// Comments in comments.
const DEEPEST: usize = 20;
const NAME: &str = "Authentication-Results";

impl AuthenticationResults {
    /// Reads the value of a field, folded or not; `None` when it is malformed.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut scanner = Scanner(value);
        scanner.skip()?;
        let authserv_id = scanner.value(is_token)?;
        scanner.skip()?;
        // RFC 8601 §2.2: a version that we do not know may mean anything.
        let version = scanner.take(|b| b.is_ascii_digit());
        if !(version.is_empty() || version == b"1") {
            return None;
        }
        let mut read = Self { authserv_id, results: Vec::new() };
        scanner.skip()?;
        while scanner.eat(b';') {
            scanner.skip()?;
            if scanner.0.is_empty() {
                break;
            }
            let result = scanner.result()?;
            match result {
                None if read.results.is_empty() => {}
                None => return None,
                Some(result) if read.results.len() < MOST_RESULTS => read.results.push(result),
                Some(_) => {}
            }
            scanner.skip()?;
        }
        scanner.0.is_empty().then_some(read)
    }

    /// The results of a method.
    pub fn of<'r>(&'r self, method: &'r str) -> impl Iterator<Item = &'r MethodResult> {
        self.results.iter().filter(move |one| one.method == method)
    }
}

impl MethodResult {
    /// The first property of a name, such as `header.d`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// A whole field with its CRLF. `results` is what [`crate::Verification::results`] and its like give, joined by
/// semicolons; a comment in it holds no semicolon.
#[must_use]
pub fn field(authserv_id: &str, results: &str) -> String {
    format!("{NAME}: {}\r\n", folded(authserv_id, results))
}

/// Name and results, folded at semicolons and free of what would end the field.
pub(crate) fn folded(authserv_id: &str, results: &str) -> String {
    let clean = |text: &str| -> String {
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.collect::<String>().split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let limit = results.floor_char_boundary(LONGEST);
    let mut text = clean(authserv_id).replace(';', "");
    let mut some = false;
    for result in results[..limit].split(';').map(clean).filter(|result| !result.is_empty()) {
        text.push_str(";\r\n\t");
        text.push_str(&result);
        some = true;
    }
    if !some {
        text.push_str("; none");
    }
    text
}

/// More results than so many octets are cut.
const LONGEST: usize = 4096;

/// A header without the fields that claim to be of this name (RFC 8601 §5), whoever wrote them; `None` when there are
/// none. What cannot be read but mentions the name goes, too.
#[must_use]
pub fn without(header: &[u8], authserv_id: &str) -> Option<Vec<u8>> {
    let is_ours = |field: &Field<'_>| field.is(NAME) && claims(field.value, authserv_id);
    if !fields(header).any(|field| is_ours(&field)) {
        return None;
    }
    let mut kept = Vec::with_capacity(header.len());
    let mut read = 0;
    for field in fields(header) {
        read += field.raw.len();
        if !is_ours(&field) {
            kept.extend_from_slice(field.raw);
        }
    }
    kept.extend_from_slice(&header[read..]);
    Some(kept)
}

fn claims(value: &[u8], authserv_id: &str) -> bool {
    let mut scanner = Scanner(value);
    let said = scanner.skip().and_then(|()| scanner.value(is_token));
    let ours = authserv_id.trim_end_matches('.');
    match said {
        Some(said) => said.trim().trim_end_matches('.').eq_ignore_ascii_case(ours),
        None => {
            let value: Vec<u8> =
                value.iter().filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
            memchr::memmem::find(&value, ours.to_ascii_lowercase().as_bytes()).is_some()
        }
    }
}

/// What of a value is left.
struct Scanner<'v>(&'v [u8]);

impl<'v> Scanner<'v> {
    /// Passes white space and comments; `None` for a comment without end.
    fn skip(&mut self) -> Option<()> {
        loop {
            self.take(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
            if self.0.first() != Some(&b'(') {
                return Some(());
            }
            let mut depth = 0_usize;
            let mut escaped = false;
            let end = self.0.iter().position(|b| {
                match b {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                depth == 0 || depth > DEEPEST
            })?;
            if depth > 0 {
                return None;
            }
            self.0 = &self.0[end + 1..];
        }
    }

    fn eat(&mut self, wanted: u8) -> bool {
        match self.0.split_first() {
            Some((&b, rest)) if b == wanted => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'v [u8] {
        let end = self.0.iter().position(|b| !wanted(*b)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// A word in small letters.
    fn keyword(&mut self) -> Option<String> {
        let word = self.take(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        (!word.is_empty()).then(|| String::from_utf8_lossy(word).to_ascii_lowercase())
    }

    /// A token of these octets, or a quoted string without its quotes.
    fn value(&mut self, token: impl Fn(u8) -> bool) -> Option<String> {
        if !self.eat(b'"') {
            let word = self.take(token);
            return (!word.is_empty()).then(|| String::from_utf8_lossy(word).into_owned());
        }
        let mut text = Vec::new();
        let mut rest = self.0.iter();
        loop {
            match rest.next()? {
                b'"' => break,
                b'\\' => text.push(*rest.next()?),
                // Folding.
                b'\r' | b'\n' => {}
                b => text.push(*b),
            }
        }
        self.0 = rest.as_slice();
        Some(match String::from_utf8_lossy(&text) {
            Cow::Borrowed(text) => text.to_owned(),
            Cow::Owned(text) => text,
        })
    }

    /// A method with its result and properties, or `none`.
    fn result(&mut self) -> Option<Option<MethodResult>> {
        let method = self.keyword()?;
        self.skip()?;
        if self.eat(b'/') {
            self.skip()?;
            self.take(|b| b.is_ascii_digit());
            self.skip()?;
        }
        if !self.eat(b'=') {
            return (method == "none").then_some(None);
        }
        self.skip()?;
        let mut found = MethodResult { method, result: self.keyword()?, reason: None, properties: Vec::new() };
        loop {
            self.skip()?;
            if self.0.is_empty() || self.0.first() == Some(&b';') {
                return Some(Some(found));
            }
            let kind = self.keyword()?;
            self.skip()?;
            let name = if self.eat(b'.') {
                self.skip()?;
                let name = format!("{kind}.{}", self.keyword()?);
                self.skip()?;
                Some(name)
            } else {
                None
            };
            if !self.eat(b'=') {
                return None;
            }
            self.skip()?;
            let value = self.value(is_property_value).unwrap_or_default();
            match name {
                Some(name) if found.properties.len() < MOST_PROPERTIES => found.properties.push((name, value)),
                Some(_) => {}
                None if kind == "reason" => found.reason = Some(value),
                None => return None,
            }
        }
    }
}

/// A token of MIME (RFC 2045 §5.1), and UTF-8.
fn is_token(b: u8) -> bool {
    b > b' ' && b != 0x7f && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

/// Addresses, base64 and the like, as people write them without quotes.
fn is_property_value(b: u8) -> bool {
    b > b' ' && b != 0x7f && !b"();\"".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<AuthenticationResults> {
        AuthenticationResults::parse(value.as_bytes())
    }

    /// The examples of RFC 8601 §B, and what others write.
    #[test]
    fn fields_are_read() {
        let none = parse(" example.org 1; none").expect("read");
        assert_eq!((none.authserv_id.as_str(), none.results.len()), ("example.org", 0));
        let read = parse(
            " foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n      policy (A dot can go here) . (like that) expired\r\n    (this surprised me) = (as I wasn't expecting it) 1362471462",
        )
        .expect("read");
        assert_eq!(read.authserv_id, "foo.example.net");
        assert_eq!((read.results[0].method.as_str(), read.results[0].result.as_str()), ("dkim", "fail"));
        assert_eq!(read.results[0].property("policy.expired"), Some("1362471462"));
        let read = parse(
            "example.com;\r\n\tAuth=Pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=fail reason=\"a \\\"word\\\"\" smtp.mailfrom=@example.net; dkim=pass header.d=a.example header.b=oINEO8hg+/=;",
        )
        .expect("read");
        assert_eq!(read.of("auth").next().and_then(|one| one.property("smtp.auth")), Some("sender@example.net"));
        assert_eq!(read.results[1].reason.as_deref(), Some("a \"word\""));
        assert_eq!(read.results[2].property("header.b"), Some("oINEO8hg+/="));
        assert_eq!(parse("\"mail.example\"; x=y").expect("read").authserv_id, "mail.example");
    }

    #[test]
    fn what_is_malformed_is_not_read() {
        for bad in [
            "",
            ";",
            "a b; none",
            "a 2; none",
            "a; dkim",
            "a; dkim=",
            "a; dkim=pass x",
            "a; dkim=pass header.=x",
            "a; dkim=pass header.d",
            "a; (dkim=pass",
            "\"a; none",
            "a; dkim=pass; none",
            "a, b; none",
            "a; =pass",
            "a; dkim=pass foo=bar",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!("a; {}", "(".repeat(100_000))), None);
        assert!(parse(&format!("a{}", "; b=c".repeat(100_000))).is_some_and(|read| read.results.len() == MOST_RESULTS));
    }

    #[test]
    fn our_own_fields_are_read_again() {
        let results =
            "spf=pass smtp.mailfrom=a.example; dkim=fail (the body has changed) header.d=a.example header.s=k";
        let field = field("mx.example.org", results);
        assert_eq!(posthorn_mime::header_fault(field.as_bytes()), None);
        assert_eq!(
            field,
            "Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=a.example;\r\n\tdkim=fail (the body has changed) header.d=a.example header.s=k\r\n"
        );
        let value = field.split_once(':').expect("a colon").1;
        let read = parse(value).expect("read");
        assert_eq!(read.of("dkim").next().and_then(|one| one.property("header.s")), Some("k"));
    }

    #[test]
    fn forged_fields_go() {
        let header = b"Subject: x\r\nAuthentication-Results: MX.example.ORG;\r\n\tdkim=pass\r\nauthentication-results : (c) \"mx.example.org\" 1; spf=pass\r\nAuthentication-Results: other.example; spf=pass\r\nAuthentication-Results: (open mx.exam\r\n ple.org; spf=pass\r\n\r\nbody";
        let kept = without(header, "mx.example.org").expect("some are ours");
        assert_eq!(kept, b"Subject: x\r\nAuthentication-Results: other.example; spf=pass\r\n\r\nbody");
        assert_eq!(without(&kept, "mx.example.org"), None);
        assert_eq!(without(b"", "mx.example.org"), None);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read_or_not(value in "[a-z=;.()\"\\\\/ \r\n1@é]{0,60}", octets: Vec<u8>) {
            let _either = parse(&value);
            let _either = AuthenticationResults::parse(&octets);
            let header = [&b"Authentication-Results:"[..], value.as_bytes(), b"\r\n\r\n"].concat();
            if let Some(kept) = without(&header, "a") {
                proptest::prop_assert!(without(&kept, "a").is_none());
            }
        }

        #[test]
        fn whatever_we_write_can_be_read(id in "[a-z.]{1,20}", results in proptest::collection::vec("[a-z]{1,5}=[a-z]{1,5}( \\([a-z ]{0,9}\\))?( [a-z]{1,4}\\.[a-z]{1,4}=[a-z.@]{1,9})?", 0..5)) {
            let field = field(&id, &results.join("; "));
            let read = AuthenticationResults::parse(field.split_once(':').expect("a colon").1.as_bytes()).expect("read");
            proptest::prop_assert_eq!(read.results.len(), results.len());
            proptest::prop_assert_eq!(read.authserv_id, id);
        }
    }
}
