//! How often each token was seen in spam and in other mail: many small counts in bounded memory, found with one look or two.

/// What is known of one token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Count {
    /// Messages of spam that bore it.
    pub(crate) spam: u32,
    /// Other messages that bore it.
    pub(crate) ham: u32,
}

impl Count {
    fn together(self) -> u64 {
        u64::from(self.spam) << 32 | u64::from(self.ham)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    fn apart(both: u64) -> Self {
        Self { spam: (both >> 32) as u32, ham: both as u32 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    token: u64,
    count: Count,
}

/// A bucket lies in one line of the processor's cache.
const WIDTH: usize = 4;

/// Buckets of an empty table.
const FEWEST: usize = 256;

/// Counts by token. Each has two buckets that it may lie in; when both are full, the rarest token there makes room.
#[derive(Debug)]
pub(crate) struct Counts {
    buckets: Vec<[Slot; WIDTH]>,
    used: usize,
    most: usize,
}

impl Counts {
    /// For at most about so many tokens; begins small.
    pub(crate) fn new(most: usize) -> Self {
        let most = (most / WIDTH).max(FEWEST).next_power_of_two();
        Self { buckets: vec![<[Slot; WIDTH]>::default(); FEWEST], used: 0, most }
    }

    /// What is known of a token; nothing is zero.
    pub(crate) fn find(&self, token: u64) -> Count {
        // Which slot it is cannot be guessed, nor which bucket: looking at all of them costs less than guessing wrong.
        let mut found = 0;
        for place in self.places(token) {
            for slot in &self.buckets[place] {
                found |= slot.count.together() & 0_u64.wrapping_sub(u64::from(slot.token == token));
            }
        }
        Count::apart(found)
    }

    /// Says what is known of a token from now on.
    pub(crate) fn set(&mut self, token: u64, count: Count) {
        let token = token.max(1);
        if self.used * 4 >= self.buckets.len() * WIDTH * 3 && self.buckets.len() < self.most {
            self.grow();
        }
        self.put(Slot { token, count });
    }

    /// How many tokens are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    fn grow(&mut self) {
        let wider = vec![<[Slot; WIDTH]>::default(); self.buckets.len() * 2];
        let narrow = std::mem::replace(&mut self.buckets, wider);
        self.used = 0;
        for slot in narrow.into_iter().flatten().filter(|slot| slot.token != 0) {
            self.put(slot);
        }
    }

    fn put(&mut self, new: Slot) {
        let places = self.places(new.token);
        for place in places {
            if let Some(slot) = self.buckets[place].iter_mut().find(|slot| slot.token == new.token) {
                *slot = new;
                return;
            }
        }
        let free = |place: &usize| self.buckets[*place].iter().filter(|slot| slot.token == 0).count();
        let [one, other] = places;
        let roomy = if free(&other) > free(&one) { other } else { one };
        if let Some(slot) = self.buckets[roomy].iter_mut().find(|slot| slot.token == 0) {
            *slot = new;
            self.used += 1;
            return;
        }
        let weight = |slot: &Slot| u64::from(slot.count.spam) + u64::from(slot.count.ham);
        let slots = places.into_iter().flat_map(|place| (0..WIDTH).map(move |at| (place, at)));
        let rarest = slots.min_by_key(|(place, at)| weight(&self.buckets[*place][*at]));
        if let Some((place, at)) = rarest
            && weight(&self.buckets[place][at]) <= weight(&new)
        {
            self.buckets[place][at] = new;
        }
    }

    fn places(&self, token: u64) -> [usize; 2] {
        let mask = self.buckets.len() - 1;
        [(token >> 36) as usize & mask, (token >> 8) as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::finish;
    use super::*;

    #[test]
    fn what_was_said_is_known_while_there_is_room() {
        let mut counts = Counts::new(100_000);
        for n in 1..=50_000_u32 {
            counts.set(finish(n.into()), Count { spam: n, ham: 1 });
        }
        let lost = (1..=50_000_u32).filter(|n| counts.find(finish(u64::from(*n))).spam != *n).count();
        assert!(lost < 1000, "{lost} lost");
        assert_eq!(counts.find(1), Count::default());
        counts.set(finish(50_000), Count { spam: 0, ham: 9 });
        assert_eq!(counts.find(finish(50_000)), Count { spam: 0, ham: 9 });
    }

    #[test]
    fn what_is_common_outlives_what_is_rare() {
        let mut counts = Counts::new(2048);
        for n in 1..=100_u64 {
            counts.set(finish(n), Count { spam: 100, ham: 0 });
        }
        for n in 1000..100_000_u64 {
            counts.set(finish(n), Count { spam: 1, ham: 0 });
        }
        assert!(counts.len() <= 2048);
        let kept = (1..=100_u64).filter(|n| counts.find(finish(*n)).spam == 100).count();
        assert_eq!(kept, 100);
    }
}
