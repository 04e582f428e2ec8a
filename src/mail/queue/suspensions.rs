//! Destinations and bindings that nothing is sent to or from for a while, and other values changed while we run.

use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_store::queue;
use posthorn_store::tunings::{self, Tuning};

use super::Queue;
use super::orders::until;
use crate::Result;

/// The option that suspends.
pub const SUSPEND: &str = "suspend";

/// What is suspended.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Suspended {
    /// All mail to a domain.
    Domain(String),
    /// All mail from a binding.
    Binding(String),
}

impl Suspended {
    /// How it is written as the scope of a value: `domain example.org`, `binding a`.
    #[must_use]
    pub fn scope(&self) -> String {
        match self {
            Self::Domain(name) => format!("domain {}", name.to_lowercase()),
            Self::Binding(name) => format!("binding {name}"),
        }
    }

    /// Reads what [`Self::scope`] writes.
    #[must_use]
    pub fn of_scope(scope: &str) -> Option<Self> {
        match scope.split_once(' ')? {
            ("domain", name) => Some(Self::Domain(name.to_owned())),
            ("binding", name) => Some(Self::Binding(name.to_owned())),
            _ => None,
        }
    }
}

impl Queue<'_> {
    /// Sends nothing more to a domain or from a binding, for `span` or until it is resumed. Couriers hear of it at
    /// once; what is on the wire ends as it may.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn suspend(&self, what: &Suspended, span: Option<Duration>, who: &str) -> Result<()> {
        let now = self.mail.now();
        self.keep_tuning(&Tuning {
            scope: what.scope(),
            name: SUSPEND.to_owned(),
            value: 1.0,
            previous: None,
            changed_at: now,
            until: until(now, span),
            rule: who.to_owned(),
            reply: None,
        })
        .await?;
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::call(&mut connection).await?)
    }

    /// Sends again; what waits for the domain or the binding is due at once. `false` when it was not suspended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn resume(&self, what: &Suspended, who: &str) -> Result<bool> {
        let now = self.mail.now();
        let was = self.suspensions().await?.iter().any(|(known, _)| known.scope() == what.scope());
        // The row stays for a while, so that couriers see that it changed.
        self.keep_tuning(&Tuning {
            scope: what.scope(),
            name: SUSPEND.to_owned(),
            value: 0.0,
            previous: None,
            changed_at: now,
            until: Some(now + Duration::from_secs(3600)),
            rule: who.to_owned(),
            reply: None,
        })
        .await?;
        let mut connection = self.mail.store.acquire().await?;
        match what {
            Suspended::Domain(name) => queue::bring_forward(&mut connection, &[name.to_lowercase()], now).await?,
            Suspended::Binding(name) => queue::bring_forward_bound(&mut connection, name, now).await?,
        };
        queue::call(&mut connection).await?;
        Ok(was)
    }

    /// What is suspended now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn suspensions(&self) -> Result<Vec<(Suspended, Tuning)>> {
        let suspends = |tuning: Tuning| {
            let on = tuning.name == SUSPEND && tuning.value > 0.0;
            Suspended::of_scope(&tuning.scope).filter(|_| on).map(|what| (what, tuning))
        };
        Ok(self.tunings().await?.into_iter().filter_map(suspends).collect())
    }

    /// All values that were changed while we run and are in force.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tunings(&self) -> Result<Vec<Tuning>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(tunings::list(&mut connection, self.mail.now()).await?)
    }

    /// Values that changed after a moment, in force or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tunings_since(&self, moment: DateTime<Utc>) -> Result<Vec<Tuning>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(tunings::changed_since(&mut connection, moment).await?)
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn keep_tuning(&self, tuning: &Tuning) -> Result<()> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(tunings::put(&mut connection, tuning).await?)
    }

    /// Forgets a value. `false` when there was none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn drop_tuning(&self, scope: &str, name: &str) -> Result<bool> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(tunings::remove(&mut connection, scope, name).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_lead_back() {
        for what in [Suspended::Domain("example.org".to_owned()), Suspended::Binding("a b".to_owned())] {
            assert_eq!(Suspended::of_scope(&what.scope()), Some(what));
        }
        assert_eq!(Suspended::of_scope("site x"), None);
    }
}
