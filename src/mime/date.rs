//! Dates of messages (RFC 5322 §3.3).

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};

use crate::content::comment_length;

/// A longer value is no date.
const DATE_LIMIT: usize = 256;

/// Reads the value of a `Date` field, obsolete and some wrong forms included; `None` when it names no moment.
#[must_use]
pub fn parse_date(value: &[u8]) -> Option<DateTime<Utc>> {
    let (moment, east) = written(value)?;
    Some(moment.checked_sub_signed(TimeDelta::minutes(east))?.and_utc())
}

/// The day that the value of a `Date` field writes, whatever its zone (RFC 9051 §6.4.4, SENTON); `None` as above.
#[must_use]
pub fn date_day(value: &[u8]) -> Option<NaiveDate> {
    written(value).map(|(moment, _)| moment.date())
}

/// What the clock of the sender showed, and how many minutes east of UTC it stood.
fn written(value: &[u8]) -> Option<(NaiveDateTime, i64)> {
    let text = without_comments(&value[..value.len().min(DATE_LIMIT)]);
    let mut words =
        text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()).peekable();
    // The day of the week, with or without its comma.
    words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let first = words.next()?;
    let (day, month, year) = match first.split_once('-').and_then(|(day, rest)| Some((day, rest.split_once('-')?))) {
        Some((day, (month, year))) => (day, month, year),
        None => (first, words.next()?, words.next()?),
    };
    let date = NaiveDate::from_ymd_opt(full_year(year)?, month_number(month)?, day.parse().ok()?)?;
    let mut clock = words.next()?.split(':');
    let (hour, minute) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    // A leap second (RFC 5322 §3.3) is the moment before the next minute here.
    let second = clock.next().map_or(Some(0), |second| second.parse().ok())?;
    let moment = date.and_hms_opt(hour, minute, if second == 60 { 59 } else { second })?;
    let east = words.next().map_or(Some(0), zone_minutes)?;
    Some((moment, east))
}

/// Writes a moment as RFC 5322 §3.3 `date-time` in UTC, such as `Sat, 21 Nov 2026 01:09:39 +0000`.
#[must_use]
pub fn date_text(date: DateTime<Utc>) -> String {
    let month = MONTHS.get(date.month0() as usize).copied().unwrap_or("Jan");
    format!(
        "{}, {:02} {month} {:04} {:02}:{:02}:{:02} +0000",
        date.weekday(),
        date.day(),
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

/// A whole `Date: …` line with its CRLF.
#[must_use]
pub fn date_header(date: DateTime<Utc>) -> Vec<u8> {
    format!("Date: {}\r\n", date_text(date)).into_bytes()
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn without_comments(value: &[u8]) -> String {
    let mut rest = value;
    let mut text = String::with_capacity(value.len());
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'(' {
            rest = &rest[comment_length(rest)..];
            text.push(' ');
        } else {
            text.push(char::from(b));
            rest = tail;
        }
    }
    text
}

fn month_number(word: &str) -> Option<u32> {
    let start = word.get(..3)?;
    (1..).zip(MONTHS).find(|(_, month)| start.eq_ignore_ascii_case(month)).map(|(number, _)| number)
}

/// Years of two and three digits are read as RFC 5322 §4.3 says.
fn full_year(digits: &str) -> Option<i32> {
    let year: u16 = digits.parse().ok()?;
    Some(match (digits.len(), i32::from(year)) {
        (2, year @ ..50) => year + 2000,
        (2 | 3, year) => year + 1900,
        (4, year) => year,
        _ => return None,
    })
}

/// How far east of UTC a zone is. Unknown names are UTC (RFC 5322 §4.3).
fn zone_minutes(word: &str) -> Option<i64> {
    let digits = word.strip_prefix(['+', '-']);
    if let Some(digits) = digits.filter(|digits| digits.len() == 4) {
        let number: u16 = digits.parse().ok()?;
        let east = i64::from(number / 100) * 60 + i64::from(number % 100);
        return Some(if word.starts_with('-') { -east } else { east });
    }
    let hours = match word.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        _ => 0,
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_the_one_that_is_written() {
        let day = |text: &str| date_day(text.as_bytes()).map(|day| day.to_string());
        assert_eq!(day("Mon, 2 Feb 2026 23:30:00 -0800").as_deref(), Some("2026-02-02"));
        assert_eq!(day("Tue, 3 Feb 2026 01:30:00 +0900").as_deref(), Some("2026-02-03"));
        assert_eq!(day("tomorrow"), None);
    }

    fn moment(text: &str) -> Option<String> {
        parse_date(text.as_bytes()).map(|date| date.to_rfc3339())
    }

    #[test]
    fn dates_are_read_with_zones_comments_and_leap_seconds() {
        assert_eq!(moment("Sat, 21 Nov 2026 01:09:39 +0100").as_deref(), Some("2026-11-21T00:09:39+00:00"));
        assert_eq!(moment(" 1 Jan 2020 00:00:60 -0500 (EST)").as_deref(), Some("2020-01-01T05:00:59+00:00"));
        assert_eq!(moment("Fri,21-Nov-2026 10:00:01").as_deref(), Some("2026-11-21T10:00:01+00:00"));
        assert_eq!(moment("Fri, 1 (one) January 49 10:00 EST").as_deref(), Some("2049-01-01T15:00:00+00:00"));
        assert_eq!(moment("1 Jan 2020 00:00:00 PST (x").as_deref(), Some("2020-01-01T08:00:00+00:00"));
        assert_eq!(moment("Tue, 3 Mar 98 10:00 GMT").as_deref(), Some("1998-03-03T10:00:00+00:00"));
    }

    #[test]
    fn nonsense_is_no_date() {
        let wrong =
            ["", "yesterday", "32 Jan 2020 00:00:00 +0000", "30 Feb 2020 0:0", "1 Foo 2020 0:0", "1 Jan 2020 25:00"];
        for text in wrong.into_iter().chain(["\u{fffd}", "99999999999999999999999", "1 Jä 2020 0:0", "1 Jan 20200 0:0"])
        {
            assert_eq!(moment(text), None, "{text:?}");
        }
    }

    #[test]
    fn dates_are_written_in_utc() {
        let date = DateTime::from_timestamp(1_795_223_379, 0).expect("in range");
        assert_eq!(date_text(date), "Sat, 21 Nov 2026 01:09:39 +0000");
        assert_eq!(date_header(date), b"Date: Sat, 21 Nov 2026 01:09:39 +0000\r\n");
        assert_eq!(parse_date(date_text(date).as_bytes()), Some(date));
    }
}
