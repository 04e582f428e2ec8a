//! The fields of a setting by their names, for people.

use posthorn_config::{Destiny, FilterExtension};
use posthorn_model::Address;
use posthorn_store::filter::settings::SettingRow;

/// A field of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What is set, as people write it.
    pub read: fn(&SettingRow) -> Option<String>,
    /// Sets it, or, with nothing, lets it fall through.
    ///
    /// # Errors
    /// What would have been right.
    pub write: fn(&mut SettingRow, Option<&str>) -> Result<(), &'static str>,
}

macro_rules! field {
    ($name:ident, $parse:expr) => {
        Field {
            name: stringify!($name),
            read: |row| row.$name.as_ref().map(ToString::to_string),
            write: |row, text| {
                row.$name = text.map($parse).transpose()?;
                Ok(())
            },
        }
    };
}

/// All fields.
pub const FIELDS: &[Field] = &[
    field!(tag, number),
    field!(tag2, number),
    field!(tag3, number),
    field!(kill, number),
    field!(virus, destiny),
    field!(banned, destiny),
    field!(unchecked, destiny),
    field!(spam, destiny),
    field!(spammy, destiny),
    field!(bad_header, destiny),
    field!(bypass_virus, switch),
    field!(bypass_banned, switch),
    field!(bypass_spam, switch),
    field!(bypass_header, switch),
    field!(subject_tag, text),
    field!(subject_tag3, text),
    field!(banned_sets, text),
    field!(size_limit, octets),
    field!(report_cutoff, number),
    field!(hold_cutoff, number),
    field!(extension_virus, detail),
    field!(extension_banned, detail),
    field!(extension_spam, detail),
    field!(extension_header, detail),
    field!(warn_virus, switch),
    field!(warn_banned, switch),
    field!(warn_header, switch),
    field!(admin_virus, address),
    field!(admin_banned, address),
    field!(admin_spam, address),
    field!(admin_header, address),
];

fn number(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| (-1000.0..=1000.0).contains(number));
    number.ok_or("a number between -1000 and 1000")
}

fn destiny(text: &str) -> Result<String, &'static str> {
    Destiny::named(text).map(|one| one.name().to_owned()).ok_or("deliver, junk, hold, refuse or defer")
}

fn switch(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "true or false")
}

fn text(text: &str) -> Result<String, &'static str> {
    let fits = text.len() <= 200 && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or("at most 200 octets without control characters")
}

fn detail(text: &str) -> Result<String, &'static str> {
    let fits = text == NONE || FilterExtension::is_detail(text);
    fits.then(|| of_none(text)).ok_or("at most 64 letters, digits, '-', '_' and '.', or none")
}

fn address(text: &str) -> Result<String, &'static str> {
    let fits = text == NONE || Address::parse(text).is_ok();
    fits.then(|| of_none(text)).ok_or("an address, or none")
}

/// What stands for a text that says nothing: an empty value lets the field fall through.
const NONE: &str = "none";

fn of_none(text: &str) -> String {
    if text == NONE { String::new() } else { text.to_owned() }
}

fn octets(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|octets| *octets >= 0).ok_or("a number of octets, 0 for no limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_written() {
        let mut row = SettingRow::default();
        for (name, value) in [
            ("kill", "7.5"),
            ("virus", "hold"),
            ("bypass_spam", "true"),
            ("size_limit", "100"),
            ("extension_spam", "spam"),
        ] {
            let field = FIELDS.iter().find(|field| field.name == name).expect("a field");
            (field.write)(&mut row, Some(value)).expect("fits");
            assert_eq!((field.read)(&row).as_deref(), Some(value));
            assert!((field.write)(&mut row, Some("nonsense\n")).is_err());
            assert_eq!((field.read)(&row).as_deref(), Some(value));
            (field.write)(&mut row, None).expect("falls through");
            assert_eq!((field.read)(&row), None);
        }
        let field = FIELDS.iter().find(|field| field.name == "admin_virus").expect("a field");
        (field.write)(&mut row, Some("none")).expect("fits");
        assert_eq!(row.admin_virus.as_deref(), Some(""));
    }
}
