//! What was decided about a message, for all its recipients.

use posthorn_mail::copies::{Edit, Fate, Hold, Treatment};
use posthorn_model::Refusal;
use serde_json::{Map, Value};

use crate::notices::Notices;
use crate::score::Memo;
use crate::verdict::Level;
use crate::{Category, Errand, Point, Verdict};

/// What becomes of one recipient's copy, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruling {
    /// What becomes of it.
    pub fate: Fate,
    /// What is changed in it.
    pub edit: Edit,
    /// What the message is for this recipient.
    pub category: Category,
    /// Its score for this recipient.
    pub score: f64,
    /// Which levels that reaches.
    pub level: Level,
    /// Points that count for this recipient alone.
    pub own: Vec<Point>,
    /// Why, for the trace.
    pub why: String,
}

/// What was decided about a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// What the message is.
    pub verdict: Verdict,
    /// The points that count for everybody.
    pub points: Vec<Point>,
    /// One per recipient, in the envelope's order.
    pub rulings: Vec<Ruling>,
    /// A filter elsewhere was given the message to hand it on: its answers, one per recipient, `None` for those whose
    /// copy it did not get. For whom it said yes, nothing is stored here. Empty where there is no such filter.
    pub taken: Vec<Option<Result<String, Refusal>>>,
    /// Under which it is remembered for whom that filter took it, in case its sender has to come again.
    pub(crate) errand: Option<Errand>,
    /// What the trace says of it.
    pub findings: Map<String, Value>,
    /// What is to be remembered of the message once it is accepted.
    pub memo: Memo,
    /// The recipients' addresses, where somebody is to be told of it.
    pub recipients: Vec<String>,
    /// Who is to be told of it.
    pub notices: Option<Box<Notices>>,
}

/// What follows for the whole message.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is refused, or deferred, for everybody.
    Refused(Refusal),
    /// One treatment per recipient, in the envelope's order.
    Taken(Vec<Treatment>),
}

impl Judgement {
    /// What is done, for a dialect in which one reply answers for all recipients, or, with `each_alone`, each has a
    /// reply of its own.
    ///
    /// With one reply the message is refused only if every ruling refuses it. Where rulings differ, who
    /// would have refused gets it held instead: the sender hears yes, so that nothing may be dropped. A ruling that
    /// defers, defers the message for all, because nothing else would bring it back for that one.
    #[must_use]
    pub fn settle(&self, each_alone: bool) -> Settled {
        let refusal = |ruling: &Ruling| match &ruling.fate {
            Fate::Refuse(refusal) => Some(refusal.clone()),
            _ => None,
        };
        let refusals: Vec<Refusal> = self.rulings.iter().filter_map(refusal).collect();
        // Whom another filter took it for is left out when it comes again.
        if !each_alone && let Some(deferred) = refusals.iter().find(|refusal| refusal.is_temporary()) {
            return Settled::Refused(deferred.clone());
        }
        if !self.rulings.is_empty() && refusals.len() == self.rulings.len() && !each_alone {
            let strongest = self.rulings.iter().max_by_key(|ruling| ruling.category).and_then(refusal);
            return Settled::Refused(strongest.unwrap_or_else(|| refusals[0].clone()));
        }
        let treat = |ruling: &Ruling| {
            let fate = match &ruling.fate {
                Fate::Refuse(_) if !each_alone => Fate::Hold(ruling.hold()),
                other => other.clone(),
            };
            Treatment { fate, edit: ruling.edit.clone() }
        };
        Settled::Taken(self.rulings.iter().map(treat).collect())
    }
}

impl Ruling {
    /// What the quarantine is told of it.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { category: self.category.code(), score: self.score, why: self.why.clone() }
    }
}

#[cfg(test)]
mod tests {
    use posthorn_model::EnhancedCode;

    use super::*;

    fn ruling(fate: Fate, category: Category) -> Ruling {
        Ruling {
            fate,
            edit: Edit::default(),
            category,
            score: 0.0,
            level: Level::None,
            own: Vec::new(),
            why: "why".to_owned(),
        }
    }

    fn refuse(code: u16, text: &str) -> Fate {
        Fate::Refuse(Refusal::new(code, EnhancedCode(u8::try_from(code / 100).unwrap_or(5), 7, 0), text))
    }

    fn judgement(rulings: Vec<Ruling>) -> Judgement {
        Judgement { rulings, ..Judgement::default() }
    }

    #[test]
    fn only_what_all_refuse_is_refused() {
        let both = judgement(vec![
            ruling(refuse(554, "banned"), Category::Banned),
            ruling(refuse(554, "virus"), Category::Virus),
        ]);
        assert!(matches!(both.settle(false), Settled::Refused(refusal) if refusal.text == "virus"));
        let one =
            judgement(vec![ruling(refuse(554, "virus"), Category::Virus), ruling(Fate::Deliver, Category::Virus)]);
        let Settled::Taken(treatments) = one.settle(false) else { panic!("it is taken") };
        assert!(matches!(&treatments[0].fate, Fate::Hold(hold) if hold.category == 9 && hold.why == "why"));
        assert_eq!(treatments[1].fate, Fate::Deliver);
        let Settled::Taken(treatments) = one.settle(true) else { panic!("each is answered") };
        assert!(matches!(treatments[0].fate, Fate::Refuse(_)));
    }

    #[test]
    fn what_one_defers_comes_again_for_all() {
        let mut one =
            judgement(vec![ruling(Fate::Deliver, Category::Clean), ruling(refuse(451, "later"), Category::Clean)]);
        assert!(matches!(one.settle(false), Settled::Refused(refusal) if refusal.is_temporary()));
        one.taken = vec![Some(Ok("250 mine".to_owned())), Some(Err(Refusal::new(451, EnhancedCode(4, 3, 0), "later")))];
        assert!(matches!(one.settle(false), Settled::Refused(refusal) if refusal.is_temporary()));
        one.rulings[1].fate = refuse(550, "no");
        assert!(matches!(one.settle(false), Settled::Taken(treatments) if matches!(treatments[1].fate, Fate::Hold(_))));
    }
}
