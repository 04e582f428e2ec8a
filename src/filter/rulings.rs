//! From what was found to what becomes of each recipient's copy.

use posthorn_config::Destiny;
use posthorn_contents::{Contents, FileRules, HeaderClass};
use posthorn_mail::copies::{Change, Edit, Fate, Hold};
use posthorn_mail::route::Route;
use posthorn_model::{EnhancedCode, Refusal};

use crate::dmarc::Disowned;
use crate::recipient::Wishes;
use crate::verdict::Level;
use crate::{Case, Category, Point, Redirect, Ruling, Way, fields};

/// Everything that was found, the same for all recipients.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) contents: &'a Contents,
    pub(crate) rules: &'a FileRules,
    /// Names of viruses, each with its scanner.
    pub(crate) viruses: Vec<String>,
    /// Why not all could be looked at.
    pub(crate) unchecked: Option<String>,
    /// The same because a scanner must answer and did not.
    pub(crate) waits: Option<String>,
    pub(crate) points: Vec<Point>,
    pub(crate) disowned: Disowned,
    pub(crate) refuse: Option<Refusal>,
    pub(crate) hold: Option<String>,
    pub(crate) changes: Vec<Change>,
    pub(crate) redirects: Vec<Redirect>,
    /// Who looked for viruses.
    pub(crate) scanners: Vec<String>,
    /// Who should have looked at it, and did not answer; mail passes all the same.
    pub(crate) silent: Vec<String>,
    /// What becomes of mail when a scanner that must answer does not.
    pub(crate) fault: Destiny,
}

/// What the message is for a recipient, the strongest first.
type Reasons = Vec<(Category, u8, String)>;

impl Findings<'_> {
    /// What becomes of the copy of the recipient at this place.
    pub(crate) fn ruling(&self, at: usize, wishes: &Wishes, own: Vec<Point>) -> (Ruling, u8) {
        let recipient = &self.case.envelope.recipients[at];
        let score = match wishes.bypass_spam {
            true => 0.0,
            false => self.points.iter().chain(&own).map(|point| point.value).sum(),
        };
        let level = wishes.level(score);
        let reasons = self.reasons(wishes, score, level);
        let (category, minor, why) = reasons.first().cloned().unwrap_or_default();
        let hold = |why: &str| Hold { category: category.code(), score, why: why.to_owned() };
        let fate = |destiny: Destiny, category: Category, why: &str| match destiny {
            Destiny::Deliver => Fate::Deliver,
            Destiny::Junk => Fate::Junk,
            Destiny::Hold => Fate::Hold(hold(why)),
            Destiny::Refuse => Fate::Refuse(refusal(category, minor, why)),
            Destiny::Defer => Fate::Refuse(Refusal::new(451, EnhancedCode(4, 7, 0), "try again later")),
        };
        // The strongest reason for which this recipient does not want it anyway.
        let destiny = |(category, _, why): &(Category, u8, String)| (wishes.destiny(*category), *category, why.clone());
        let decided = reasons.iter().map(destiny).find(|(destiny, ..)| *destiny != Destiny::Deliver);
        let found = decided.as_ref().map_or(0, |(destiny, ..)| severity(*destiny));
        let disowned = self.disowned.destiny.as_ref().filter(|(destiny, _)| severity(*destiny) > found);
        let (mut outcome, mut why) = match (disowned, decided) {
            (Some((Destiny::Refuse, why)), _) => (Fate::Refuse(self.disowns()), why.clone()),
            (Some((Destiny::Defer, why)), _) => (Fate::Refuse(self.disowns_perhaps()), why.clone()),
            (Some((destiny, why)), _) => (fate(*destiny, Category::Spam, why), why.clone()),
            (None, Some((destiny, category, why))) => (fate(destiny, category, &why), why),
            (None, None) => (Fate::Deliver, why),
        };
        if let Some(text) = &self.hold
            && !matches!(outcome, Fate::Refuse(_))
        {
            (outcome, why) = (Fate::Hold(hold(text)), text.clone());
        }
        if let Some(refusal) = &self.refuse {
            (outcome, why) = (Fate::Refuse(refusal.clone()), refusal.to_string());
        }
        // A message that is bad anyway does not wait for who could tell more.
        if let Some(text) = self.waits.as_ref().filter(|_| !wishes.bypass_virus && !matches!(outcome, Fate::Refuse(_)))
        {
            let waits = Refusal::new(451, EnhancedCode(4, 5, 0), "the message cannot be checked now, try again later");
            let by = match self.fault {
                Destiny::Defer | Destiny::Refuse => Some(Fate::Refuse(waits)),
                Destiny::Hold => Some(Fate::Hold(hold(text))),
                Destiny::Junk if outcome == Fate::Deliver => Some(Fate::Junk),
                Destiny::Junk | Destiny::Deliver => None,
            };
            if let Some(by) = by {
                (outcome, why) = (by, text.clone());
            }
        }
        if wishes.hold_cutoff.is_some_and(|cutoff| score >= cutoff) && matches!(outcome, Fate::Hold(_)) {
            outcome = Fate::Refuse(refusal(category, minor, &why));
        }
        let alerts = reasons.first().map(|(category, _, why)| fields::alerts(*category, why, &self.silent));
        let mut ruling = Ruling { fate: outcome, edit: Edit::default(), category, score, level, own, why };
        ruling.edit = self.edit(&ruling, wishes, &recipient.route);
        if self.case.way == Way::Inbound {
            ruling.edit.top.extend(alerts.unwrap_or_default());
        }
        (ruling, minor)
    }

    /// What the sender of disowned mail hears.
    fn disowns(&self) -> Refusal {
        let text = format!("the message is not shown to be of {}, whose policy is to refuse it", self.author());
        Refusal::new(550, EnhancedCode(5, 7, 1), text)
    }

    /// What the sender hears of mail that may be disowned, or that may come again for all that.
    fn disowns_perhaps(&self) -> Refusal {
        let text = format!("the message is not shown to be of {} yet, try again later", self.author());
        Refusal::new(451, EnhancedCode(4, 7, 1), text)
    }

    /// The author's domain.
    fn author(&self) -> &str {
        self.case.checked.map(|checked| checked.dmarc.domain.as_str()).unwrap_or_default()
    }

    fn reasons(&self, wishes: &Wishes, score: f64, level: Level) -> Reasons {
        let mut reasons = Reasons::new();
        let mut add = |category, minor, why: String| reasons.push((category, minor, why));
        if !self.viruses.is_empty() && !wishes.bypass_virus {
            add(Category::Virus, 0, self.viruses.join(", "));
        }
        if !wishes.bypass_banned && self.case.way != Way::List {
            let sets: Vec<&str> = wishes.banned_sets.iter().map(String::as_str).collect();
            if let Some(banned) = self.rules.judge(self.contents, &sets) {
                let path = self.contents.path(banned.node);
                add(Category::Banned, 0, format!("{} of {}: {path}", banned.rule, banned.set));
            }
        }
        if let Some(why) = self.unchecked.as_ref().filter(|_| !wishes.bypass_virus) {
            add(Category::Unchecked, 0, why.clone());
        }
        match level {
            Level::Kill => add(Category::Spam, 0, format!("score {}", fields::number(score))),
            Level::Tag2 | Level::Tag3 => add(Category::Spammy, 0, format!("score {}", fields::number(score))),
            Level::Tag | Level::None => {}
        }
        if !wishes.bypass_header
            && self.case.way == Way::Inbound
            && let Some(flaw) = self.flaw()
        {
            add(Category::BadHeader, flaw.class.code(), format!("{}: {} (line {})", flaw.field, flaw.what, flaw.line));
        }
        if wishes.size_limit > 0 && self.case.octets.len() as u64 > wishes.size_limit {
            add(Category::Oversized, 0, format!("more than {} octets", wishes.size_limit));
        }
        if reasons.is_empty() {
            reasons.push((Category::Clean, u8::from(level >= Level::Tag), String::new()));
        }
        reasons
    }

    /// The first flaw of the header; that of an internationalized message may hold UTF-8 (RFC 6532).
    fn flaw(&self) -> Option<&posthorn_contents::HeaderFlaw> {
        let sound =
            |flaw: &posthorn_contents::HeaderFlaw| self.case.envelope.terms.smtputf8 && flaw.is_internationalized();
        self.contents.flaws().iter().find(|flaw| !sound(flaw))
    }

    /// Our own people's mail leaves as it is.
    fn edit(&self, ruling: &Ruling, wishes: &Wishes, route: &Route) -> Edit {
        if self.case.way != Way::Inbound {
            return Edit { changes: self.changes.clone(), ..Edit::default() };
        }
        let scanners: Vec<&str> = self.scanners.iter().map(String::as_str).collect();
        // A copy that goes on must keep the subject that its author signed.
        let extension = wishes.extension.of(ruling.category);
        let extension = extension.filter(|detail| ruling.fate == Fate::Deliver && !detail.is_empty()).cloned();
        // So must what is held, of which somebody may say that it is no spam.
        let is_kept = matches!(ruling.fate, Fate::Hold(_) | Fate::Refuse(_));
        let tag = wishes.tag_of(ruling.score).filter(|_| route.onward().is_empty() && !wishes.bypass_spam && !is_kept);
        Edit {
            without: self.forged(),
            subject_tag: tag.map(str::to_owned),
            changes: self.changes.clone(),
            top: fields::top(ruling, &self.points, &scanners, (wishes.tag, wishes.tag2)),
            extension,
            quiet: ruling.score >= wishes.report_cutoff,
            ..Edit::default()
        }
    }

    /// What is to be taken out, where anything is.
    fn forged(&self) -> &'static [&'static str] {
        let is = |field: posthorn_mime::Field<'_>| {
            fields::FORGED.iter().any(|name| {
                let start = field.name.get(..name.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        if posthorn_mime::fields(self.case.header()).any(is) { fields::FORGED } else { &[] }
    }
}

/// How far a destiny keeps a message from its recipient.
fn severity(destiny: Destiny) -> u8 {
    match destiny {
        Destiny::Deliver => 0,
        Destiny::Junk => 1,
        Destiny::Hold => 2,
        Destiny::Defer => 3,
        Destiny::Refuse => 4,
    }
}

/// What the sender hears.
fn refusal(category: Category, minor: u8, why: &str) -> Refusal {
    let short: String = why.chars().filter(|c| !c.is_control()).take(120).collect();
    match category {
        Category::Oversized => Refusal::new(552, EnhancedCode(5, 3, 4), format!("the message is too large: {short}")),
        Category::BadHeader => {
            let eight = minor == HeaderClass::EightBit.code();
            let code = if eight { EnhancedCode(5, 6, 3) } else { EnhancedCode(5, 6, 0) };
            Refusal::new(554, code, format!("the header is unsound: {short}"))
        }
        Category::Virus => Refusal::new(554, EnhancedCode(5, 7, 0), format!("the message contains malware: {short}")),
        Category::Banned => Refusal::new(
            554,
            EnhancedCode(5, 7, 0),
            format!("the message contains a file that is not allowed: {short}"),
        ),
        Category::Unchecked => {
            Refusal::new(554, EnhancedCode(5, 7, 0), format!("the message cannot be looked at: {short}"))
        }
        _ => Refusal::new(554, EnhancedCode(5, 7, 0), format!("the message looks like spam: {short}")),
    }
}
