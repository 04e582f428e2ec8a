//! Dates and times as IMAP writes them (RFC 9051 §9 `date`, `date-time`).

use bytes::BytesMut;
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};

use crate::quoted::put_number;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Writes `"dd-Mon-yyyy hh:mm:ss +0000"` with its quotes.
pub(crate) fn put_date_time(out: &mut BytesMut, at: DateTime<Utc>) {
    let (day, year) = (at.day() as u8, at.year().clamp(0, 9999) as u16);
    let two = |number: u8| [b'0' + number / 10, b'0' + number % 10];
    out.extend_from_slice(b"\"");
    out.extend_from_slice(&if day < 10 { [b' ', b'0' + day] } else { two(day) });
    out.extend_from_slice(b"-");
    out.extend_from_slice(MONTHS[at.month0() as usize % 12]);
    out.extend_from_slice(b"-");
    if year < 1000 {
        out.extend_from_slice(
            &b"000"[..if year < 10 {
                3
            } else if year < 100 {
                2
            } else {
                1
            }],
        );
    }
    put_number(out, year.into());
    for (mark, number) in [(b' ', at.hour()), (b':', at.minute()), (b':', at.second())] {
        let [tens, ones] = two(number as u8);
        out.extend_from_slice(&[mark, tens, ones]);
    }
    out.extend_from_slice(b" +0000\"");
}

/// Reads `d-Mon-yyyy`.
pub(crate) fn parse_date(text: &[u8]) -> Option<NaiveDate> {
    let mut parts = text.split(|&octet| octet == b'-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(1..=2).contains(&day.len()) || year.len() != 4 {
        return None;
    }
    let month = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(month))? as u32 + 1;
    NaiveDate::from_ymd_opt(digits(year)? as i32, month, digits(day)?)
}

/// Reads the inside of `"dd-Mon-yyyy hh:mm:ss +zzzz"`; a one-digit day may be padded with a space or stand alone.
pub(crate) fn parse_date_time(text: &[u8]) -> Option<DateTime<FixedOffset>> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let mut parts = text.split(|&octet| octet == b' ');
    let (date, time, zone) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || time.len() != 8 || time[2] != b':' || time[5] != b':' || zone.len() != 5 {
        return None;
    }
    // A leap second is stored as the second before it.
    let second = digits(&time[6..])?;
    let second = if second == 60 { 59 } else { second };
    let time = NaiveTime::from_hms_opt(digits(&time[..2])?, digits(&time[3..5])?, second)?;
    let (hours, minutes) = (digits(&zone[1..3])?, digits(&zone[3..])?);
    if minutes > 59 {
        return None;
    }
    let seconds = (hours * 3600 + minutes * 60) as i32;
    let zone = match zone[0] {
        b'+' => FixedOffset::east_opt(seconds)?,
        b'-' => FixedOffset::west_opt(seconds)?,
        _ => return None,
    };
    zone.from_local_datetime(&parse_date(date)?.and_time(time)).single()
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0_u32, |number, &octet| octet.is_ascii_digit().then(|| number * 10 + u32::from(octet - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for seconds in [0, 86_399, 836_707_465, 1_709_164_800, 4_102_444_799, -62_000_000_000] {
            let at = Utc.timestamp_opt(seconds, 0).single().expect("in range");
            let mut out = BytesMut::new();
            put_date_time(&mut out, at);
            assert_eq!(out.len(), 28, "{out:?}");
            assert_eq!(parse_date_time(&out[1..out.len() - 1]), Some(at.fixed_offset()), "{out:?}");
        }
    }

    #[test]
    fn zones_are_kept() {
        let at = parse_date_time(b"17-Jul-1996 02:44:25 -0730").expect("valid");
        assert_eq!(at.to_rfc3339(), "1996-07-17T02:44:25-07:30");
        assert!(parse_date_time(b"7-jul-1996 02:44:60 +0000").is_some());
    }

    #[test]
    fn dates() {
        assert_eq!(parse_date(b"1-FEB-1994"), NaiveDate::from_ymd_opt(1994, 2, 1));
        for text in
            ["", "1-Feb", "32-Jan-2000", "0-Jan-2000", "1-Foo-2000", "1-Jan-20000", "1-Jan-2000-1", "a-Jan-2000"]
        {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn nonsense_times_are_none() {
        for text in [
            "",
            "17-Jul-1996 02:44:25",
            "17-Jul-1996 24:00:00 +0000",
            "17-Jul-1996 02:44:25 +2400",
            "17-Jul-1996 02:44:25 +0060",
            "17-Jul-1996 02:44:25 *0000",
            "17-Jul-1996  02:44:25 +0000",
            "17-Jul-1996 0a:44:25 +0000",
        ] {
            assert_eq!(parse_date_time(text.as_bytes()), None, "{text}");
        }
    }
}
