//! What holds for one recipient, every field from the most specific row that says something.

use posthorn_config::{Destiny, FilterSection};
use posthorn_store::filter::settings::SettingRow;

use crate::Category;
use crate::verdict::Level;

/// What holds for one recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Wishes {
    /// From here on the score is shown.
    pub tag: f64,
    /// From here on it is called spam.
    pub tag2: f64,
    /// From here on with the second tag.
    pub tag3: Option<f64>,
    /// From here on the destiny of spam applies.
    pub kill: f64,
    /// What becomes of viruses.
    pub virus: Destiny,
    /// The same of banned files.
    pub banned: Destiny,
    /// The same of what could not be looked at.
    pub unchecked: Destiny,
    /// The same from `kill` on.
    pub spam: Destiny,
    /// The same from `tag2` on.
    pub spammy: Destiny,
    /// The same of unsound headers.
    pub bad_header: Destiny,
    /// No viruses are looked for.
    pub bypass_virus: bool,
    /// All files are allowed.
    pub bypass_banned: bool,
    /// Nothing is scored.
    pub bypass_spam: bool,
    /// No header is unsound.
    pub bypass_header: bool,
    /// Before the subject from `tag2` on.
    pub subject_tag: String,
    /// Before the subject from `tag3` on.
    pub subject_tag3: String,
    /// The sets of rules for files.
    pub banned_sets: Vec<String>,
    /// The most octets of a message; 0 is no limit.
    pub size_limit: u64,
    /// From here on its sender gets no report of what becomes of it later.
    pub report_cutoff: f64,
    /// From here on it is refused where it would be held.
    pub hold_cutoff: Option<f64>,
    /// The details that the address gets.
    pub extension: PerCategory<String>,
    /// What the recipient is told of.
    pub warn: PerCategory<bool>,
    /// Who else is told.
    pub admin: PerCategory<String>,
}

/// A value for each of the categories that settings tell apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PerCategory<T> {
    /// Of mail with a virus.
    pub virus: T,
    /// Of mail with a banned file.
    pub banned: T,
    /// Of what is called spam.
    pub spam: T,
    /// Of mail with an unsound header.
    pub header: T,
}

impl<T> PerCategory<T> {
    /// The one of a category; `None` where settings have none.
    #[must_use]
    pub fn of(&self, category: Category) -> Option<&T> {
        match category {
            Category::Virus => Some(&self.virus),
            Category::Banned => Some(&self.banned),
            Category::Spam | Category::Spammy => Some(&self.spam),
            Category::BadHeader => Some(&self.header),
            Category::Unchecked | Category::Oversized | Category::Trouble | Category::Clean => None,
        }
    }
}

impl Wishes {
    /// From these rows, the most specific first, and the configuration behind them.
    pub(super) fn of(rows: &[&SettingRow], section: &FilterSection) -> Self {
        fn first<T>(rows: &[&SettingRow], pick: impl Fn(&SettingRow) -> Option<T>) -> Option<T> {
            rows.iter().find_map(|row| pick(row))
        }
        let destiny = |pick: fn(&SettingRow) -> Option<&str>, usual| {
            rows.iter().find_map(|row| pick(row).and_then(Destiny::named)).unwrap_or(usual)
        };
        let (levels, usual) = (&section.levels, &section.destiny);
        let sets = |row: &SettingRow| row.banned_sets.as_deref().map(split);
        let text = |pick: fn(&SettingRow) -> Option<&String>, usual: &String| {
            rows.iter().find_map(|row| pick(row)).unwrap_or(usual).clone()
        };
        let (details, notices) = (&section.extension, &section.notices);
        Self {
            tag: first(rows, |row| row.tag).unwrap_or(levels.tag.as_f64()),
            tag2: first(rows, |row| row.tag2).unwrap_or(levels.tag2.as_f64()),
            tag3: first(rows, |row| row.tag3).or(levels.tag3.map(|level| level.as_f64())),
            kill: first(rows, |row| row.kill).unwrap_or(levels.kill.as_f64()),
            virus: destiny(|row| row.virus.as_deref(), usual.virus),
            banned: destiny(|row| row.banned.as_deref(), usual.banned),
            unchecked: destiny(|row| row.unchecked.as_deref(), usual.unchecked),
            spam: destiny(|row| row.spam.as_deref(), usual.spam),
            spammy: destiny(|row| row.spammy.as_deref(), usual.spammy),
            bad_header: destiny(|row| row.bad_header.as_deref(), usual.bad_header),
            bypass_virus: first(rows, |row| row.bypass_virus).unwrap_or(false),
            bypass_banned: first(rows, |row| row.bypass_banned).unwrap_or(false),
            bypass_spam: first(rows, |row| row.bypass_spam).unwrap_or(false),
            bypass_header: first(rows, |row| row.bypass_header).unwrap_or(false),
            subject_tag: first(rows, |row| row.subject_tag.clone()).unwrap_or_else(|| section.subject_tag.clone()),
            subject_tag3: first(rows, |row| row.subject_tag3.clone()).unwrap_or_else(|| section.subject_tag3.clone()),
            banned_sets: first(rows, sets).unwrap_or_else(|| section.banned.clone()),
            size_limit: first(rows, |row| row.size_limit).and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            report_cutoff: first(rows, |row| row.report_cutoff).unwrap_or(levels.report_cutoff.as_f64()),
            hold_cutoff: first(rows, |row| row.hold_cutoff).or(levels.hold_cutoff.map(|level| level.as_f64())),
            extension: PerCategory {
                virus: text(|row| row.extension_virus.as_ref(), &details.virus),
                banned: text(|row| row.extension_banned.as_ref(), &details.banned),
                spam: text(|row| row.extension_spam.as_ref(), &details.spam),
                header: text(|row| row.extension_header.as_ref(), &details.bad_header),
            },
            warn: PerCategory {
                virus: first(rows, |row| row.warn_virus).unwrap_or(notices.warn_virus),
                banned: first(rows, |row| row.warn_banned).unwrap_or(notices.warn_banned),
                spam: false,
                header: first(rows, |row| row.warn_header).unwrap_or(notices.warn_bad_header),
            },
            admin: PerCategory {
                virus: text(|row| row.admin_virus.as_ref(), &notices.admin_virus),
                banned: text(|row| row.admin_banned.as_ref(), &notices.admin_banned),
                spam: text(|row| row.admin_spam.as_ref(), &notices.admin_spam),
                header: text(|row| row.admin_header.as_ref(), &notices.admin_bad_header),
            },
        }
    }

    /// What becomes of a copy of this category.
    #[must_use]
    pub fn destiny(&self, category: Category) -> Destiny {
        match category {
            Category::Virus => self.virus,
            Category::Banned => self.banned,
            Category::Unchecked => self.unchecked,
            Category::Spam => self.spam,
            Category::Spammy => self.spammy,
            Category::BadHeader => self.bad_header,
            // Who says how much they take means it.
            Category::Oversized => Destiny::Refuse,
            Category::Trouble | Category::Clean => Destiny::Deliver,
        }
    }

    /// Which levels a score reaches.
    #[must_use]
    pub fn level(&self, score: f64) -> Level {
        match score {
            score if score >= self.kill => Level::Kill,
            score if self.tag3.is_some_and(|tag3| score >= tag3) => Level::Tag3,
            score if score >= self.tag2 => Level::Tag2,
            score if score >= self.tag => Level::Tag,
            _ => Level::None,
        }
    }

    /// What goes before the subject of spam with this score.
    pub(crate) fn tag_of(&self, score: f64) -> Option<&str> {
        let third = self.tag3.is_some_and(|tag3| score >= tag3) && !self.subject_tag3.is_empty();
        let tag = if third { &self.subject_tag3 } else { &self.subject_tag };
        (score >= self.tag2 && !tag.is_empty()).then_some(tag)
    }
}

pub(super) fn split(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_inherited_by_itself() {
        let section = FilterSection::default();
        let user = SettingRow { kill: Some(3.0), virus: Some("hold".to_owned()), ..SettingRow::default() };
        let domain =
            SettingRow { kill: Some(20.0), tag2: Some(1.0), bypass_banned: Some(true), ..SettingRow::default() };
        let wishes = Wishes::of(&[&user, &domain], &section);
        assert_eq!((wishes.kill, wishes.tag2, wishes.virus), (3.0, 1.0, Destiny::Hold));
        assert!(wishes.bypass_banned);
        assert_eq!(wishes.tag, section.levels.tag.as_f64());
        assert_eq!(wishes.banned, section.destiny.banned);
        // What this version does not know is as if nothing were said.
        let odd = SettingRow { virus: Some("explode".to_owned()), ..SettingRow::default() };
        assert_eq!(Wishes::of(&[&odd, &user], &section).virus, Destiny::Hold);
    }

    #[test]
    fn levels_are_reached_from_below() {
        let section = FilterSection::default();
        let row = SettingRow { tag3: Some(9.0), subject_tag: Some("[S] ".to_owned()), ..SettingRow::default() };
        let wishes = Wishes::of(&[&row], &section);
        let levels =
            [(1.9, Level::None), (2.0, Level::Tag), (6.2, Level::Tag2), (9.0, Level::Tag3), (12.0, Level::Kill)];
        for (score, level) in levels {
            assert_eq!(wishes.level(score), level, "{score}");
        }
        assert_eq!(wishes.tag_of(6.1), None);
        assert_eq!(wishes.tag_of(20.0), Some("[S] "));
    }
}
