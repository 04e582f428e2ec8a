//! The evaluation of records (RFC 7208 §4) as a machine: it stops at each question to the DNS.

use std::net::IpAddr;

use posthorn_model::Domain;

use super::macros::{Facts, MacroString, Place};
use super::record::{Directive, Mechanism, Prefixes, Record, is_record, printable};
use super::{Identity, Request, SpfResult, Step, Verdict};
use crate::resolver::{Answer, Found, Question, Records, Resolver};

/// A check that is under way.
#[derive(Debug)]
pub struct Check {
    facts: Facts,
    identity: Identity,
    /// The domain that is checked, as given.
    domain: String,
    /// The record in force, and below it those that include it.
    frames: Vec<Frame>,
    lookups: usize,
    voids: usize,
    /// The client's names that lead back to it; known once somebody has asked.
    names: Option<Vec<String>>,
    state: State,
}

/// A record that is being evaluated.
#[derive(Debug)]
struct Frame {
    domain: String,
    record: Record,
    /// The directive in turn.
    at: usize,
}

#[derive(Debug)]
enum State {
    Waiting(Question, Purpose),
    Done(Verdict),
}

/// What a question was asked for.
#[derive(Debug)]
enum Purpose {
    /// The record of a domain; included or not.
    Record(String),
    /// The addresses of the name of an `a`, or of `exists`.
    Addresses(Option<Prefixes>),
    /// The hosts of an `mx`.
    Exchangers(Prefixes),
    /// The addresses of one of them; those still to be asked, the next last.
    ExchangerAddresses(Prefixes, Vec<String>),
    /// The client's names, to go on where they were wanted.
    Names(Wanted),
    /// The addresses of one of its names; those still to be asked, the next last.
    NameAddresses(Wanted, String, Vec<String>),
    /// The text of `exp=`, for a verdict that stands already.
    Explanation(Verdict),
}

/// Who wants the client's names.
#[derive(Debug)]
enum Wanted {
    /// The directive in turn, for a macro or because it is a `ptr`.
    Directive,
    /// The redirection of the record in force.
    Redirect,
    /// The name behind `exp=`.
    ExplanationName(Verdict),
    /// The text of `exp=`.
    ExplanationText(Verdict, MacroString),
}

/// What evaluation comes to next.
enum Next {
    /// The directive in turn matches or not.
    Match(bool),
    Ask(Question, Purpose),
    Done(Verdict),
}

/// Terms with look-ups in one check, mail exchangers of one `mx`, names of a client (RFC 7208 §4.6.4).
const MOST_LOOKUPS: usize = 10;
const MOST_VOIDS: usize = 2;
/// Longer explanations are cut.
const LONGEST_EXPLANATION: usize = 500;

impl Check {
    /// Begins to check a client's reverse path, or its HELO where that is null.
    #[must_use]
    pub fn new(request: &Request<'_>) -> Self {
        if request.sender.is_empty() {
            return Self::of_helo(request);
        }
        let (local, domain) = request.sender.rsplit_once('@').unwrap_or(("", request.sender));
        Self::of(request, Identity::MailFrom, local, domain)
    }

    /// Begins to check what it said in HELO.
    #[must_use]
    pub fn of_helo(request: &Request<'_>) -> Self {
        Self::of(request, Identity::Helo, "", request.helo)
    }

    fn of(request: &Request<'_>, identity: Identity, local: &str, domain: &str) -> Self {
        let ascii = if domain.is_ascii() {
            domain.to_owned()
        } else {
            Domain::parse(domain).map_or_else(|_| domain.to_owned(), |domain| domain.as_str().to_owned())
        };
        let facts = Facts {
            client: request.client.to_canonical(),
            helo: request.helo.to_owned(),
            local: if local.is_empty() { "postmaster" } else { local }.to_owned(),
            sender_domain: ascii.clone(),
            receiver: request.receiver.to_owned(),
            at: request.at,
        };
        let mut check = Self {
            facts,
            identity,
            domain: domain.to_owned(),
            frames: Vec::new(),
            lookups: 0,
            voids: 0,
            names: None,
            state: State::Waiting(Question::Txt(ascii.clone()), Purpose::Record(ascii.clone())),
        };
        if !is_name(&ascii) {
            let why = format!("{} is not the name of a domain", printable(domain));
            check.state = State::Done(check.verdict(SpfResult::None, why));
        }
        check
    }

    /// What is needed next; the same until it is answered.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        match &self.state {
            State::Waiting(question, _) => Step::Ask(question),
            State::Done(verdict) => Step::Done(verdict),
        }
    }

    /// Goes on with the answer to what was asked; nothing when all is decided.
    pub fn answer(&mut self, answer: Answer) {
        let idle = State::Done(self.verdict(SpfResult::TempError, String::new()));
        match std::mem::replace(&mut self.state, idle) {
            State::Waiting(question, purpose) => {
                let next = self.take(&question, purpose, answer);
                self.go_on(next);
            }
            done @ State::Done(_) => self.state = done,
        }
    }

    /// The verdict when nobody waits any longer: what was decided, else a temporary error.
    #[must_use]
    pub fn give_up(self, why: &str) -> Verdict {
        let late = self.verdict(SpfResult::TempError, why.to_owned());
        match self.state {
            State::Done(verdict) | State::Waiting(_, Purpose::Explanation(verdict)) => verdict,
            State::Waiting(..) => late,
        }
    }

    /// Runs to the end with somebody who can ask.
    pub async fn run(mut self, resolver: &dyn Resolver) -> Verdict {
        while let State::Waiting(question, _) = &self.state {
            let answer = question.ask(resolver).await;
            self.answer(answer);
        }
        self.give_up("")
    }

    fn verdict(&self, result: SpfResult, why: String) -> Verdict {
        let Self { identity, domain, lookups, .. } = self;
        let (mechanism, explanation) = (None, None);
        Verdict { result, identity: *identity, domain: domain.clone(), mechanism, explanation, why, lookups: *lookups }
    }

    fn go_on(&mut self, mut next: Next) {
        loop {
            next = match next {
                Next::Ask(question, purpose) => {
                    self.state = State::Waiting(question, purpose);
                    return;
                }
                Next::Done(verdict) => {
                    self.state = State::Done(verdict);
                    return;
                }
                Next::Match(true) => self.matched(),
                Next::Match(false) => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.at += 1;
                    }
                    self.evaluate()
                }
            };
        }
    }

    /// What an answer means for the purpose it was asked for.
    fn take(&mut self, question: &Question, purpose: Purpose, answer: Answer) -> Next {
        let is_void = matches!(answer, Found::Nothing | Found::NoSuchName);
        match purpose {
            Purpose::Record(domain) => self.take_record(domain, answer),
            Purpose::Explanation(verdict) => self.explain(verdict, answer),
            Purpose::Names(wanted) => {
                // RFC 7208 §5.5: whatever goes wrong here is no match, never an error.
                let mut hosts = hosts(answer);
                hosts.truncate(MOST_LOOKUPS);
                hosts.reverse();
                self.names = Some(Vec::new());
                if is_void && matches!(wanted, Wanted::Directive) && self.is_void() {
                    return self.too_many_voids();
                }
                self.next_name(wanted, hosts)
            }
            Purpose::NameAddresses(wanted, name, rest) => {
                if addresses(answer).contains(&self.facts.client) {
                    self.names.get_or_insert_default().push(name);
                }
                self.next_name(wanted, rest)
            }
            Purpose::Addresses(_) | Purpose::Exchangers(_) | Purpose::ExchangerAddresses(..)
                if matches!(answer, Found::Later(_)) =>
            {
                let Found::Later(why) = answer else { return Next::Match(false) };
                Next::Done(self.verdict(SpfResult::TempError, format!("{question} cannot be told now: {why}")))
            }
            Purpose::Addresses(_) | Purpose::Exchangers(_) if is_void && self.is_void() => self.too_many_voids(),
            Purpose::Addresses(None) => Next::Match(matches!(answer, Found::Some(_))),
            Purpose::Addresses(Some(prefixes)) => Next::Match(self.is_client(prefixes, answer)),
            Purpose::Exchangers(prefixes) => {
                let mut hosts = hosts(answer);
                if hosts.len() > MOST_LOOKUPS {
                    let why = format!("{question} has more than {MOST_LOOKUPS} records");
                    return Next::Done(self.verdict(SpfResult::PermError, why));
                }
                hosts.reverse();
                self.next_exchanger(prefixes, hosts)
            }
            Purpose::ExchangerAddresses(prefixes, rest) => {
                if self.is_client(prefixes, answer) {
                    return Next::Match(true);
                }
                self.next_exchanger(prefixes, rest)
            }
        }
    }

    /// Counts an answer without records; whether there were too many (RFC 7208 §4.6.4).
    fn is_void(&mut self) -> bool {
        self.voids += 1;
        self.voids > MOST_VOIDS
    }

    fn too_many_voids(&self) -> Next {
        let why = format!("more than {MOST_VOIDS} names in it have no records");
        Next::Done(self.verdict(SpfResult::PermError, self.in_record(&why)))
    }

    fn is_client(&self, prefixes: Prefixes, answer: Answer) -> bool {
        addresses(answer).iter().any(|address| prefixes.join(*address, self.facts.client))
    }

    fn next_exchanger(&self, prefixes: Prefixes, mut rest: Vec<String>) -> Next {
        while let Some(host) = rest.pop() {
            if is_askable(&host) {
                return Next::Ask(self.addresses_of(host), Purpose::ExchangerAddresses(prefixes, rest));
            }
        }
        Next::Match(false)
    }

    fn next_name(&mut self, wanted: Wanted, mut rest: Vec<String>) -> Next {
        while let Some(name) = rest.pop() {
            if is_askable(&name) {
                return Next::Ask(self.addresses_of(name.clone()), Purpose::NameAddresses(wanted, name, rest));
            }
        }
        match wanted {
            Wanted::Directive => self.evaluate_directive(),
            Wanted::Redirect => self.end_of_record(),
            Wanted::ExplanationName(verdict) => self.ask_explanation(verdict),
            Wanted::ExplanationText(verdict, text) => self.write_explanation(verdict, &text),
        }
    }

    /// The question for addresses of the client's kind.
    fn addresses_of(&self, name: String) -> Question {
        if self.facts.client.is_ipv4() { Question::A(name) } else { Question::Aaaa(name) }
    }

    fn take_record(&mut self, domain: String, answer: Answer) -> Next {
        let texts = match answer {
            Found::Some(Records::Texts(texts)) => texts,
            Found::Later(why) => {
                let why = format!("the record of {} cannot be told now: {why}", printable(&domain));
                return Next::Done(self.verdict(SpfResult::TempError, why));
            }
            Found::Some(_) | Found::Nothing | Found::NoSuchName => Vec::new(),
        };
        let mut records = texts.iter().filter(|text| is_record(text));
        let (Some(record), second) = (records.next(), records.next()) else { return self.no_record(&domain) };
        if second.is_some() {
            let why = format!("{} has more than one SPF record", printable(&domain));
            return Next::Done(self.verdict(SpfResult::PermError, why));
        }
        match Record::parse(record) {
            Ok(record) => {
                self.frames.push(Frame { domain, record, at: 0 });
                self.evaluate()
            }
            Err(what) => {
                let why = format!("in the record of {} {what}", printable(&domain));
                Next::Done(self.verdict(SpfResult::PermError, why))
            }
        }
    }

    /// A domain without a record is fine only where it is the one that is checked (RFC 7208 §5.2, §6.1).
    fn no_record(&self, domain: &str) -> Next {
        let why = format!("{} has no SPF record", printable(domain));
        let result = if self.lookups == 0 { SpfResult::None } else { SpfResult::PermError };
        Next::Done(self.verdict(result, why))
    }

    /// Counts a term that looks something up; what follows when there were too many.
    fn count(&mut self) -> Option<Next> {
        if self.lookups == MOST_LOOKUPS {
            let why = self.in_record(&format!("more than {MOST_LOOKUPS} terms need look-ups"));
            return Some(Next::Done(self.verdict(SpfResult::PermError, why)));
        }
        self.lookups += 1;
        None
    }

    /// Holds the directive in turn against the client; at the end of the record, what follows from that.
    fn evaluate(&mut self) -> Next {
        match self.directive().map(|directive| directive.mechanism.looks_up()) {
            None => self.end_of_record(),
            Some(true) => match self.count() {
                Some(over) => over,
                None => self.evaluate_directive(),
            },
            Some(false) => self.evaluate_directive(),
        }
    }

    fn evaluate_directive(&mut self) -> Next {
        let Some(directive) = self.directive() else { return self.end_of_record() };
        let mechanism = &directive.mechanism;
        let asks_names =
            matches!(mechanism, Mechanism::Ptr(_)) || mechanism.name().is_some_and(MacroString::wants_name);
        if asks_names && self.names.is_none() {
            return Next::Ask(Question::Ptr(self.facts.client), Purpose::Names(Wanted::Directive));
        }
        let name = match mechanism.name() {
            Some(name) => self.expand_name(name),
            None => Some(self.current().to_owned()),
        };
        match mechanism {
            Mechanism::All => Next::Match(true),
            Mechanism::Ip4(network, prefix) => {
                let prefixes = Prefixes { v4: *prefix, v6: 0 };
                Next::Match(prefixes.join(IpAddr::V4(*network), self.facts.client))
            }
            Mechanism::Ip6(network, prefix) => {
                let prefixes = Prefixes { v4: 0, v6: *prefix };
                Next::Match(prefixes.join(IpAddr::V6(*network), self.facts.client))
            }
            Mechanism::Ptr(_) => {
                let names = self.names.as_deref().unwrap_or_default();
                Next::Match(name.is_some_and(|parent| names.iter().any(|name| is_below(name, &parent))))
            }
            Mechanism::Include(_) => match name.filter(|name| is_name(name)) {
                Some(name) => Next::Ask(Question::Txt(name.clone()), Purpose::Record(name)),
                None => self.no_record(&format!("the name that `{}` stands for", directive.text)),
            },
            Mechanism::A(_, prefixes) => {
                let prefixes = *prefixes;
                self.ask_or_not(name, |name| (self.addresses_of(name), Purpose::Addresses(Some(prefixes))))
            }
            Mechanism::Exists(_) => self.ask_or_not(name, |name| (Question::A(name), Purpose::Addresses(None))),
            Mechanism::Mx(_, prefixes) => {
                let prefixes = *prefixes;
                self.ask_or_not(name, |name| (Question::Mx(name), Purpose::Exchangers(prefixes)))
            }
        }
    }

    /// Asks about a name; one that cannot exist does not match.
    fn ask_or_not(&self, name: Option<String>, question: impl FnOnce(String) -> (Question, Purpose)) -> Next {
        match name.filter(|name| is_askable(name)) {
            Some(name) => {
                let (question, purpose) = question(name);
                Next::Ask(question, purpose)
            }
            None => Next::Match(false),
        }
    }

    /// The record in force has ended without a match.
    fn end_of_record(&mut self) -> Next {
        let Some(frame) = self.frames.last() else { return self.no_record(&self.domain) };
        let Some(redirect) = &frame.record.redirect else {
            let why = format!("nothing in the record of {} matches {}", printable(&frame.domain), self.facts.client);
            return self.left(SpfResult::Neutral, "default", why);
        };
        if redirect.wants_name() && self.names.is_none() {
            return Next::Ask(Question::Ptr(self.facts.client), Purpose::Names(Wanted::Redirect));
        }
        let name = self.expand_name(redirect);
        if let Some(over) = self.count() {
            return over;
        }
        match name.filter(|name| is_name(name)) {
            Some(name) => {
                self.frames.pop();
                Next::Ask(Question::Txt(name.clone()), Purpose::Record(name))
            }
            None => self.no_record("the name that its redirect= stands for"),
        }
    }

    /// The directive in turn matches.
    fn matched(&mut self) -> Next {
        let Some(directive) = self.directive() else { return self.end_of_record() };
        let (result, text) = (directive.result, directive.text.clone());
        let client = self.facts.client;
        let why = format!("`{text}` in the record of {} matches {client}", printable(self.current()));
        self.left(result, &text, why)
    }

    /// The record in force has come to a result.
    fn left(&mut self, result: SpfResult, mechanism: &str, why: String) -> Next {
        if self.frames.len() > 1 {
            self.frames.pop();
            if result == SpfResult::Pass {
                return self.matched_by(why);
            }
            return Next::Match(false);
        }
        let mut verdict = self.verdict(result, why);
        verdict.mechanism = Some(mechanism.to_owned());
        self.ask_explanation_of(verdict)
    }

    /// An `include` matches, because of what it includes.
    fn matched_by(&mut self, why: String) -> Next {
        let Some(directive) = self.directive() else { return self.end_of_record() };
        let (result, text) = (directive.result, directive.text.clone());
        if self.frames.len() > 1 {
            return self.left(result, &text, why);
        }
        let why = format!("{why}, which `{text}` of {} includes", printable(self.current()));
        self.left(result, &text, why)
    }

    fn ask_explanation_of(&mut self, verdict: Verdict) -> Next {
        let explanation = self.frames.last().and_then(|frame| frame.record.explanation.as_ref());
        match explanation.filter(|_| verdict.result == SpfResult::Fail) {
            None => Next::Done(verdict),
            Some(name) if name.wants_name() && self.names.is_none() => {
                Next::Ask(Question::Ptr(self.facts.client), Purpose::Names(Wanted::ExplanationName(verdict)))
            }
            Some(_) => self.ask_explanation(verdict),
        }
    }

    /// RFC 7208 §6.2: whatever goes wrong with an explanation, there is none.
    fn ask_explanation(&self, verdict: Verdict) -> Next {
        let explanation = self.frames.last().and_then(|frame| frame.record.explanation.as_ref());
        match explanation.and_then(|name| self.expand_name(name)).filter(|name| is_askable(name)) {
            Some(name) => Next::Ask(Question::Txt(name), Purpose::Explanation(verdict)),
            None => Next::Done(verdict),
        }
    }

    fn explain(&self, verdict: Verdict, answer: Answer) -> Next {
        let Found::Some(Records::Texts(texts)) = answer else { return Next::Done(verdict) };
        let [text] = &texts[..] else { return Next::Done(verdict) };
        match MacroString::parse(text, Place::Explanation) {
            None => Next::Done(verdict),
            Some(text) if text.wants_name() && self.names.is_none() => {
                let wanted = Wanted::ExplanationText(verdict, text);
                Next::Ask(Question::Ptr(self.facts.client), Purpose::Names(wanted))
            }
            Some(text) => self.write_explanation(verdict, &text),
        }
    }

    fn write_explanation(&self, mut verdict: Verdict, text: &MacroString) -> Next {
        let domain = self.current();
        if let Some(mut text) = text.expand(&self.facts, domain, self.name_for(domain)) {
            // Macros repeat what the client said.
            text.retain(|c| c.is_ascii_graphic() || c == ' ');
            text.truncate(LONGEST_EXPLANATION);
            verdict.explanation = Some(text);
        }
        Next::Done(verdict)
    }

    fn directive(&self) -> Option<&Directive> {
        self.frames.last().and_then(|frame| frame.record.directives.get(frame.at))
    }

    /// The domain of the record in force.
    fn current(&self) -> &str {
        self.frames.last().map_or(&self.facts.sender_domain, |frame| &frame.domain)
    }

    fn in_record(&self, what: &str) -> String {
        format!("in the record of {} {what}", printable(&self.domain))
    }

    fn expand_name(&self, name: &MacroString) -> Option<String> {
        let domain = self.current();
        name.expand_name(&self.facts, domain, self.name_for(domain))
    }

    /// `%{p}` (RFC 7208 §7.3): the domain itself, else one below it, else any name that leads back to the client.
    fn name_for(&self, domain: &str) -> &str {
        let names = self.names.as_deref().unwrap_or_default();
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = || names.iter().find(|name| is_below(name, domain));
        same.or_else(below).or(names.first()).map_or("unknown", String::as_str)
    }
}

fn addresses(answer: Answer) -> Vec<IpAddr> {
    match answer {
        Found::Some(Records::Addresses(addresses)) => addresses,
        _ => Vec::new(),
    }
}

fn hosts(answer: Answer) -> Vec<String> {
    match answer {
        Found::Some(Records::Hosts(hosts)) => hosts,
        _ => Vec::new(),
    }
}

/// Whether a name is the other or below it.
fn is_below(name: &str, parent: &str) -> bool {
    let (name, parent) = (name.trim_end_matches('.'), parent.trim_end_matches('.'));
    let Some(start) = name.len().checked_sub(parent.len()) else { return false };
    name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(parent))
        && (start == 0 || name.as_bytes()[start - 1] == b'.')
}

/// Whether it can be the name of a domain that is checked (RFC 7208 §4.3): of several labels, none empty or too long.
fn is_name(name: &str) -> bool {
    is_askable(name) && name.trim_end_matches('.').contains('.') && !name.starts_with('[')
}

/// Whether the DNS can be asked for a name at all.
fn is_askable(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let sound = |label: &str| (1..=63).contains(&label.len());
    name.len() <= 253 && name.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && name.split('.').all(sound)
}
