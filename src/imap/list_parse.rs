//! The grammar of LIST (RFC 9051 §9 `list`, RFC 5258, RFC 5819, RFC 6154).

use crate::cursor::{Cursor, Fault};
use crate::{List, ListReturn, ListSelection};

/// Patterns in one command.
const PATTERN_LIMIT: usize = 64;

/// `[SP (selection options)] SP reference SP patterns [SP RETURN (options)]`
pub(crate) fn list(cursor: &mut Cursor<'_>) -> Result<List, Fault> {
    let mut list = List::default();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.select = selection(cursor)?;
        list.extended = true;
        cursor.space()?;
    }
    list.reference = cursor.reference()?;
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.patterns = cursor.list(Cursor::pattern)?;
        list.extended = true;
    } else {
        list.patterns.push(cursor.pattern()?);
    }
    if list.patterns.len() > PATTERN_LIMIT {
        return Err(Fault::bad("Too many patterns"));
    }
    if cursor.eat(b' ') {
        cursor.keyword(b"RETURN")?;
        cursor.space()?;
        list.returns = returns(cursor)?;
        list.extended = true;
    }
    // RFC 5258 §3.1, RFC 6154 §2: what selects is also told.
    list.returns.subscribed |= list.select.subscribed;
    list.returns.special_use |= list.select.special_use;
    Ok(list)
}

fn selection(cursor: &mut Cursor<'_>) -> Result<ListSelection, Fault> {
    let mut select = ListSelection::default();
    cursor.list_or_empty(|cursor| {
        match cursor.word()?.to_ascii_uppercase().as_slice() {
            b"RECURSIVEMATCH" => select.recursive_match = true,
            b"REMOTE" => select.remote = true,
            b"SPECIAL-USE" => select.special_use = true,
            b"SUBSCRIBED" => select.subscribed = true,
            _ => return Err(Fault::bad("Unknown LIST selection option")),
        }
        Ok(())
    })?;
    if select.recursive_match && !(select.subscribed || select.special_use) {
        return Err(Fault::bad("RECURSIVEMATCH needs another selection option"));
    }
    Ok(select)
}

fn returns(cursor: &mut Cursor<'_>) -> Result<ListReturn, Fault> {
    let mut returns = ListReturn::default();
    cursor.list_or_empty(|cursor| {
        match cursor.word()?.to_ascii_uppercase().as_slice() {
            b"CHILDREN" => returns.children = true,
            b"SPECIAL-USE" => returns.special_use = true,
            b"STATUS" => {
                cursor.space()?;
                returns.status = Some(cursor.status_items()?);
            }
            b"SUBSCRIBED" => returns.subscribed = true,
            _ => return Err(Fault::bad("Unknown LIST return option")),
        }
        Ok(())
    })?;
    Ok(returns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatusItem;
    use crate::cursor::Mode;

    fn parse(text: &str) -> Result<List, Fault> {
        let text = format!(" {text}\r\n");
        let mut cursor = Cursor::new(text.as_bytes(), Mode::default());
        let found = list(&mut cursor)?;
        cursor.end()?;
        Ok(found)
    }

    #[test]
    fn plain() {
        let list = parse("\"\" *").expect("valid");
        assert_eq!(
            (list.reference.as_str(), list.patterns.as_slice(), list.extended),
            ("", &["*".to_owned()][..], false)
        );
        assert_eq!(parse("\"\" \"\"").expect("valid").patterns, [""]);
        assert_eq!(parse("Work/ %/&AOQ-*").expect("valid").patterns, ["%/ä*"]);
    }

    #[test]
    fn extended() {
        let text =
            "(SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX \"Drafts\" Sent/%) RETURN (CHILDREN STATUS (MESSAGES SIZE))";
        let list = parse(text).expect("valid");
        assert!(list.extended && list.select.subscribed && list.select.recursive_match && list.returns.subscribed);
        assert_eq!(list.patterns, ["INBOX", "Drafts", "Sent/%"]);
        assert_eq!(list.returns.status, Some(vec![StatusItem::Messages, StatusItem::Size]));
        assert!(list.returns.children && !list.returns.special_use);
        assert!(parse("() \"\" * RETURN ()").expect("valid").extended);
        assert!(parse("(SPECIAL-USE) \"\" *").expect("valid").returns.special_use);
    }

    #[test]
    fn malformed() {
        for text in [
            "",
            "\"\"",
            "(RECURSIVEMATCH) \"\" *",
            "(REMOTE RECURSIVEMATCH) \"\" *",
            "(FOO) \"\" *",
            "\"\" * RETURN (FOO)",
            "\"\" ()",
            "\"\" * X",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
