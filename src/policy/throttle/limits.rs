//! The limits, and which of them hold for somebody, field by field.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use posthorn_config::{
    LimitKind, LimitPer, LimitWindow, PolicyLimit, PolicyPattern, PolicyThrottle, PolicyVerdict, Size, Span,
};
use posthorn_store::policy::throttle::LimitRow;

use crate::book::{Book, Somebody};

/// A limit, with its name: kind and pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) limit: PolicyLimit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Messages,
    Octets,
}

/// All limits.
#[derive(Default)]
pub(super) struct Limits {
    kinds: [Book<Arc<Rule>>; 3],
    named: HashMap<String, Arc<Rule>>,
}

/// The limits that hold for somebody, each with its number; those that are 0 are none.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) messages: Option<(Arc<Rule>, u64)>,
    pub(super) octets: Option<(Arc<Rule>, u64)>,
    pub(super) recipients: Option<(Arc<Rule>, u64)>,
    pub(super) size: Option<(Arc<Rule>, u64)>,
}

impl Rule {
    pub(crate) fn new(limit: PolicyLimit) -> Self {
        Self { name: rule_name(limit.kind, &limit.who), limit }
    }

    /// The length of its window.
    pub(crate) fn period(&self) -> Duration {
        self.limit.period.duration().max(Duration::from_millis(1))
    }
}

/// How a limit is called among counters.
pub(crate) fn rule_name(kind: LimitKind, who: &PolicyPattern) -> String {
    format!("{} {who}", kind.name())
}

impl Limits {
    /// Those of the configuration, and those of the database in the place of the same ones there.
    pub(super) fn new(section: &PolicyThrottle, rows: &[LimitRow]) -> Self {
        let mut this = Self::default();
        let rows = rows.iter().filter_map(limit_of);
        for limit in section.limit.iter().cloned().chain(rows) {
            let rule = Arc::new(Rule::new(limit));
            let kind = &mut this.kinds[place(&LimitKind::ALL, rule.limit.kind)];
            kind.put(&rule.limit.who, Arc::clone(&rule));
            this.named.insert(rule.name.clone(), rule);
        }
        this
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The limit of a name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Rule>> {
        self.named.get(name).cloned()
    }

    /// What holds for somebody: of each number, the most specific limit that has one.
    pub(super) fn find(&self, kind: LimitKind, who: Somebody<'_>) -> Applied {
        let mut applied = Applied::default();
        for rule in self.kinds[place(&LimitKind::ALL, kind)].find(who) {
            let limit = &rule.limit;
            let fields = [
                (&mut applied.messages, limit.messages),
                (&mut applied.octets, limit.octets.map(Size::octets)),
                (&mut applied.recipients, limit.recipients),
                (&mut applied.size, limit.size.map(Size::octets)),
            ];
            for (field, number) in fields {
                if let (None, Some(number)) = (&field, number) {
                    *field = Some((Arc::clone(rule), number));
                }
            }
        }
        let fields = [&mut applied.messages, &mut applied.octets, &mut applied.recipients, &mut applied.size];
        for field in fields {
            field.take_if(|(_, number)| *number == 0);
        }
        applied
    }
}

impl Applied {
    /// The limits that count, with the numbers of messages and octets that hold of each.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&Arc<Rule>, Option<u64>, Option<u64>)> {
        let messages = self.messages.as_ref();
        let same = |(rule, _): &&(Arc<Rule>, u64)| messages.is_some_and(|(other, _)| Arc::ptr_eq(rule, other));
        let together = self.octets.as_ref().filter(same).map(|(_, octets)| *octets);
        let first = messages.map(|(rule, most)| (rule, Some(*most), together));
        let alone = self.octets.as_ref().filter(|octets| !same(octets));
        first.into_iter().chain(alone.map(|(rule, octets)| (rule, None, Some(*octets))))
    }
}

/// The limit of a row; `None` when no version of this program wrote it.
pub(crate) fn limit_of(row: &LimitRow) -> Option<PolicyLimit> {
    let at = |number: i16| usize::try_from(number).ok();
    let number = |value: Option<i64>| value.map(|value| u64::try_from(value).unwrap_or(0));
    Some(PolicyLimit {
        kind: *LimitKind::ALL.get(at(row.kind)?)?,
        who: row.who.parse().ok()?,
        per: *LimitPer::ALL.get(at(row.per)?)?,
        period: Span::from_millis(u32::try_from(row.period_ms).unwrap_or(u32::MAX)),
        window: if row.leaky { LimitWindow::Leaky } else { LimitWindow::Fixed },
        verdict: *VERDICTS.get(at(row.verdict)?)?,
        messages: number(row.messages),
        octets: number(row.octets).map(Size::bytes),
        recipients: number(row.recipients),
        size: number(row.size).map(Size::bytes),
    })
}

/// The row of a limit.
pub(crate) fn row_of(limit: &PolicyLimit) -> LimitRow {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let small = |place: usize| i16::try_from(place).unwrap_or_default();
    LimitRow {
        kind: small(place(&LimitKind::ALL, limit.kind)),
        who: limit.who.to_string(),
        per: small(place(&LimitPer::ALL, limit.per)),
        period_ms: i64::try_from(limit.period.duration().as_millis()).unwrap_or(i64::MAX),
        leaky: limit.window == LimitWindow::Leaky,
        verdict: small(place(&VERDICTS, limit.verdict)),
        messages: limit.messages.map(number),
        octets: limit.octets.map(Size::octets).map(number),
        recipients: limit.recipients.map(number),
        size: limit.size.map(Size::octets).map(number),
    }
}

/// By their numbers in the database.
const VERDICTS: [PolicyVerdict; 6] = [
    PolicyVerdict::Off,
    PolicyVerdict::Warn,
    PolicyVerdict::Defer,
    PolicyVerdict::Reject,
    PolicyVerdict::Hold,
    PolicyVerdict::Discard,
];

fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::throttle) fn limit(kind: LimitKind, who: &str) -> PolicyLimit {
        PolicyLimit {
            kind,
            who: who.parse().expect(who),
            per: LimitPer::Each,
            period: Span::from_secs(3600),
            window: LimitWindow::Fixed,
            verdict: PolicyVerdict::Reject,
            messages: None,
            octets: None,
            recipients: None,
            size: None,
        }
    }

    fn numbers(applied: &Applied) -> [Option<u64>; 4] {
        [&applied.messages, &applied.octets, &applied.recipients, &applied.size]
            .map(|field| field.as_ref().map(|(_, number)| *number))
    }

    #[test]
    fn numbers_are_inherited_field_by_field() {
        let everyone = PolicyLimit {
            messages: Some(100),
            octets: Some(Size::bytes(1000)),
            recipients: Some(10),
            size: Some(Size::bytes(500)),
            ..limit(LimitKind::Outbound, "*")
        };
        let domain = PolicyLimit { octets: Some(Size::bytes(0)), ..limit(LimitKind::Outbound, "@example.org") };
        let user = PolicyLimit { messages: Some(200), ..limit(LimitKind::Outbound, "me@example.org") };
        let other = PolicyLimit { messages: Some(5), ..limit(LimitKind::Inbound, "*") };
        let section = PolicyThrottle { limit: vec![everyone.clone(), domain, other], ..PolicyThrottle::default() };
        let limits = Limits::new(&section, &[row_of(&user)]);
        let find = |who| numbers(&limits.find(LimitKind::Outbound, Somebody::of(who)));
        assert_eq!(find("a@example.net"), [Some(100), Some(1000), Some(10), Some(500)]);
        // 0 is no limit, and ends the search.
        assert_eq!(find("a@example.org"), [Some(100), None, Some(10), Some(500)]);
        assert_eq!(find("me@example.org"), [Some(200), None, Some(10), Some(500)]);
        let applied = limits.find(LimitKind::Outbound, Somebody::of("me@example.org"));
        let rules: Vec<_> =
            applied.rules().map(|(rule, messages, octets)| (rule.name.clone(), messages, octets)).collect();
        assert_eq!(rules, [("outbound me@example.org".to_owned(), Some(200), None)]);
        let applied = limits.find(LimitKind::Outbound, Somebody::of("a@example.net"));
        let rules: Vec<_> = applied.rules().map(|(_, messages, octets)| (messages, octets)).collect();
        assert_eq!(rules, [(Some(100), Some(1000))]);
        // The database comes before the configuration.
        let row = row_of(&PolicyLimit { messages: Some(7), ..everyone });
        let limits = Limits::new(&section, &[row]);
        assert_eq!(numbers(&limits.find(LimitKind::Outbound, Somebody::of("a@b.example")))[0], Some(7));
    }

    #[test]
    fn rows_come_back() {
        let limit = PolicyLimit {
            per: LimitPer::Network,
            window: LimitWindow::Leaky,
            verdict: PolicyVerdict::Hold,
            messages: Some(3),
            size: Some(Size::bytes(9)),
            ..limit(LimitKind::External, "192.0.2.0/24")
        };
        assert_eq!(limit_of(&row_of(&limit)), Some(limit.clone()));
        assert_eq!(limit_of(&LimitRow { kind: 3, ..row_of(&limit) }), None);
        assert_eq!(limit_of(&LimitRow { who: "nonsense".to_owned(), ..row_of(&limit) }), None);
    }
}
