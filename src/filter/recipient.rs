//! What recipients want: rows with fields that may be empty, from the most specific pattern to the configuration.

mod field;
mod keys;
pub mod orders;
mod senders;
mod wishes;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use posthorn_config::FilterSection;
use posthorn_model::Address;
use posthorn_store::Connection;
use posthorn_store::filter::settings::{self, SenderRow, SettingRow};

pub use field::{FIELDS, Field};
pub use keys::keys;
pub use wishes::{PerCategory, Wishes};

/// Everything that is set, in memory.
pub(crate) struct Recipients {
    section: FilterSection,
    separator: char,
    known: RwLock<Arc<Known>>,
}

/// What the database says.
#[derive(Default)]
struct Known {
    rows: HashMap<String, SettingRow>,
    /// By recipient, then by sender.
    senders: HashMap<String, HashMap<String, SenderRow>>,
}

impl Recipients {
    pub(crate) fn new(section: FilterSection, separator: char) -> Self {
        Self { section, separator, known: RwLock::default() }
    }

    /// Reads what the database says.
    pub(crate) async fn read(&self, connection: &mut Connection) -> posthorn_mail::Result<()> {
        let rows: HashMap<String, SettingRow> =
            settings::list(connection).await?.into_iter().map(|row| (row.who.clone(), row)).collect();
        let sets = self.section.file_rule_sets();
        for row in rows.values() {
            for name in row.banned_sets.as_deref().map(wishes::split).into_iter().flatten() {
                if !sets.contains(&name.as_str()) {
                    // It was there when the setting was made: without it, more is allowed or banned than somebody meant.
                    tracing::warn!(who = row.who, name, "a setting names rules for files that there are none of");
                }
            }
        }
        let mut senders: HashMap<String, HashMap<String, SenderRow>> = HashMap::new();
        for row in settings::senders(connection).await? {
            senders.entry(row.who.clone()).or_default().insert(row.sender.clone(), row);
        }
        *self.known.write() = Arc::new(Known { rows, senders });
        Ok(())
    }

    /// What holds for a recipient.
    pub(crate) fn wishes(&self, recipient: &str) -> Wishes {
        let known = Arc::clone(&self.known.read());
        if known.rows.is_empty() {
            return Wishes::of(&[], &self.section);
        }
        let rows: Vec<&SettingRow> = self.keys(recipient).iter().filter_map(|key| known.rows.get(key)).collect();
        Wishes::of(&rows, &self.section)
    }

    /// What a recipient thinks of these senders: the sum of what it says of them, and by which row.
    pub(crate) fn opinion(&self, recipient: &str, from: &[String]) -> Option<(f64, String)> {
        let known = Arc::clone(&self.known.read());
        if known.senders.is_empty() {
            return None;
        }
        let from: Vec<String> = from.iter().flat_map(|sender| self.keys(sender)).collect();
        senders::opinion(self.keys(recipient).iter().filter_map(|key| known.senders.get(key)), &from)
    }

    fn keys(&self, address: &str) -> Vec<String> {
        match Address::parse(address) {
            Ok(address) => keys(&address, self.separator),
            Err(_) => vec![keys::EVERYONE.to_owned()],
        }
    }
}
