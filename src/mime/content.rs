//! The values of MIME's own header fields (RFC 2045 §5, RFC 2183), read tolerantly.

use std::borrow::Cow;

use crate::charset;
use crate::transfer::hex_pair;

/// More parameters of one field are left out.
const PARAMETER_LIMIT: usize = 100;

/// A value such as `text/plain; charset=utf-8`: what stands in front, and the parameters.
#[derive(Debug)]
pub(crate) struct Content<'v> {
    /// Without comments and outer white space.
    pub(crate) main: &'v [u8],
    parameters: &'v [u8],
}

impl<'v> Content<'v> {
    /// Splits an unfolded value.
    pub(crate) fn parse(value: &'v [u8]) -> Self {
        let value = skip_blank(value);
        let end = memchr::memchr2(b';', b'(', value).unwrap_or(value.len());
        let rest = skip_blank(&value[end..]);
        Self { main: value[..end].trim_ascii(), parameters: rest }
    }

    /// Type and subtype in lower case; `None` when the value does not name them.
    pub(crate) fn media(&self) -> Option<(String, String)> {
        let slash = memchr::memchr(b'/', self.main)?;
        Some((token(self.main[..slash].trim_ascii())?, token(self.main[slash + 1..].trim_ascii())?))
    }

    /// The parameters: names in lower case, values without quotes.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (Vec<u8>, Cow<'v, [u8]>)> + use<'v> {
        let mut rest = self.parameters;
        std::iter::from_fn(move || parameter(&mut rest)).take(PARAMETER_LIMIT)
    }
}

/// A token (RFC 2045 §5.1) in lower case.
pub(crate) fn token(text: &[u8]) -> Option<String> {
    let good = |b: &u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b);
    (!text.is_empty() && text.iter().all(good))
        .then(|| text.iter().map(|b| char::from(b.to_ascii_lowercase())).collect())
}

/// The tags of a `Content-Language` value.
pub(crate) fn languages(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let value = &value[..memchr::memchr(b'(', value).unwrap_or(value.len())];
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty()).take(PARAMETER_LIMIT)
}

/// The text of a parameter that may be encoded and in pieces (RFC 2231 §3, §4), or hold encoded words as many
/// programs write them.
pub(crate) fn decoded_parameter<'p, I>(parameters: impl Fn() -> I, name: &str) -> Option<String>
where
    I: Iterator<Item = (&'p [u8], &'p [u8])>,
{
    let find = |wanted: &str| parameters().find(|(known, _)| *known == wanted.as_bytes()).map(|(_, value)| value);
    if let Some(value) = find(&format!("{name}*")) {
        let (charset, text) = charset_and_text(value);
        return Some(charset::extended(charset, &percent_decoded(text)));
    }
    let mut charset = None;
    let mut bytes = Vec::new();
    for piece in 0..PARAMETER_LIMIT {
        if let Some(value) = find(&format!("{name}*{piece}*")) {
            let mut text = value;
            if piece == 0 {
                (charset, text) = charset_and_text(value);
            }
            bytes.extend_from_slice(&percent_decoded(text));
        } else if let Some(value) = find(&format!("{name}*{piece}")) {
            bytes.extend_from_slice(value);
        } else if piece == 0 {
            return find(name).map(charset::words);
        } else {
            break;
        }
    }
    Some(charset::extended(charset, &bytes))
}

fn charset_and_text(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quotes = memchr::memchr_iter(b'\'', value);
    match (quotes.next(), quotes.next()) {
        (Some(first), Some(second)) => {
            (Some(&value[..first]).filter(|charset| !charset.is_empty()), &value[second + 1..])
        }
        _ => (None, value),
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        match (b, hex_pair(tail)) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            _ => bytes.push(b),
        }
    }
    bytes
}

/// Takes one parameter with the semicolon before it.
fn parameter<'v>(rest: &mut &'v [u8]) -> Option<(Vec<u8>, Cow<'v, [u8]>)> {
    loop {
        let text = skip_blank(rest);
        if let Some(tail) = text.strip_prefix(b";") {
            *rest = tail;
            continue;
        }
        if text.is_empty() {
            *rest = text;
            return None;
        }
        let end = memchr::memchr2(b'=', b';', text).unwrap_or(text.len());
        let name = text[..end].trim_ascii();
        let Some(after) = text[end..].strip_prefix(b"=") else {
            *rest = &text[end..];
            continue;
        };
        let after = skip_blank(after);
        let (value, tail) = match after.strip_prefix(b"\"") {
            Some(quoted) => quoted_value(quoted),
            None => bare_value(after),
        };
        *rest = tail;
        if !name.is_empty() {
            return Some((name.to_ascii_lowercase(), value));
        }
    }
}

/// A value up to its closing quote, escapes removed, and what is behind the next semicolon.
fn quoted_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let mut value = Cow::Borrowed(&text[..0]);
    let (mut start, mut at) = (0, 0);
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        let stop = at + found;
        if text[stop] == b'"' {
            let end = memchr::memchr(b';', &text[stop..]).map_or(text.len(), |semicolon| stop + semicolon);
            return (join(value, &text[start..stop]), &text[end..]);
        }
        value = join(value, &text[start..stop]);
        start = stop + 1;
        at = (stop + 2).min(text.len());
    }
    (join(value, text.get(start..).unwrap_or_default()), &[])
}

fn join<'v>(head: Cow<'v, [u8]>, tail: &'v [u8]) -> Cow<'v, [u8]> {
    if head.is_empty() {
        return Cow::Borrowed(tail);
    }
    let mut whole = head.into_owned();
    whole.extend_from_slice(tail);
    Cow::Owned(whole)
}

/// A value without quotes: up to the semicolon, or up to a comment behind white space. White space inside it is
/// kept, since file names are written so.
fn bare_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let mut value = text[..end].trim_ascii();
    if value.ends_with(b")")
        && let Some(comment) = memchr::memmem::find(value, b" (")
    {
        value = value[..comment].trim_ascii_end();
    }
    (Cow::Borrowed(value), &text[end..])
}

/// Skips white space and comments (RFC 5322 §3.2.2).
fn skip_blank(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        if !text.starts_with(b"(") {
            return text;
        }
        text = &text[comment_length(text)..];
    }
}

/// The length of the comment that the text begins with; one without an end takes all.
pub(crate) fn comment_length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, &b) in text.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (String, Vec<(String, String)>) {
        let content = Content::parse(value.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(content.main), content.parameters().map(|(name, value)| (text(&name), text(&value))).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn values_are_split_into_main_and_parameters() {
        assert_eq!(read("text/plain"), ("text/plain".into(), vec![]));
        assert_eq!(
            read("text/plain; Charset=us-ascii (Plain text) ; x=\"a;\\\"b\\\\\""),
            ("text/plain".into(), vec![pair("charset", "us-ascii"), pair("x", "a;\"b\\")])
        );
        assert_eq!(
            read(" (a (nested) comment) text/html (c); name=my file.pdf; ;flag; =x; y = 1"),
            ("text/html".into(), vec![pair("name", "my file.pdf"), pair("y", "1")])
        );
        assert_eq!(read("a/b; x=\"open"), ("a/b".into(), vec![pair("x", "open")]));
        assert_eq!(read("a/b; x=\"open\\"), ("a/b".into(), vec![pair("x", "open")]));
        assert_eq!(read("a/b; x=\"\""), ("a/b".into(), vec![pair("x", "")]));
    }

    #[test]
    fn media_types_are_tokens() {
        assert_eq!(Content::parse(b"Text / HTML;x").media(), Some(("text".into(), "html".into())));
        for value in ["", "text", "/plain", "text/", "te xt/plain", "text/pl\u{e4}in", "a/b/c"] {
            assert_eq!(Content::parse(value.as_bytes()).media(), None, "{value:?}");
        }
    }

    #[test]
    fn pieces_and_charsets_of_parameters_are_decoded() {
        let decoded = |value: &str| {
            let content = Content::parse(value.as_bytes());
            let all: Vec<_> = content.parameters().collect();
            decoded_parameter(|| all.iter().map(|(name, value)| (&name[..], &value[..])), "filename")
        };
        assert_eq!(decoded("attachment; filename*=iso-8859-1'de'%fcber.txt").as_deref(), Some("über.txt"));
        assert_eq!(
            decoded("attachment; filename*0*=utf-8''%c3; filename*1*=%bcber; filename*2=\" x.txt\"").as_deref(),
            Some("über x.txt")
        );
        assert_eq!(decoded("attachment; filename=\"=?utf-8?Q?=C3=BC?=.txt\"").as_deref(), Some("ü.txt"));
        assert_eq!(decoded("attachment"), None);
    }

    #[test]
    fn hostile_values_take_linear_time() {
        for piece in ["(", ";", "a=", "\\", "\"", "a=\"", "( "] {
            let (_, parameters) = read(&piece.repeat(200_000));
            assert!(parameters.len() <= PARAMETER_LIMIT, "{piece}");
        }
    }
}
