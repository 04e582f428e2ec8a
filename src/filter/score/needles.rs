//! Literals without which an expression matches nothing: looking for those first spares most expressions most texts.

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::parse;

/// A shorter literal is found nearly everywhere.
const SHORTEST: usize = 3;
/// A longer one says no more.
const LONGEST: usize = 12;
/// Of more literals one is found nearly everywhere.
const MOST: usize = 200;
/// So many texts are written out of what is the same for some length.
const WRITTEN: usize = 64;

/// Letters that ASCII letters match regardless of case, and that are not ASCII: LATIN SMALL LETTER LONG S, KELVIN SIGN.
pub(crate) const FOLDED: [char; 2] = ['\u{17f}', '\u{212a}'];

/// Literals in small letters: every text that the expression matches has one of them in it, in letters of any case or
/// with [`FOLDED`] ones. `None` where there are none, or none that say much.
pub(crate) fn needles(expression: &str) -> Option<Vec<Vec<u8>>> {
    let mut needles = of(&parse(expression).ok()?)?;
    needles.iter_mut().for_each(|needle| needle.truncate(LONGEST));
    // Whoever has a longer one of two has the shorter one too.
    needles.sort_unstable_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for needle in needles {
        if !kept.iter().any(|shorter| memchr::memmem::find(&needle, shorter).is_some()) {
            kept.push(needle);
        }
    }
    let needles = kept;
    (needles.len() <= MOST && shortest(&needles) >= SHORTEST).then_some(needles)
}

fn shortest(needles: &[Vec<u8>]) -> usize {
    needles.iter().map(Vec::len).min().unwrap_or(0).min(LONGEST)
}

/// About how often one of them begins at some place of a text, going by its letters.
fn commonness(needles: &[Vec<u8>]) -> f64 {
    let octet = |octet: &u8| match octet {
        b' ' => 0.17,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b'h' => 0.06,
        b'a'..=b'z' => 0.02,
        _ => 0.005,
    };
    needles.iter().map(|needle| needle.iter().take(LONGEST).map(octet).product::<f64>()).sum()
}

/// One of these is in all that it matches; none where nothing is known.
fn of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) | HirKind::Literal(_) => all_of(hir),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Repetition(_) => None,
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Alternation(branches) => {
            let all: Option<Vec<Vec<Vec<u8>>>> = branches.iter().map(of).collect();
            all.map(|all| all.into_iter().flatten().collect())
        }
        HirKind::Concat(parts) => of_sequence(parts),
    }
}

/// The most telling of what the parts of a sequence have, and of what parts beside each other have together.
fn of_sequence(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut keep = |found: Vec<Vec<u8>>| {
        let better = best.as_deref().is_none_or(|best| commonness(&found) < commonness(best));
        if found.len() <= MOST && better {
            best = Some(found);
        }
    };
    let mut run = vec![Vec::new()];
    for part in parts {
        let whole = all_of(part);
        if let Some(longer) = whole.as_deref().and_then(|whole| followed(&run, whole)) {
            run = longer;
            continue;
        }
        keep(std::mem::replace(&mut run, whole.clone().unwrap_or_else(|| vec![Vec::new()])));
        if whole.is_none()
            && let Some(found) = of(part)
        {
            keep(found);
        }
    }
    keep(run);
    best
}

/// Everything that it matches, written out; `None` where that is too much.
fn all_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        // Nothing is between what stands before and behind.
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => octets(class).map(|octets| octets.into_iter().map(|octet| vec![octet]).collect()),
        HirKind::Capture(capture) => all_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.max == Some(1) => {
            let mut all = all_of(&repetition.sub)?;
            all.extend((repetition.min == 0).then(Vec::new));
            (all.len() <= WRITTEN).then_some(all)
        }
        HirKind::Repetition(_) => None,
        HirKind::Alternation(branches) => branches.iter().try_fold(Vec::new(), |mut all, branch| {
            all.extend(all_of(branch)?);
            (all.len() <= WRITTEN).then_some(all)
        }),
        HirKind::Concat(parts) => parts.iter().try_fold(vec![Vec::new()], |run, part| followed(&run, &all_of(part)?)),
    }
}

/// Each of these followed by each of those; `None` where that is too much.
fn followed(these: &[Vec<u8>], those: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let pairs = these.iter().flat_map(|this| those.iter().map(|that| [this.as_slice(), that].concat()));
    (these.len() * those.len() <= WRITTEN).then(|| pairs.collect())
}

/// The octets of a class, in small letters; `None` where they are many, or others than ASCII.
fn octets(class: &Class) -> Option<Vec<u8>> {
    const FEW: usize = 12;
    let all: Vec<u32> = match class {
        Class::Unicode(class) => {
            let ranges = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            ranges.filter(|c| !FOLDED.contains(c)).take(FEW + 1).map(u32::from).collect()
        }
        Class::Bytes(class) => {
            class.ranges().iter().flat_map(|range| range.start()..=range.end()).take(FEW + 1).map(u32::from).collect()
        }
    };
    let ascii = |c: u32| u8::try_from(c).ok().filter(u8::is_ascii).map(|octet| octet.to_ascii_lowercase());
    let mut octets: Vec<u8> = all.into_iter().map(ascii).collect::<Option<_>>()?;
    octets.sort_unstable();
    octets.dedup();
    (octets.len() < FEW).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_there_is_found() {
        let found = |expression: &str| {
            let needles = needles(expression)?;
            Some(needles.into_iter().map(|needle| String::from_utf8(needle).expect("ASCII")).collect::<Vec<_>>())
        };
        for (expression, expected) in [
            ("abc", Some(&["abc"][..])),
            ("(?i)aBc", Some(&["abc"])),
            (r"(?i)\bask\b", Some(&["ask"])),
            ("(?i)\\b(?:viagra|pills?)\\b", Some(&["pill", "viagra"])),
            (r"(?i)\byour (?:share|percentage) be", Some(&["your percent", "your share b"])),
            (
                "(?i)v[il1!]agra|[$%] ?free",
                Some(&["$free", "%free", "$ free", "% free", "v!agra", "v1agra", "viagra", "vlagra"]),
            ),
            (r"(?:the|a) (?:\w+ ){0,3}account\b[^.]{0,60}\b(?:suspended|locked)", Some(&["account"])),
            ("(?:abc)?def", Some(&["def"])),
            ("(?:abc)+", Some(&["abc"])),
            ("x[ab]cdefg[^x]hi", Some(&["xacdefg", "xbcdefg"])),
            (r"[$€]\d+|dollars", None),
            ("ab", None),
            (r"\d{3}", None),
            ("(?:abc)*", None),
            ("", None),
            ("(", None),
        ] {
            let expected = expected.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found(expression), expected, "{expression}");
        }
    }
}
