//! What was learned of spam and of other mail, by everybody or by one account, and what a message looks like beside it.
//!
//! Each token has a probability, smoothed while little is known of it (Robinson); the most telling ones are combined by
//! Fisher's method, once for spam and once against it, so that a message with much of both is undecided, not certain.

use super::counts::{Count, Counts};

/// What nothing is known of is held to be even, with the weight of so many messages.
const DOUBT: f64 = 0.45;
/// Nearer to even than this, a token tells nothing.
const TELLING: f64 = 0.1;
/// The tokens that decide.
const MOST: usize = 150;
/// With fewer, nothing is said.
const LEAST: usize = 5;

/// Counts of tokens, and how many messages they come from.
#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) counts: Counts,
    /// Messages of each kind.
    pub(crate) messages: Count,
    /// How often everything was halved.
    pub(crate) generation: i32,
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Likeness {
    /// From 0, like other mail, to 1, like spam.
    pub(crate) spam: f64,
    /// How many tokens decided.
    pub(crate) tokens: usize,
}

impl Corpus {
    /// Nothing learned yet.
    pub(crate) fn new(most: usize) -> Self {
        Self { counts: Counts::new(most), messages: Count::default(), generation: 0 }
    }

    /// Whether enough was learned of both.
    pub(crate) fn is_grown(&self, least: u32) -> bool {
        self.messages.spam >= least.max(1) && self.messages.ham >= least.max(1)
    }

    /// What a message with these tokens looks like; `None` when they tell nothing.
    pub(crate) fn likeness(&self, tokens: &[u64]) -> Option<Likeness> {
        let (spams, hams) = (f64::from(self.messages.spam.max(1)), f64::from(self.messages.ham.max(1)));
        let mut telling = vec![0.0; tokens.len()];
        let mut number = 0;
        for token in tokens {
            let count = self.counts.find(*token);
            // The share of its messages that is spam, were there as many of both; in it, how often it was seen counts
            // against doubt. One division for both. Of a token that is not known it is no number, and tells nothing.
            let (in_spam, in_ham) = (f64::from(count.spam) * hams, f64::from(count.ham) * spams);
            let (seen, both) = (f64::from(count.spam) + f64::from(count.ham), in_spam + in_ham);
            let probability = (DOUBT * 0.5 * both + seen * in_spam) / ((DOUBT + seen) * both);
            // Whether it is known, and tells, cannot be guessed either: it is written in any case, and counts or does not.
            telling[number] = probability;
            number += usize::from((probability - 0.5).abs() >= TELLING);
        }
        telling.truncate(number);
        keep_most_telling(&mut telling);
        if telling.len() < LEAST {
            return None;
        }
        let against = unlikelihood(telling.iter().copied());
        let for_spam = unlikelihood(telling.iter().map(|probability| 1.0 - probability));
        // `for_spam` is small when chance alone does not bring so many tokens of spam together.
        Some(Likeness { spam: (1.0 + against - for_spam) / 2.0, tokens: telling.len() })
    }
}

/// Keeps the probabilities that are farthest from even, `MOST` of them, without sorting: they are counted by how far they
/// are first.
fn keep_most_telling(telling: &mut Vec<f64>) {
    if telling.len() <= MOST {
        return;
    }
    let mut steps = [0_u16; STEPS];
    for probability in &*telling {
        let count = &mut steps[step(*probability)];
        *count = count.saturating_add(1);
    }
    // From this step on they all fit.
    let (mut from, mut kept) = (STEPS, 0);
    while from > 0 && kept + usize::from(steps[from - 1]) <= MOST {
        from -= 1;
        kept += usize::from(steps[from]);
    }
    // Of the step before, as many as there is room for.
    let mut room = MOST - kept;
    telling.retain(|probability| {
        let at = step(*probability);
        let next = at + 1 == from && room > 0;
        room -= usize::from(next);
        next || at >= from
    });
}

/// How far from even a probability is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of steps")]
fn step(probability: f64) -> usize {
    (((probability - 0.5).abs() * 2.0 * STEPS as f64) as usize).min(STEPS - 1)
}

/// Finer differences say nothing.
const STEPS: usize = 512;

/// Fisher: how likely chance brings probabilities together whose product is at most theirs.
fn unlikelihood(probabilities: impl Iterator<Item = f64>) -> f64 {
    let (mut product, mut logarithm, mut number) = (1.0_f64, 0.0, 0_u32);
    for probability in probabilities {
        product *= probability;
        number += 1;
        // One logarithm for many factors.
        if product < 1e-200 {
            logarithm += product.ln();
            product = 1.0;
        }
    }
    let half = -(logarithm + product.ln());
    // The upper tail of a chi-square of 2 × half with twice as many degrees of freedom as there are probabilities.
    let mut term = (-half).exp();
    let mut sum = term;
    for n in 1..number {
        term *= half / f64::from(n);
        sum += term;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::tokens::{Place, Tokens};
    use super::*;

    const SPAM: [&str; 4] = [
        "cheap pills online pharmacy without prescription order now discount",
        "you have won the lottery claim your prize money now transfer fee",
        "hot investment doubles your money guaranteed crypto profit now",
        "enlarge discount pills order now guaranteed money back pharmacy",
    ];
    const HAM: [&str; 4] = [
        "the meeting on tuesday moves to room four please bring the draft",
        "attached is the report of last quarter please review before the meeting",
        "thanks for dinner yesterday shall we meet again next week",
        "the build of the branch failed please look at the log of the test",
    ];

    fn tokens(text: &str) -> Vec<u64> {
        let mut tokens = Tokens::new(1);
        tokens.text(Place::Text, text, true);
        tokens.all().to_vec()
    }

    fn taught() -> Corpus {
        let mut corpus = Corpus::new(10_000);
        for (texts, spam) in [(SPAM, true), (HAM, false)] {
            for text in texts {
                for token in tokens(text) {
                    let mut count = corpus.counts.find(token);
                    if spam {
                        count.spam += 1
                    } else {
                        count.ham += 1
                    }
                    corpus.counts.set(token, count);
                }
            }
        }
        corpus.messages = Count { spam: 4, ham: 4 };
        corpus
    }

    #[test]
    fn messages_look_like_what_was_learned() {
        let corpus = taught();
        let spam = corpus.likeness(&tokens("order discount pills now money guaranteed")).expect("an opinion");
        let ham =
            corpus.likeness(&tokens("please review the draft before the meeting on tuesday")).expect("an opinion");
        assert!(spam.spam > 0.95, "{spam:?}");
        assert!(ham.spam < 0.05, "{ham:?}");
    }

    #[test]
    fn what_has_both_is_undecided_and_the_unknown_tells_nothing() {
        let corpus = taught();
        let both = format!("{} {}", SPAM[0], HAM[0]);
        let likeness = corpus.likeness(&tokens(&both)).expect("an opinion");
        assert!((0.2..0.8).contains(&likeness.spam), "{likeness:?}");
        assert_eq!(corpus.likeness(&tokens("ungelernte wörter einer anderen sprache ganz ohne bezug")), None);
    }

    #[test]
    fn the_most_telling_are_kept() {
        let even: Vec<f64> = (0..1000).map(|n| f64::from(n) / 1000.0).collect();
        let mut kept = even.clone();
        keep_most_telling(&mut kept);
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|probability| (probability - 0.5).abs() > 0.42), "{kept:?}");
        let mut alike = vec![0.9; 1000];
        keep_most_telling(&mut alike);
        assert_eq!(alike, vec![0.9; MOST]);
        let mut few = vec![0.2; MOST];
        keep_most_telling(&mut few);
        assert_eq!(few.len(), MOST);
    }

    #[test]
    fn fisher_agrees_with_the_tables_of_chi_square() {
        // 2 × 3 degrees of freedom: the 5 % point is 12.592; 2 × 1: 5.991.
        let three = unlikelihood([(-12.592_f64 / 6.0).exp(); 3].into_iter());
        let one = unlikelihood([(-5.991_f64 / 2.0).exp()].into_iter());
        assert!((three - 0.05).abs() < 1e-4 && (one - 0.05).abs() < 1e-4, "{three} {one}");
        assert!(unlikelihood([0.001; 150].into_iter()) < 1e-9);
    }
}
