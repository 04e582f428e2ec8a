//! What a text is.

use std::borrow::Cow;

use crate::Kind;

/// Octets that are looked at.
const HEAD: usize = 8 * 1024;

/// Tells sorts of text apart; what is no text is unknown.
pub(super) fn recognize(octets: &[u8]) -> Kind {
    let head = &octets[..octets.len().min(HEAD)];
    let text = match head {
        [0xff, 0xfe, rest @ ..] => Cow::Owned(crate::binary::utf16(rest).into_bytes()),
        [0xfe, 0xff, rest @ ..] => {
            let swapped: Vec<u8> = rest.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
            Cow::Owned(crate::binary::utf16(&swapped).into_bytes())
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(rest),
        _ => Cow::Borrowed(head),
    };
    if !is_text(&text) {
        return Kind::Unknown;
    }
    of_text(&text)
}

/// Whether the octets are those of a text: no control characters but those that texts have.
pub(super) fn is_text(octets: &[u8]) -> bool {
    // Whole chunks without an early end, which the compiler turns into a few wide instructions.
    let controls = |chunk: &[u8]| chunk.iter().fold(false, |found, b| found | is_control(*b));
    !octets.chunks(256).any(controls)
}

fn is_control(b: u8) -> bool {
    let of_texts = (0x08..=0x0d).contains(&b) | (b == 0x1b);
    (b < 0x20) & !of_texts | (b == 0x7f)
}

fn of_text(text: &[u8]) -> Kind {
    let text = text.trim_ascii_start();
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    for (beginning, kind) in BEGINNINGS {
        if starts(beginning) {
            return *kind;
        }
    }
    if starts(b"begin ") && text.get(6..9).is_some_and(|mode| mode.iter().all(|b| (b'0'..=b'7').contains(b))) {
        return Kind::Uuencoded;
    }
    if text.first() == Some(&b'<') {
        return of_markup(text);
    }
    if starts(b"#@~^") || has(text, b"#@~^") && has(text, b"==^#~@") {
        return Kind::WindowsScript;
    }
    // HTML need not begin with a tag to be shown as such.
    if [&b"<script"[..], b"<iframe", b"<body", b"<hta:application"].iter().any(|tag| has(text, tag)) && has(text, b"</")
    {
        return of_markup(text);
    }
    Kind::Text
}

const BEGINNINGS: &[(&[u8], Kind)] = &[
    (b"#!", Kind::UnixScript),
    (b"@echo off", Kind::BatchFile),
    (b"@rem ", Kind::BatchFile),
    (b"rem @echo", Kind::BatchFile),
    (b"setlocal enable", Kind::BatchFile),
    (b"[internetshortcut]", Kind::InternetShortcut),
    (b"[desktop entry]", Kind::InternetShortcut),
    (b"windows registry editor", Kind::RegistryFile),
    (b"regedit4", Kind::RegistryFile),
    (b"#requires -", Kind::PowerShell),
    (b"[cmdletbinding(", Kind::PowerShell),
    (b"powershell -", Kind::PowerShell),
    (b"powershell.exe ", Kind::PowerShell),
    (b"begin:vcalendar", Kind::Calendar),
    (b"begin:vcard", Kind::VCard),
    (b"-----begin pgp", Kind::Pgp),
    (b"-----begin pkcs7", Kind::Pkcs7),
];

fn of_markup(text: &[u8]) -> Kind {
    let scripted = [&b"vbscript"[..], b"wscript.shell", b"activexobject(\"wscript", b"shell.application"];
    let tags = Tags::of(text);
    if tags.application {
        return Kind::Hta;
    }
    if tags.scriptlet || (tags.job || tags.package) && tags.script {
        return Kind::WindowsScript;
    }
    if tags.script && scripted.iter().any(|word| has(text, word)) {
        return Kind::Hta;
    }
    if tags.svg && !tags.page {
        return Kind::Svg;
    }
    if tags.page || tags.script || tags.html {
        return Kind::Html;
    }
    if text.starts_with(b"<?xml") { Kind::Xml } else { Kind::Text }
}

/// Which tags a text has, found in one walk.
#[derive(Default)]
struct Tags {
    application: bool,
    job: bool,
    script: bool,
    scriptlet: bool,
    package: bool,
    svg: bool,
    /// `html` or `body`.
    page: bool,
    /// Others of HTML.
    html: bool,
}

impl Tags {
    fn of(text: &[u8]) -> Self {
        let mut tags = Self::default();
        for at in memchr::memchr_iter(b'<', text) {
            let tail = &text[at + 1..];
            let is = |tag: &[u8]| tail.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
            match tail.first().map(u8::to_ascii_lowercase) {
                Some(b'h') => {
                    tags.application |= is(b"hta:application");
                    tags.page |= is(b"html");
                    tags.html |= is(b"head");
                }
                Some(b's') => {
                    tags.script |= is(b"script");
                    tags.scriptlet |= is(b"scriptlet");
                    tags.svg |= is(b"svg");
                }
                Some(b'b') => {
                    tags.page |= is(b"body");
                    tags.html |= is(b"br");
                }
                Some(b'j') => tags.job |= is(b"job"),
                Some(b'p') => {
                    tags.package |= is(b"package>");
                    tags.html |= is(b"p>");
                }
                Some(b'd') => tags.html |= is(b"div"),
                Some(b't') => tags.html |= is(b"table"),
                Some(b'a') => tags.html |= is(b"a href"),
                Some(b'm') => tags.html |= is(b"meta"),
                Some(b'i') => tags.html |= is(b"iframe") || is(b"img"),
                Some(b'!') => tags.html |= is(b"!doctype html"),
                _ => {}
            }
        }
        tags
    }
}

/// Whether a text has a word in lower case, however it is written; linear in practice, since words are short.
fn has(text: &[u8], word: &[u8]) -> bool {
    let first = word.first().copied().unwrap_or(b'<');
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), text)
        .any(|at| text.get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart() {
        for (text, kind) in [
            (&b"Hello,\r\nworld\r\n"[..], Kind::Text),
            (b"\xef\xbb\xbf<!DOCTYPE HTML><p>x", Kind::Html),
            (b"\xff\xfe<\0h\0t\0m\0l\0>\0", Kind::Html),
            (b"<html><head><HTA:APPLICATION id=x></head>", Kind::Hta),
            (b"<html><script language=\"VBScript\">x</script>", Kind::Hta),
            (b"<?xml version=\"1.0\"?><job id=\"x\"><script language=\"JScript\">", Kind::WindowsScript),
            (b"<?xml version=\"1.0\"?><svg xmlns=\"x\"><script>", Kind::Svg),
            (b"<?xml version=\"1.0\"?><x/>", Kind::Xml),
            (b"  @ECHO OFF\r\nformat c:", Kind::BatchFile),
            (b"#!/bin/sh\n", Kind::UnixScript),
            (b"[InternetShortcut]\r\nURL=file://x/y", Kind::InternetShortcut),
            (b"begin 644 x.exe\nM", Kind::Uuencoded),
            (b"BEGIN:VCALENDAR\r\n", Kind::Calendar),
            (b"a\0b", Kind::Unknown),
        ] {
            assert_eq!(recognize(text), kind, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
