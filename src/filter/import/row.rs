//! Columns of another program's rows.

use posthorn_store::foreign::ForeignRow;

/// A column's octets; none when it is NULL or not there.
pub(super) fn octets(row: &ForeignRow, column: &str) -> Vec<u8> {
    let value = row.get(column).and_then(Option::as_deref).unwrap_or_default();
    value.strip_prefix("\\x").and_then(unhex).unwrap_or_else(|| value.as_bytes().to_vec())
}

/// A column's text without spaces around it; empty when it is NULL or not there.
pub(super) fn text(row: &ForeignRow, column: &str) -> String {
    String::from_utf8_lossy(&octets(row, column)).trim().replace('\0', "")
}

/// Whether a column says something: NULL does not.
pub(super) fn is_said(row: &ForeignRow, column: &str) -> bool {
    row.get(column).is_some_and(Option::is_some)
}

/// A number that can be reckoned with.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Octets as PostgreSQL writes a column of them.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}
