//! How the facts of a message are found.

use chrono::TimeDelta;
use posthorn_contents::{Attribute, HeaderClass};
use posthorn_mime::parse_date;
use posthorn_trust::dmarc::{DmarcResult, Policy};
use posthorn_trust::iprev::IprevResult;
use posthorn_trust::spf::SpfResult;
use posthorn_trust::{Chain, DkimResult, SignatureResult};

use super::fact::{Fact, Facts};
use super::hosts::{Host, host_of, named, registered};
use super::look_alike::{Brands, is_mixed};
use super::reading::Reading;

/// Octets of text that are looked at letter by letter.
const TEXT_LIMIT: usize = 32 * 1024;
/// Fewer octets of text are short.
const SHORT: usize = 160;
/// More recipients are not looked for in what a message says.
const RECIPIENTS: usize = 20;

/// The facts of a message.
pub(crate) fn facts(reading: &Reading<'_>, brands: &Brands) -> Facts {
    let mut facts = Facts::default();
    header(reading, &mut facts);
    author(reading, brands, &mut facts);
    html(reading, &mut facts);
    links(reading, brands, &mut facts);
    text(reading, &mut facts);
    client(reading, &mut facts);
    proof(reading, &mut facts);
    facts
}

fn header(reading: &Reading<'_>, facts: &mut Facts) {
    let now = reading.evidence.case.now;
    let date = reading.field("Date");
    let moment = date.and_then(|date| parse_date(date.as_bytes()));
    facts.set(Fact::NoDate, date.is_none());
    facts.set(Fact::DateOdd, date.is_some() && moment.is_none());
    facts.set(Fact::DateAhead, moment.is_some_and(|moment| moment - now > TimeDelta::hours(26)));
    facts.set(Fact::DateBehind, moment.is_some_and(|moment| now - moment > TimeDelta::days(14)));
    let id = reading.field("Message-ID").map(str::trim);
    facts.set(Fact::NoMessageId, id.is_none_or(str::is_empty));
    facts.set(Fact::MessageIdOdd, id.is_some_and(|id| !id.is_empty() && !is_message_id(id)));
    facts.set(
        Fact::NoRecipients,
        reading.field("To").or_else(|| reading.field("Cc")).is_none_or(|to| !to.contains('@')),
    );
    let subject = reading.field("Subject").map(str::trim).unwrap_or_default();
    facts.set(Fact::NoSubject, subject.is_empty());
    let letters = subject.chars().filter(|c| c.is_alphabetic()).count();
    let capitals = subject.chars().filter(|c| c.is_uppercase()).count();
    facts.set(Fact::SubjectCapitals, capitals >= 10 && capitals * 10 >= letters * 9 && subject.contains(' '));
    facts.set(Fact::SubjectGaps, subject.contains("        ") || is_spaced(subject));
    facts.set(
        Fact::ListMail,
        ["List-Id", "List-Unsubscribe", "List-Post"].iter().any(|name| reading.field(name).is_some()),
    );
    let one_click = reading
        .field("List-Unsubscribe-Post")
        .is_some_and(|how| how.trim().eq_ignore_ascii_case("List-Unsubscribe=One-Click"));
    facts.set(Fact::OneClick, one_click && reading.field("List-Unsubscribe").is_some_and(|to| to.contains("https:")));
    facts.set(Fact::Answers, reading.field("In-Reply-To").is_some() || reading.field("References").is_some());
    let content = reading.field("Content-Type").unwrap_or_default();
    facts.set(Fact::Report, content.get(..16).is_some_and(|start| start.eq_ignore_ascii_case("multipart/report")));
    for flaw in reading.evidence.contents.flaws() {
        match flaw.class {
            HeaderClass::Mime => facts.set(Fact::MimeFlaw, true),
            HeaderClass::EightBit => facts.set(Fact::EightBitHeader, !flaw.is_internationalized()),
            HeaderClass::Missing => {}
            _ => facts.set(Fact::HeaderFlaw, true),
        }
    }
}

/// Whether it is `<left@right>`, with what can stand on both sides.
fn is_message_id(id: &str) -> bool {
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
    inner.and_then(|id| id.split_once('@')).is_some_and(|(left, right)| {
        !left.is_empty() && !right.is_empty() && !right.contains('@') && !id.contains(char::is_whitespace)
    })
}

/// Whether letters stand apart: `V I A G R A`.
fn is_spaced(text: &str) -> bool {
    let mut run = 0;
    let mut words = text.split(' ');
    words.any(|word| {
        let alone = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
        run = if alone { run + 1 } else { 0 };
        run >= 5
    })
}

fn author(reading: &Reading<'_>, brands: &Brands, facts: &mut Facts) {
    let envelope = reading.evidence.case.envelope;
    facts.set(Fact::NullSender, envelope.sender.is_none());
    facts.set(Fact::NoFrom, reading.authors.is_empty());
    facts.set(Fact::SeveralAuthors, reading.authors.len() > 1);
    let Some(author) = reading.authors.first() else { return };
    let domain = reading.author_domain();
    let is_other = |address: &str| domain_of(address).is_some_and(|other| Some(&other) != domain.as_ref());
    facts.set(Fact::FromOtherAddress, author.name.contains('@') && is_other(&author.name));
    let reply = reading.field("Reply-To").unwrap_or_default();
    facts.set(Fact::ReplyElsewhere, reply.contains('@') && is_other(reply));
    let sender = envelope.sender.as_ref().map(|sender| sender.domain().to_string());
    facts.set(
        Fact::SenderElsewhere,
        sender.is_some_and(|sender| domain.as_deref().is_some_and(|domain| registered(&sender) != domain)),
    );
    let full = author.address.rsplit_once('@').and_then(|(_, host)| named(host));
    if let Some(Host::Name(name)) = &full {
        facts.set(Fact::FromLooksLikeBrand, brands.imitated(name).is_some() || is_mixed(name));
    }
    for recipient in recipients(reading) {
        let subject = reading.field("Subject").unwrap_or_default();
        facts.set(Fact::SubjectHasRecipient, has_word(subject, &recipient));
        facts.set(Fact::FromSelf, author.address.eq_ignore_ascii_case(&recipient));
        let Some((_, own)) = recipient.rsplit_once('@') else { continue };
        let is_other = domain.as_deref().is_some_and(|domain| domain != registered(own));
        facts.set(Fact::FromClaimsRecipient, is_other && has_word(&author.name, own));
    }
    let claimed = brands.claimed(&author.name);
    facts.set(Fact::FromClaimsBrand, claimed.is_some() && !domain.is_some_and(|domain| brands.is_brand(&domain)));
}

/// Whom it is for: those of the envelope, and the first that the header names.
fn recipients(reading: &Reading<'_>) -> Vec<String> {
    let envelope = reading.evidence.case.envelope.recipients.iter().map(|one| one.address.to_ascii_lowercase());
    let mut all: Vec<String> = envelope.take(RECIPIENTS).collect();
    let named = reading.field("To").and_then(first_address).map(str::to_ascii_lowercase);
    all.extend(named.filter(|named| !all.contains(named)));
    all
}

/// The first address in a text.
fn first_address(text: &str) -> Option<&str> {
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '(' | ')'));
    words.find(|word| word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.')))
}

/// Whether something stands in a text as a whole; case does not matter.
fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '@');
    text.match_indices(word).any(|(at, _)| {
        let (before, behind) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(|c| inner(c) || c == '.') && !behind.is_some_and(inner)
    })
}

/// The registered domain of the first address in a text.
fn domain_of(text: &str) -> Option<String> {
    let (_, behind) = text.split_once('@')?;
    let end = behind.find(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(behind.len());
    match named(&behind[..end])? {
        Host::Name(name) if name.contains('.') => Some(registered(&name).to_owned()),
        _ => None,
    }
}

fn html(reading: &Reading<'_>, facts: &mut Facts) {
    let contents = reading.evidence.contents;
    let found = contents.html();
    let visible: usize = contents.texts().iter().filter(|text| text.is_html).map(|text| text.text.len()).sum();
    let hidden: usize = contents.texts().iter().map(|text| text.hidden.len()).sum();
    facts.set(Fact::HtmlOnly, found.parts > 0 && contents.texts().iter().all(|text| text.is_html));
    facts.set(Fact::HtmlImagesOnly, found.parts > 0 && found.images > 0 && visible < SHORT);
    facts.set(Fact::HtmlForm, found.forms > 0);
    facts.set(Fact::HtmlPassword, found.passwords > 0);
    facts.set(Fact::HtmlScript, found.scripts > 0);
    facts.set(Fact::HtmlFrames, found.frames > 0);
    facts.set(Fact::HtmlRedirects, found.redirections > 0);
    facts.set(Fact::HtmlHidden, hidden > 400 && hidden > visible);
}

fn links(reading: &Reading<'_>, brands: &Brands, facts: &mut Facts) {
    let mut domains: Vec<&str> = Vec::new();
    for target in &reading.hosts {
        let Host::Name(name) = &target.host else {
            facts.set(Fact::LinkToAddress, true);
            continue;
        };
        let domain = registered(name);
        if !domains.contains(&domain) && domains.len() < 64 {
            domains.push(domain);
            facts.set(Fact::LinkLooksLikeBrand, brands.imitated(name).is_some());
            facts.set(Fact::LinkMixedAlphabets, is_mixed(name));
        }
        let authority = target.link.url.split(['/', '?', '#']).nth(2).unwrap_or_default();
        facts.set(Fact::LinkHasUser, authority.contains('@'));
    }
    facts.set(Fact::ManyDomains, domains.len() > 25);
    for target in reading.anchors() {
        let Some(shown) = target.link.shown.as_deref().and_then(shown_domain) else { continue };
        let Host::Name(name) = &target.host else {
            facts.set(Fact::LinkShowsOther, true);
            continue;
        };
        if registered(name) != shown {
            facts.set(Fact::LinkShowsOther, true);
            facts.set(Fact::LinkShowsBrand, brands.is_brand(&shown));
        }
    }
}

/// The registered domain that a link's text shows, where that is an address of a page.
fn shown_domain(shown: &str) -> Option<String> {
    let shown = shown.trim();
    if shown.contains(char::is_whitespace) || shown.len() > 300 {
        return None;
    }
    let host = match host_of(shown) {
        Some(host) => host,
        None if shown.contains(':') || shown.contains('@') => return None,
        None => {
            let host = shown.split('/').next().unwrap_or_default();
            let (_, top) = host.rsplit_once('.')?;
            if top.len() < 2 || !top.bytes().all(|octet| octet.is_ascii_alphabetic()) {
                return None;
            }
            named(host)?
        }
    };
    match host {
        Host::Name(name) => Some(registered(&name).to_owned()),
        Host::Address(_) => None,
    }
}

fn text(reading: &Reading<'_>, facts: &mut Facts) {
    let contents = reading.evidence.contents;
    let (mut visible, mut split, mut mixed) = (0, 0, 0);
    for text in contents.texts() {
        visible = text.text.len().max(visible);
        let (in_split, in_mixed) = disguised(&text.text[..text.text.floor_char_boundary(TEXT_LIMIT)]);
        split += in_split;
        mixed += in_mixed;
    }
    facts.set(Fact::SplitWords, split >= 3);
    facts.set(Fact::MixedWords, mixed >= 3);
    facts.set(Fact::NoText, visible == 0);
    facts.set(Fact::ShortWithLink, visible > 0 && visible < SHORT && !reading.hosts.is_empty());
    facts.set(Fact::Encrypted, contents.has(Attribute::Encrypted));
    let known = |charset: &String| encoding_rs::Encoding::for_label(charset.as_bytes()).is_some();
    facts.set(Fact::CharsetUnknown, !contents.charsets().iter().all(known));
}

/// How many words are split by what cannot be seen, and how many mix Latin letters with others that look like them.
fn disguised(text: &str) -> (u32, u32) {
    if text.is_ascii() {
        return (0, 0);
    }
    let (mut split, mut mixed) = (0, 0);
    for word in text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()) {
        if word.is_ascii() {
            continue;
        }
        let unseen = |c: char| matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{ad}' | '\u{feff}');
        let inner = word.trim_matches(unseen);
        // Soft hyphens and joiners have their uses; between Latin letters a zero-width space has none.
        let latin = inner.bytes().filter(u8::is_ascii_alphabetic).count();
        split += u32::from(latin >= 3 && inner.contains(['\u{200b}', '\u{2060}', '\u{feff}']));
        let other = inner.chars().any(|c| matches!(u32::from(c), 0x370..=0x52f));
        mixed += u32::from(other && latin >= 2 && !inner.contains('-'));
    }
    (split, mixed)
}

fn client(reading: &Reading<'_>, facts: &mut Facts) {
    let inquiry = reading.evidence.case.inquiry;
    let Some(helo) = inquiry.helo.as_deref() else { return };
    facts.set(Fact::HeloAddress, helo.starts_with('[') || helo.parse::<std::net::IpAddr>().is_ok());
    facts.set(Fact::HeloNoDomain, !helo.contains('.') && !helo.starts_with('['));
    let client = &inquiry.client;
    let unnamed = client.address.is_some() && client.reverse_name.is_none() && client.name.is_none();
    let asked = reading.evidence.case.checked.map(|checked| checked.iprev.result == IprevResult::PermError);
    facts.set(Fact::ClientNameless, asked.unwrap_or(unnamed));
}

fn proof(reading: &Reading<'_>, facts: &mut Facts) {
    let Some(checked) = reading.evidence.case.checked else { return };
    facts.set(Fact::Checked, true);
    facts.set(Fact::IprevPass, checked.iprev.result == IprevResult::Pass);
    facts.set(Fact::IprevFail, checked.iprev.result == IprevResult::Fail);
    facts.set(Fact::SpfPass, checked.spf.result == SpfResult::Pass);
    facts.set(Fact::SpfFail, checked.spf.result == SpfResult::Fail);
    facts.set(Fact::SpfSoftFail, checked.spf.result == SpfResult::SoftFail);
    let signatures = &checked.signatures;
    let passes = signatures.signatures.iter().any(SignatureResult::proves);
    facts.set(Fact::DkimPass, passes);
    facts.set(Fact::DkimFail, !passes && signatures.signatures.iter().any(|one| one.result == DkimResult::Fail));
    facts.set(Fact::DkimAuthor, checked.dmarc.dkim_aligned);
    facts.set(Fact::ArcPass, signatures.chain == Chain::Pass);
    let dmarc = &checked.dmarc;
    facts.set(Fact::DmarcPass, dmarc.result == DmarcResult::Pass);
    facts.set(Fact::DmarcFail, dmarc.result == DmarcResult::Fail);
    facts.set(Fact::DmarcQuarantine, dmarc.policy == Policy::Quarantine);
    facts.set(Fact::DmarcReject, dmarc.policy == Policy::Reject);
    facts.set(Fact::DmarcTempError, dmarc.result == DmarcResult::TempError);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_links_are_addresses_or_words() {
        for (shown, domain) in [
            ("www.example.org/login", Some("example.org")),
            ("https://Example.org", Some("example.org")),
            ("example.co.uk", Some("example.co.uk")),
            ("Click here", None),
            ("me@example.org", None),
            ("v1.2", None),
            ("192.0.2.1", None),
        ] {
            assert_eq!(shown_domain(shown).as_deref(), domain, "{shown}");
        }
    }

    #[test]
    fn disguises_are_seen_and_languages_left_alone() {
        assert_eq!(disguised("v\u{200b}i\u{200b}agra p\u{feff}ills"), (2, 0));
        assert_eq!(disguised("раypal аccount"), (0, 2));
        for honest in
            ["Привет, мир! Windows-системы", "naïve café Straße", "\u{200c}\u{200b} \u{200b}", "α-particle", "слово"]
        {
            assert_eq!(disguised(honest), (0, 0), "{honest}");
        }
    }

    #[test]
    fn a_recipient_is_found_as_a_whole() {
        assert_eq!(first_address("Eve <eve@example.org>, bob@example.org"), Some("eve@example.org"));
        assert_eq!(first_address("undisclosed-recipients:;"), None);
        for (text, found) in [
            ("Example.org Mail Team", true),
            ("Mail (example.org)", true),
            ("the example.org.", true),
            ("notexample.org", false),
            ("a@example.org", false),
            ("example.organic", false),
            ("mail.example.org", false),
        ] {
            assert_eq!(has_word(text, "example.org"), found, "{text}");
        }
    }

    #[test]
    fn letters_that_stand_apart_are_seen() {
        assert!(is_spaced("C H E A P pills"));
        assert!(!is_spaced("A plan B or C I think"));
        assert!(is_message_id("<a.b@c>") && !is_message_id("a@b") && !is_message_id("<a>") && !is_message_id("<@>"));
    }
}
