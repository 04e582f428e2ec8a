//! Bindings, found by route.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Binding, Route};

/// The bindings by name and by group.
#[derive(Clone, Debug)]
pub struct Bindings {
    by_name: HashMap<String, Pool>,
    groups: HashMap<String, Pool>,
    default: Pool,
}

/// Bindings of which one is taken for each message; at least one.
#[derive(Clone, Debug)]
pub struct Pool {
    members: Vec<Arc<Binding>>,
    weight: u64,
}

impl Bindings {
    /// Prepares rows. The binding `default` is there even when no row is: the system's addresses and our host name.
    #[must_use]
    pub fn new(rows: &[Binding]) -> Self {
        let mut by_name: HashMap<String, Pool> = HashMap::new();
        let mut groups: HashMap<String, Pool> = HashMap::new();
        for row in rows {
            let row = Arc::new(row.clone());
            if let Some(group) = &row.group {
                groups.entry(group.clone()).or_insert_with(Pool::empty).add(Arc::clone(&row));
            }
            by_name.entry(row.name.clone()).or_insert_with(|| Pool::one(row));
        }
        let implicit = || Pool::one(Arc::new(Binding::new(Binding::DEFAULT)));
        let default = by_name.entry(Binding::DEFAULT.to_owned()).or_insert_with(implicit).clone();
        Self { by_name, groups, default }
    }

    /// The binding of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Binding>> {
        self.by_name.get(name).and_then(|pool| pool.members.first())
    }

    /// What a route leaves to choose from: its binding, the members of its group, or the binding `default`. A name
    /// that is not configured leaves the default too.
    #[must_use]
    pub fn of(&self, route: &Route) -> &Pool {
        let one = route.binding.as_ref().and_then(|name| self.by_name.get(name));
        let group = || route.binding_group.as_ref().and_then(|name| self.groups.get(name));
        one.or_else(group).unwrap_or(&self.default)
    }

    /// Every binding, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.by_name.values().flat_map(|pool| &pool.members)
    }
}

impl Pool {
    const fn empty() -> Self {
        Self { members: Vec::new(), weight: 0 }
    }

    fn one(binding: Arc<Binding>) -> Self {
        let mut pool = Self::empty();
        pool.add(binding);
        pool
    }

    fn add(&mut self, binding: Arc<Binding>) {
        self.weight += u64::from(binding.weight);
        self.members.push(binding);
    }

    /// The members, in the order of the file.
    #[must_use]
    pub fn members(&self) -> &[Arc<Binding>] {
        &self.members
    }

    /// One member by its share, for a number drawn at random; of members that all have the weight 0, each has the
    /// same share.
    #[must_use]
    pub fn pick(&self, random: u64) -> &Arc<Binding> {
        if self.weight > 0 {
            let mut left = random % self.weight;
            for member in &self.members {
                let share = u64::from(member.weight);
                if left < share {
                    return member;
                }
                left -= share;
            }
        }
        let even = usize::try_from(random % self.members.len().max(1) as u64).unwrap_or_default();
        // A pool is only ever made of its first member.
        &self.members[even]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::load_text;

    const TEXT: &str = "[[binding]]
name = 'a'
group = 'g'
weight = 3
[[binding]]
name = 'b'
group = 'g'
[[binding]]
name = 'idle'
group = 'g'
weight = 0
[[binding]]
name = 'c'
group = 'zero'
weight = 0
[[binding]]
name = 'd'
group = 'zero'
weight = 0
[[binding_group]]
name = 'g'
[[binding_group]]
name = 'zero'
";

    fn bindings(text: &str) -> Bindings {
        Bindings::new(&load_text(text).config.binding)
    }

    fn group(name: &str) -> Route {
        Route { binding_group: Some(name.to_owned()), ..Route::default() }
    }

    #[test]
    fn shares_are_as_weighed() {
        let bindings = bindings(TEXT);
        let pool = bindings.of(&group("g"));
        let picked: Vec<_> = (0..8).map(|random| pool.pick(random).name.as_str()).collect();
        assert_eq!(picked, ["a", "a", "a", "b", "a", "a", "a", "b"]);
        let pool = bindings.of(&group("zero"));
        let picked: Vec<_> = (0..4).map(|random| pool.pick(random).name.as_str()).collect();
        assert_eq!(picked, ["c", "d", "c", "d"]);
        assert_eq!(pool.pick(u64::MAX).name, "d");
    }

    #[test]
    fn a_route_without_a_source_takes_the_default() {
        let implicit = bindings(TEXT);
        assert_eq!(implicit.of(&Route::default()).pick(7).as_ref(), &Binding::new("default"));
        assert_eq!(implicit.named("default").map(|binding| binding.weight), Some(1));
        let explicit = bindings("[[binding]]\nname = 'default'\nweight = 9\n");
        assert_eq!(explicit.of(&Route::default()).members()[0].weight, 9);
        assert_eq!(explicit.of(&group("nobody")).members().len(), 1);
        assert_eq!(explicit.iter().count(), 1);
    }

    #[test]
    fn a_route_may_name_one() {
        let route = Route { binding: Some("b".to_owned()), ..Route::default() };
        let bindings = bindings(TEXT);
        assert_eq!(bindings.of(&route).members().len(), 1);
        assert_eq!(bindings.of(&route).pick(3).name, "b");
        assert_eq!(bindings.iter().count(), 6);
    }
}
