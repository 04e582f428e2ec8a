//! Rules compiled: the expressions for one thing are one set.

use std::borrow::Cow;
use std::collections::HashMap;

use posthorn_config::FilterRule;

use super::expressions::{Set, Unusable};
use super::fact::{Fact, Facts};
use super::reading::Reading;
use crate::Point;

/// Octets of one text that rules read.
const TEXT_LIMIT: usize = 64 * 1024;
/// Links and parts that rules read.
const MOST_THINGS: usize = 200;

/// Rules ready to be used.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    fields: Vec<(String, Set)>,
    body: Set,
    hidden: Set,
    links: Set,
    files: Set,
}

#[derive(Debug)]
struct Rule {
    name: String,
    points: f64,
    why: String,
    absent: bool,
    wanted: Wanted,
}

/// What a rule wants. Expressions mark it when they are found.
#[derive(Debug)]
enum Wanted {
    Expression,
    Field(String),
    Fact(Fact),
    Others { all: Vec<usize>, any: Vec<usize>, at_least: usize, none: Vec<usize> },
}

/// The built-in rules: marks in further languages come before what builds on them.
const BUILT_IN: [&str; 2] = [include_str!("../languages.toml"), include_str!("../rules.toml")];

/// A file of rules.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<FilterRule>,
}

/// Why rules cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the rule {rule} cannot be used: {why}")]
pub(crate) struct RuleFault {
    /// The rule's name.
    pub(crate) rule: String,
    /// What is wrong with it.
    pub(crate) why: String,
}

/// What is wrong with rules of the configuration beyond what each says by itself: the key that says it, and why.
pub(crate) fn faults(built_in: bool, own: &[FilterRule]) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let all = match together(built_in, own) {
        Ok(all) => all,
        Err(fault) => return vec![("filter.scores.rules".to_owned(), fault.to_string())],
    };
    let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, rule)| (rule.name.as_str(), at)).collect();
    for (at, rule) in own.iter().enumerate() {
        let key = |name: &str| format!("filter.rule[{at}].{name}");
        if own[..at].iter().any(|earlier| earlier.name == rule.name) {
            faults.push((key("name"), format!("there are several rules {}", rule.name)));
        }
        if let Some(fact) = rule.fact.as_deref().filter(|fact| Fact::named(fact).is_none()) {
            faults.push((key("fact"), format!("there is no fact \"{fact}\"; known: {}", Fact::names().join(", "))));
        }
        let place = places.get(rule.name.as_str()).copied().unwrap_or_default();
        for (name, others) in [("all", &rule.all), ("any", &rule.any), ("none", &rule.none)] {
            for other in others {
                match places.get(other.as_str()) {
                    Some(above) if *above < place => {}
                    Some(_) => faults.push((key(name), format!("the rule {other} does not stand above this one"))),
                    None => faults.push((key(name), format!("there is no rule {other}"))),
                }
            }
        }
    }
    if faults.is_empty()
        && let Err(fault) = Rules::compile(&all)
    {
        faults.push(("filter.rule".to_owned(), fault.to_string()));
    }
    faults
}

/// The built-in rules, if they are wanted, and these, which take the place of those with their names.
fn together(built_in: bool, own: &[FilterRule]) -> Result<Vec<FilterRule>, RuleFault> {
    let mut all = if built_in { built_in_rules()? } else { Vec::new() };
    for rule in own {
        match all.iter_mut().find(|known| known.name == rule.name) {
            Some(known) => *known = rule.clone(),
            None => all.push(rule.clone()),
        }
    }
    Ok(all)
}

impl Rules {
    /// Compiles the built-in rules, if they are wanted, and these.
    pub(crate) fn new(built_in: bool, own: &[FilterRule]) -> Result<Self, RuleFault> {
        Self::compile(&together(built_in, own)?)
    }

    fn compile(all: &[FilterRule]) -> Result<Self, RuleFault> {
        let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, rule)| (rule.name.as_str(), at)).collect();
        let mut sets: HashMap<Kind<'_>, (Vec<String>, Vec<usize>)> = HashMap::new();
        let mut rules = Vec::with_capacity(all.len());
        for (at, rule) in all.iter().enumerate() {
            let fault = |why: &str| RuleFault { rule: rule.name.clone(), why: why.to_owned() };
            let above = |names: &[String]| -> Result<Vec<usize>, RuleFault> {
                let place = |name: &String| places.get(name.as_str()).copied().filter(|place| *place < at);
                names
                    .iter()
                    .map(|name| place(name).ok_or_else(|| fault(&format!("there is no rule {name} above it"))))
                    .collect()
            };
            let wanted = if let Some((kind, expression)) = expression(rule) {
                let (expressions, owners) = sets.entry(kind).or_default();
                expressions.push(ascii_boundaries(expression));
                owners.push(at);
                Wanted::Expression
            } else if let Some(field) = &rule.field {
                Wanted::Field(field.clone())
            } else if let Some(fact) = &rule.fact {
                Wanted::Fact(Fact::named(fact).ok_or_else(|| fault(&format!("there is no fact {fact}")))?)
            } else {
                let at_least = usize::try_from(rule.at_least.max(1)).unwrap_or(usize::MAX);
                Wanted::Others { all: above(&rule.all)?, any: above(&rule.any)?, at_least, none: above(&rule.none)? }
            };
            let FilterRule { name, points, why, absent, .. } = rule;
            rules.push(Rule { name: name.clone(), points: points.as_f64(), why: why.clone(), absent: *absent, wanted });
        }
        let mut compiled = Self {
            rules,
            fields: Vec::new(),
            body: Set::default(),
            hidden: Set::default(),
            links: Set::default(),
            files: Set::default(),
        };
        for (kind, (expressions, owners)) in sets {
            let name = |at: usize| all.get(at).map(|rule| rule.name.clone()).unwrap_or_default();
            let set = Set::new(expressions, owners).map_err(|Unusable { rules, why }| RuleFault {
                rule: rules.into_iter().map(name).collect::<Vec<_>>().join(", "),
                why,
            })?;
            match kind {
                Kind::Field(name) => compiled.fields.push((name.to_owned(), set)),
                Kind::Body => compiled.body = set,
                Kind::Hidden => compiled.hidden = set,
                Kind::Link => compiled.links = set,
                Kind::File => compiled.files = set,
            }
        }
        Ok(compiled)
    }

    /// The points of every rule that holds for a message.
    pub(crate) fn points(&self, reading: &Reading<'_>, facts: Facts) -> Vec<Point> {
        let hits = self.hits(reading, facts);
        let told = self.rules.iter().zip(hits).filter(|(rule, hit)| *hit && rule.points != 0.0);
        told.map(|(rule, _)| Point::new(rule.name.clone(), rule.points, rule.why.clone())).collect()
    }

    fn hits(&self, reading: &Reading<'_>, facts: Facts) -> Vec<bool> {
        let mut hits = vec![false; self.rules.len()];
        let case = reading.evidence.case;
        for line in &reading.lines {
            if let Some((_, set)) = self.fields.iter().find(|(name, _)| line.name.eq_ignore_ascii_case(name.as_bytes()))
            {
                set.mark(&line.text, &mut hits);
            }
        }
        for (name, set) in &self.fields {
            match name.as_str() {
                "envelope-from" => set.mark(&case.sender(), &mut hits),
                "helo" => set.mark(case.inquiry.helo.as_deref().unwrap_or_default(), &mut hits),
                "client-name" => set.mark(case.inquiry.client.reverse_name.as_deref().unwrap_or_default(), &mut hits),
                _ => {}
            }
        }
        let contents = reading.evidence.contents;
        for text in contents.texts() {
            let seen = &text.text[..text.text.floor_char_boundary(TEXT_LIMIT)];
            // The lines of HTML are made where its blocks end: those of plain text are also where it was wrapped.
            let seen = if text.is_html { Cow::Borrowed(seen) } else { Cow::Owned(unwrapped(seen)) };
            self.body.mark(&seen, &mut hits);
            self.hidden.mark(&text.hidden[..text.hidden.floor_char_boundary(TEXT_LIMIT)], &mut hits);
        }
        for link in contents.links().iter().take(MOST_THINGS) {
            self.links.mark(&link.url, &mut hits);
        }
        if !self.files.is_empty() {
            for node in contents.nodes().iter().take(MOST_THINGS) {
                for name in &node.names {
                    self.files.mark(&format!("{} {name}", node.declared_type()), &mut hits);
                }
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let hit = match &rule.wanted {
                Wanted::Expression => hits[at],
                Wanted::Field(name) => reading.field(name).is_some(),
                Wanted::Fact(fact) => facts.has(*fact),
                Wanted::Others { all, any, at_least, none } => {
                    all.iter().all(|other| hits[*other])
                        && (any.is_empty() || any.iter().filter(|other| hits[**other]).count() >= *at_least)
                        && !none.iter().any(|other| hits[*other])
                }
            };
            hits[at] = hit != rule.absent;
        }
        hits
    }
}

/// What an expression is held against.
#[derive(Eq, Hash, PartialEq)]
enum Kind<'r> {
    Field(&'r str),
    Body,
    Hidden,
    Link,
    File,
}

fn expression(rule: &FilterRule) -> Option<(Kind<'_>, &str)> {
    let FilterRule { field, matches, body, hidden, link, file, .. } = rule;
    let of_field = field.as_deref().zip(matches.as_deref()).map(|(field, matches)| (Kind::Field(field), matches));
    of_field
        .or_else(|| Some((Kind::Body, body.as_deref()?)))
        .or_else(|| Some((Kind::Hidden, hidden.as_deref()?)))
        .or_else(|| Some((Kind::Link, link.as_deref()?)))
        .or_else(|| Some((Kind::File, file.as_deref()?)))
}

/// The paragraphs of a text, one on each line, so that an expression finds its words however the lines were wrapped.
fn unwrapped(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for line in text.lines() {
        if is_tidy(line) {
            if !made.is_empty() && !made.ends_with('\n') {
                made.push(' ');
            }
            made.push_str(line);
            continue;
        }
        let mut words = line.split_whitespace().peekable();
        if words.peek().is_none() && !made.is_empty() && !made.ends_with('\n') {
            made.push('\n');
        }
        for word in words {
            if !made.is_empty() && !made.ends_with('\n') {
                made.push(' ');
            }
            made.push_str(word);
        }
    }
    made
}

/// Whether the words of a line have one space between them, and nothing else is white.
fn is_tidy(line: &str) -> bool {
    let octets = line.as_bytes();
    let ends = [octets.first(), octets.last()].iter().all(|end| end.is_some_and(u8::is_ascii_graphic));
    ends && octets.is_ascii()
        && octets.windows(2).all(|pair| pair[1] == b' ' && pair[0] != b' ' || pair[1].is_ascii_graphic())
}

/// Makes `\b` mean boundaries of ASCII words: others stop the fast machine at the first letter that is not ASCII.
fn ascii_boundaries(expression: &str) -> String {
    let mut made = String::with_capacity(expression.len() + 16);
    let mut rest = expression.chars();
    while let Some(c) = rest.next() {
        match (c, (c == '\\').then(|| rest.next()).flatten()) {
            ('\\', Some('b')) => made.push_str(r"(?-u:\b)"),
            (_, escaped) => {
                made.push(c);
                made.extend(escaped);
            }
        }
    }
    made
}

fn built_in_rules() -> Result<Vec<FilterRule>, RuleFault> {
    let mut all = Vec::new();
    for text in BUILT_IN {
        let file = toml::from_str::<File>(text);
        let file = file.map_err(|error| RuleFault { rule: "built-in".to_owned(), why: error.to_string() })?;
        all.extend(file.rule);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::needles::needles;
    use super::*;

    fn rule(said: serde_json::Value) -> FilterRule {
        serde_json::from_value(said).expect("a rule")
    }

    #[test]
    fn the_built_in_rules_are_sound_and_none_builds_on_itself() {
        assert_eq!(faults(true, &[]), []);
        let rules = built_in_rules().expect("they can be read");
        for (at, one) in rules.iter().enumerate() {
            assert!(!rules[..at].iter().any(|earlier| earlier.name == one.name), "{} stands twice", one.name);
            assert!(one.points.as_f64() == 0.0 || !one.why.is_empty(), "{} does not say why", one.name);
        }
    }

    /// The built-in marks whose expressions a text has, of those with this end.
    fn marks(end: &str, text: &str) -> Vec<String> {
        let rules = built_in_rules().expect("they can be read");
        let has = |rule: &&FilterRule| {
            let body = rule.body.as_deref().filter(|_| rule.name.ends_with(end));
            body.is_some_and(|body| regex::Regex::new(&ascii_boundaries(body)).expect("an expression").is_match(text))
        };
        rules.iter().filter(has).map(|rule| rule.name.clone()).collect()
    }

    #[test]
    fn other_languages_have_the_same_marks() {
        for (end, text, found) in [
            (
                "_DE",
                "Ihr Konto wurde vor\u{fc}bergehend gesperrt. Best\u{e4}tigen Sie Ihre Daten innerhalb von 48 Stunden.",
                &["_ACCOUNT_IN_DANGER_DE", "_DO_IT_NOW_DE", "_VERIFY_YOURSELF_DE"][..],
            ),
            ("_DE", "Wir sehen uns am Dienstag, bring bitte die gr\u{fc}ne Mappe mit.", &[]),
            (
                "_FR",
                "Votre colis n'a pas pu \u{ea}tre livr\u{e9}. Cliquez ici pour r\u{e9}gler les frais sous 24 heures.",
                &["_ACCOUNT_IN_DANGER_FR", "_DO_IT_NOW_FR", "_VERIFY_YOURSELF_FR", "_CALL_TO_ACT_FR"],
            ),
            ("_FR", "Le ch\u{153}ur r\u{e9}p\u{e8}te mercredi derri\u{e8}re l'\u{e9}glise.", &[]),
            (
                "_ES",
                "Su cuenta ser\u{e1} suspendida. Verifique su cuenta en las pr\u{f3}ximas 24 horas.",
                &["_ACCOUNT_IN_DANGER_ES", "_DO_IT_NOW_ES", "_VERIFY_YOURSELF_ES"],
            ),
            ("_ES", "La reuni\u{f3}n de padres es el jueves a las 18 horas.", &[]),
        ] {
            assert_eq!(marks(end, text), found, "{text}");
        }
    }

    #[test]
    fn few_of_the_built_in_expressions_are_tried_on_every_text() {
        let rules = built_in_rules().expect("they can be read");
        let bodies: Vec<&FilterRule> = rules.iter().filter(|rule| rule.body.is_some()).collect();
        let tried =
            |rule: &&&FilterRule| needles(&ascii_boundaries(rule.body.as_deref().unwrap_or_default())).is_none();
        let names: Vec<&str> = bodies.iter().filter(tried).map(|rule| rule.name.as_str()).collect();
        assert!(names.len() * 5 < bodies.len(), "{} of {}: {names:?}", names.len(), bodies.len());
    }

    #[test]
    fn a_text_is_read_by_its_paragraphs() {
        for (text, paragraphs) in [
            ("Your account\r\nwas  suspended.\r\n", "Your account was suspended."),
            ("\n\n one\ntwo\n \n\nthree\n", "one two\nthree"),
            ("one two\nthree\tfour\nfive\u{a0}six \nseven\n\neight", "one two three four five six seven\neight"),
            ("", ""),
        ] {
            assert_eq!(unwrapped(text), paragraphs, "{text:?}");
        }
    }

    #[test]
    fn rules_that_cannot_be_used_are_told_with_their_keys() {
        let own = [
            rule(serde_json::json!({ "name": "A", "fact": "no-such-thing" })),
            rule(serde_json::json!({ "name": "B", "any": ["GTUBE", "NOBODY", "C"] })),
            rule(serde_json::json!({ "name": "C", "body": "x" })),
            rule(serde_json::json!({ "name": "C", "body": "y" })),
        ];
        let told = faults(true, &own);
        let keys: Vec<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["filter.rule[0].fact", "filter.rule[1].any", "filter.rule[1].any", "filter.rule[3].name"]);
        assert!(
            told[0].1.contains("no-date") && told[1].1.contains("NOBODY") && told[2].1.contains("above"),
            "{told:?}"
        );
        let huge = (0..40).map(|n| rule(serde_json::json!({ "name": format!("H{n}"), "body": "[^a]{9000}b" })));
        let told = faults(true, &huge.collect::<Vec<_>>());
        assert!(matches!(&told[..], [(key, _)] if key == "filter.rule"), "{told:?}");
    }
}
