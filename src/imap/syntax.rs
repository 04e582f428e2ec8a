//! From a command's text to a request: tag, name, arguments.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cursor::{Cursor, Fault};
use crate::quoted::is_atom;
use crate::table::{self, Entry};
use crate::{Command, Qresync, Secret, Select, Store, StoreAction, fetch_parse, list_parse, search_parse};

/// Octets of a tag: it is echoed, so it is kept short.
const TAG_LIMIT: usize = 128;

/// A parsed command line.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Capability,
    /// For the application.
    Command(Command),
    /// The extensions' names.
    Enable(Vec<String>),
    /// What the client says of itself.
    Id(Vec<(String, Option<String>)>),
    Idle,
    Logout,
    StartTls,
}

/// The tag with which a line begins; a space stands behind it.
pub(crate) fn tag(line: &[u8]) -> Option<&[u8]> {
    let good = |octet: u8| (is_atom(octet) || octet == b']') && octet != b'+';
    let length = line.iter().position(|&octet| !good(octet))?;
    ((1..=TAG_LIMIT).contains(&length) && line[length] == b' ').then(|| &line[..length])
}

/// Splits a line into its tag, its command and the rest, which begins behind the name.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], &'static Entry, &[u8])> {
    let tag = tag(line)?;
    let rest = line[tag.len()..].strip_prefix(b" ")?;
    let word = |text: &[u8]| text.iter().position(|octet| !octet.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, behind) = rest.split_at(word(rest));
    if name.eq_ignore_ascii_case(b"UID") {
        let behind = behind.strip_prefix(b" ")?;
        let (second, behind) = behind.split_at(word(behind));
        return Some((tag, table::find(name, Some(second))?, behind));
    }
    Some((tag, table::find(name, None)?, behind))
}

/// Reads the arguments of a command up to its end.
pub(crate) fn request(entry: &Entry, cursor: &mut Cursor<'_>) -> Result<Request, Fault> {
    let request = match entry.name {
        "APPEND" => return Err(append_without_message(cursor)),
        "CAPABILITY" => Request::Capability,
        "ENABLE" => enable(cursor)?,
        "ID" => id(cursor)?,
        "IDLE" => Request::Idle,
        "LOGOUT" => Request::Logout,
        "STARTTLS" => Request::StartTls,
        name => Request::Command(command(name, cursor)?),
    };
    cursor.end()?;
    Ok(request)
}

fn command(name: &str, cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let (uid, name) = match name.strip_prefix("UID ") {
        Some(name) => (true, name),
        None => (false, name),
    };
    Ok(match name {
        "AUTHENTICATE" => authenticate(cursor)?,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "COPY" => {
            let (set, mailbox) = set_and_mailbox(cursor)?;
            Command::Copy { uid, set, mailbox }
        }
        "CREATE" => create(cursor)?,
        "DELETE" => Command::Delete { mailbox: mailbox(cursor)? },
        "EXAMINE" => select(cursor, true)?,
        "EXPUNGE" => Command::Expunge { uids: if uid { Some(set(cursor)?) } else { None } },
        "FETCH" => Command::Fetch(fetch_parse::fetch(cursor, uid)?),
        "GETQUOTA" => Command::GetQuota { root: text(cursor)? },
        "GETQUOTAROOT" => Command::GetQuotaRoot { mailbox: mailbox(cursor)? },
        "LIST" => Command::List(list_parse::list(cursor)?),
        "LOGIN" => login(cursor)?,
        "LSUB" => {
            cursor.space()?;
            let reference = cursor.reference()?;
            cursor.space()?;
            Command::Lsub { reference, pattern: cursor.pattern()? }
        }
        "MOVE" => {
            let (set, mailbox) = set_and_mailbox(cursor)?;
            Command::Move { uid, set, mailbox }
        }
        "NAMESPACE" => Command::Namespace,
        "NOOP" => Command::Noop,
        "RENAME" => Command::Rename { from: mailbox(cursor)?, to: mailbox(cursor)? },
        "SEARCH" => Command::Search(search_parse::search(cursor, uid)?),
        "SELECT" => select(cursor, false)?,
        "SETQUOTA" => set_quota(cursor)?,
        "STATUS" => {
            let mailbox = mailbox(cursor)?;
            cursor.space()?;
            Command::Status { mailbox, items: cursor.status_items()? }
        }
        "STORE" => Command::Store(store(cursor, uid)?),
        "SUBSCRIBE" => Command::Subscribe { mailbox: mailbox(cursor)? },
        "UNSELECT" => Command::Unselect,
        "UNSUBSCRIBE" => Command::Unsubscribe { mailbox: mailbox(cursor)? },
        _ => return Err(Fault::bad("Unknown command")),
    })
}

fn mailbox(cursor: &mut Cursor<'_>) -> Result<String, Fault> {
    cursor.space()?;
    cursor.mailbox()
}

fn text(cursor: &mut Cursor<'_>) -> Result<String, Fault> {
    cursor.space()?;
    cursor.text()
}

fn set(cursor: &mut Cursor<'_>) -> Result<crate::SequenceSet, Fault> {
    cursor.space()?;
    cursor.sequence_set()
}

fn set_and_mailbox(cursor: &mut Cursor<'_>) -> Result<(crate::SequenceSet, String), Fault> {
    Ok((set(cursor)?, mailbox(cursor)?))
}

fn append_without_message(cursor: &mut Cursor<'_>) -> Fault {
    match mailbox(cursor) {
        Ok(_) => Fault::bad("Expected the message as a literal"),
        Err(fault) => fault,
    }
}

fn authenticate(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    cursor.space()?;
    let mechanism = String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase();
    let mut initial = None;
    if cursor.eat(b' ') {
        // RFC 4959 §3: "=" stands for an empty response.
        initial = Some(if cursor.looking_at(b"=\r\n") {
            cursor.expect(b'=')?;
            Secret::new([])
        } else {
            let base64 = cursor.some("Expected base64", |octet| octet.is_ascii_graphic())?;
            Secret::new(STANDARD.decode(base64).map_err(|_| Fault::bad("Initial response is not base64"))?)
        });
    }
    Ok(Command::Authenticate { mechanism, initial })
}

fn login(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let user = text(cursor)?;
    cursor.space()?;
    let password = Secret::new(cursor.astring().map(Cow::into_owned)?);
    Ok(Command::Login { user, password })
}

/// `CREATE mailbox [SP (USE (attributes))]` (RFC 6154 §3, RFC 4466 §2.2)
fn create(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let mailbox = mailbox(cursor)?;
    let mut uses = Vec::new();
    if cursor.eat(b' ') {
        cursor.list(|cursor| {
            cursor.keyword(b"USE").map_err(|_| Fault::bad("Unknown CREATE parameter"))?;
            cursor.space()?;
            uses = cursor.list_or_empty(|cursor| {
                cursor.expect(b'\\')?;
                cursor.atom().map(|name| format!("\\{}", String::from_utf8_lossy(name)))
            })?;
            Ok(())
        })?;
    }
    Ok(Command::Create { mailbox, uses })
}

/// `SP mailbox [SP (CONDSTORE / QRESYNC (...))]` (RFC 7162 §3.1.8, §3.2.5)
fn select(cursor: &mut Cursor<'_>, read_only: bool) -> Result<Command, Fault> {
    let mailbox = mailbox(cursor)?;
    let (mut condstore, mut qresync) = (false, None);
    if cursor.eat(b' ') {
        cursor.list(|cursor| {
            if cursor.looking_at(b"CONDSTORE") {
                condstore = true;
                return cursor.keyword(b"CONDSTORE");
            }
            cursor.keyword(b"QRESYNC ").map_err(|_| Fault::bad("Unknown SELECT parameter"))?;
            if !cursor.mode().qresync {
                return Err(Fault::bad("QRESYNC needs ENABLE QRESYNC"));
            }
            qresync = Some(resynchronize(cursor)?);
            Ok(())
        })?;
    }
    Ok(Command::Select(Select { mailbox, read_only, condstore, reselect: false, qresync }))
}

/// `(uidvalidity SP modseq [SP known-uids] [SP (known-sequences SP known-uids)])`
fn resynchronize(cursor: &mut Cursor<'_>) -> Result<Qresync, Fault> {
    cursor.expect(b'(')?;
    let uid_validity = cursor.nz_number()?;
    cursor.space()?;
    let mod_seq = cursor.nz_digits()?;
    let (mut known_uids, mut known_pairs) = (None, None);
    let mut more = cursor.eat(b' ');
    if more && cursor.peek() != Some(b'(') {
        known_uids = Some(cursor.known_set()?);
        more = cursor.eat(b' ');
    }
    if more {
        cursor.expect(b'(')?;
        let sequences = cursor.known_set()?;
        cursor.space()?;
        let uids = cursor.known_set()?;
        cursor.expect(b')')?;
        if sequences.len() != uids.len() {
            return Err(Fault::bad("Known sequence numbers and UIDs are not equally many"));
        }
        known_pairs = Some((sequences, uids));
    }
    cursor.expect(b')')?;
    Ok(Qresync { uid_validity, mod_seq, known_uids, known_pairs })
}

/// `SP root SP (resource SP limit ...)` (RFC 9208 §4.1.1)
fn set_quota(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let root = text(cursor)?;
    cursor.space()?;
    let limits = cursor.list_or_empty(|cursor| {
        let resource = String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase();
        cursor.space()?;
        Ok((resource, cursor.digits()?))
    })?;
    Ok(Command::SetQuota { root, limits })
}

/// `SP set [SP (UNCHANGEDSINCE n)] SP [+-]FLAGS[.SILENT] SP flags` (RFC 9051 §6.4.6, RFC 7162 §3.1.3)
fn store(cursor: &mut Cursor<'_>, uid: bool) -> Result<Store, Fault> {
    let set = set(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.list(|cursor| {
            cursor.keyword(b"UNCHANGEDSINCE ").map_err(|_| Fault::bad("Unknown STORE modifier"))?;
            unchanged_since = Some(cursor.mod_sequence()?);
            Ok(())
        })?;
        cursor.space()?;
    }
    let action = match cursor.peek() {
        Some(b'+') => StoreAction::Add,
        Some(b'-') => StoreAction::Remove,
        _ => StoreAction::Replace,
    };
    let _sign = cursor.eat(b'+') || cursor.eat(b'-');
    cursor.keyword(b"FLAGS")?;
    let silent = cursor.looking_at(b".SILENT");
    if silent {
        cursor.keyword(b".SILENT")?;
    }
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') {
        cursor.flag_list()?
    } else {
        let mut flags = Vec::from_iter(cursor.flag()?);
        while cursor.eat(b' ') {
            flags.extend(cursor.flag()?);
        }
        flags
    };
    Ok(Store { uid, set, unchanged_since, silent, action, flags })
}

fn enable(cursor: &mut Cursor<'_>) -> Result<Request, Fault> {
    let mut names = Vec::new();
    cursor.space()?;
    loop {
        names.push(String::from_utf8_lossy(cursor.atom()?).into_owned());
        if !cursor.eat(b' ') {
            return Ok(Request::Enable(names));
        }
    }
}

/// `SP (NIL / "(" field SP value ... ")")` (RFC 2971 §3.3: at most 30 fields)
fn id(cursor: &mut Cursor<'_>) -> Result<Request, Fault> {
    cursor.space()?;
    if cursor.peek() != Some(b'(') {
        cursor.keyword(b"NIL")?;
        return Ok(Request::Id(Vec::new()));
    }
    let lossy = |octets: Cow<'_, [u8]>| String::from_utf8_lossy(&octets).into_owned();
    let fields = cursor.list_or_empty(|cursor| {
        let name = lossy(cursor.string()?);
        cursor.space()?;
        Ok((name, cursor.nstring()?.map(lossy)))
    })?;
    if fields.len() > 30 {
        return Err(Fault::bad("Too many ID fields"));
    }
    Ok(Request::Id(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Mode;
    use crate::{SequenceNumber, SequenceSet};

    fn parse_in(mode: Mode, line: &str) -> Result<Request, Fault> {
        let line = format!("a1 {line}\r\n");
        let (tag, entry, arguments) = split(line.as_bytes()).ok_or(Fault::bad("not split"))?;
        assert_eq!(tag, b"a1");
        request(entry, &mut Cursor::new(arguments, mode))
    }

    fn parse(line: &str) -> Result<Request, Fault> {
        parse_in(Mode { qresync: true, ..Mode::default() }, line)
    }

    fn command(line: &str) -> Command {
        match parse(line) {
            Ok(Request::Command(command)) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn numbers(from: u32, to: u32) -> SequenceSet {
        SequenceSet::range(SequenceNumber::Number(from), SequenceNumber::Number(to))
    }

    #[test]
    fn tags() {
        assert_eq!(tag(b"A142 NOOP\r\n"), Some(&b"A142"[..]));
        assert_eq!(tag(b"a] x"), Some(&b"a]"[..]));
        for line in [&b" NOOP\r\n"[..], b"+ NOOP\r\n", b"a", b"NOOP\r\n", b"\r\n", b"(a) x", b"", b"\0 NOOP\r\n"] {
            assert_eq!(tag(line), None, "{line:?}");
        }
        assert_eq!(tag(&[b'a'; 200]), None);
        assert_eq!(tag(format!("{} x", "a".repeat(129)).as_bytes()), None);
    }

    #[test]
    fn commands_without_arguments() {
        for (line, expected) in [
            ("CHECK", Command::Check),
            ("close", Command::Close),
            ("EXPUNGE", Command::Expunge { uids: None }),
            ("Namespace", Command::Namespace),
            ("NOOP", Command::Noop),
            ("UNSELECT", Command::Unselect),
        ] {
            assert_eq!(command(line), expected);
            assert!(parse(&format!("{line} x")).is_err() && parse(&format!("{line} ")).is_err(), "{line}");
        }
        assert_eq!(parse("LOGOUT"), Ok(Request::Logout));
        assert_eq!(parse("capability"), Ok(Request::Capability));
        assert_eq!(parse("IDLE"), Ok(Request::Idle));
        assert_eq!(parse("STARTTLS"), Ok(Request::StartTls));
        assert!(parse("UID NOOP").is_err() && parse("UIDFETCH 1 UID").is_err() && parse("FOO").is_err());
    }

    #[test]
    fn logins() {
        let login = |user: &str, password: &str| Command::Login { user: user.into(), password: Secret::new(password) };
        assert_eq!(command("LOGIN SMITH SESAME"), login("SMITH", "SESAME"));
        assert_eq!(command("LOGIN \"a b\" \"x\\\"y\""), login("a b", "x\"y"));
        assert_eq!(command("LOGIN {5}\r\na@b.c {4+}\r\n \"\r\n"), login("a@b.c", " \"\r\n"));
        assert_eq!(command("LOGIN u \"\""), login("u", ""));
        for line in ["LOGIN", "LOGIN a", "LOGIN a b c", "LOGIN a  b", "LOGIN \"a b", "LOGIN a {9}\r\nabc"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(!format!("{:?}", command("LOGIN u hunter2")).contains("hunter2"));
    }

    #[test]
    fn authentications() {
        let authenticate = |initial: Option<&str>| Command::Authenticate {
            mechanism: "PLAIN".into(),
            initial: initial.map(Secret::new),
        };
        assert_eq!(command("AUTHENTICATE plain"), authenticate(None));
        assert_eq!(command("AUTHENTICATE PLAIN ="), authenticate(Some("")));
        assert_eq!(command("AUTHENTICATE PLAIN AGEAYg=="), authenticate(Some("\0a\0b")));
        assert!(parse("AUTHENTICATE PLAIN !").is_err());
        assert!(parse("AUTHENTICATE PLAIN AG EA").is_err());
    }

    #[test]
    fn mailbox_commands() {
        let mailbox = || "Entwürfe".to_owned();
        assert_eq!(command("DELETE Entw&APw-rfe"), Command::Delete { mailbox: mailbox() });
        assert_eq!(command("SUBSCRIBE \"Entw&APw-rfe\""), Command::Subscribe { mailbox: mailbox() });
        assert_eq!(command("UNSUBSCRIBE {12}\r\nEntw&APw-rfe"), Command::Unsubscribe { mailbox: mailbox() });
        assert_eq!(command("RENAME inbox old"), Command::Rename { from: "INBOX".into(), to: "old".into() });
        let uses = vec!["\\Drafts".to_owned(), "\\Sent".to_owned()];
        let create = Command::Create { mailbox: mailbox(), uses };
        assert_eq!(command("CREATE Entw&APw-rfe (USE (\\Drafts \\Sent))"), create);
        assert_eq!(command("CREATE a/"), Command::Create { mailbox: "a/".into(), uses: vec![] });
        assert!(parse("CREATE a (FOO (x))").is_err());
        let lsub = Command::Lsub { reference: "#news.".into(), pattern: "comp.mail.*".into() };
        assert_eq!(command("LSUB \"#news.\" \"comp.mail.*\""), lsub);
        let status = Command::Status {
            mailbox: "blurdybloop".into(),
            items: vec![crate::StatusItem::UidNext, crate::StatusItem::Messages],
        };
        assert_eq!(command("STATUS blurdybloop (UIDNEXT MESSAGES)"), status);
        assert!(parse("STATUS blurdybloop UIDNEXT").is_err());
    }

    #[test]
    fn selections() {
        let select = |read_only, condstore, qresync| {
            Command::Select(Select { mailbox: "INBOX".into(), read_only, condstore, reselect: false, qresync })
        };
        assert_eq!(command("SELECT inbox"), select(false, false, None));
        assert_eq!(command("EXAMINE INBOX (CONDSTORE)"), select(true, true, None));
        let mut known = Qresync { uid_validity: 67_890_007, mod_seq: 20_050_715, known_uids: None, known_pairs: None };
        assert_eq!(command("SELECT INBOX (QRESYNC (67890007 20050715))"), select(false, false, Some(known.clone())));
        known.known_uids = Some((41..=211).collect());
        known.known_pairs = Some(([1, 2].into_iter().collect(), [41, 43].into_iter().collect()));
        let line = "SELECT INBOX (QRESYNC (67890007 20050715 41:211 (1:2 41,43)))";
        assert_eq!(command(line), select(false, false, Some(known)));
        for bad in ["(FOO)", "()", "(QRESYNC)", "(QRESYNC (1 1 1:*))", "(QRESYNC (1 0))", "(QRESYNC (1 1 (1:2 4)))"] {
            assert!(parse(&format!("SELECT INBOX {bad}")).is_err(), "{bad}");
        }
        assert!(parse_in(Mode::default(), line).is_err());
    }

    #[test]
    fn message_commands() {
        let copy = Command::Copy { uid: false, set: numbers(2, 4), mailbox: "MEETING".into() };
        assert_eq!(command("COPY 2:4 MEETING"), copy);
        let set = SequenceSet::Saved;
        assert_eq!(command("UID MOVE $ inbox"), Command::Move { uid: true, set, mailbox: "INBOX".into() });
        assert_eq!(command("UID EXPUNGE 3000:3002"), Command::Expunge { uids: Some(numbers(3000, 3002)) });
        assert!(matches!(command("UID fetch 1:* FLAGS"), Command::Fetch(fetch) if fetch.uid));
        assert!(matches!(command("SEARCH ALL"), Command::Search(search) if !search.uid));
        assert!(matches!(command("LIST \"\" %"), Command::List(_)));
    }

    #[test]
    fn stores() {
        let store = |line: &str| match command(line) {
            Command::Store(store) => store,
            other => panic!("{other:?}"),
        };
        let mut expected = Store {
            uid: true,
            set: numbers(7, 9),
            unchanged_since: Some(320_162_338),
            silent: true,
            action: StoreAction::Add,
            flags: vec!["\\Deleted".into(), "$MDNSent".into()],
        };
        assert_eq!(store("UID STORE 7:9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted $MDNSent)"), expected);
        expected = Store { uid: false, unchanged_since: None, silent: false, action: StoreAction::Remove, ..expected };
        assert_eq!(store("store 7:9 -flags \\Deleted $MDNSent"), expected);
        expected = Store { action: StoreAction::Replace, flags: vec![], ..expected };
        assert_eq!(store("STORE 7:9 FLAGS ()"), expected);
        for bad in ["STORE 1 FLAGS", "STORE 1 *FLAGS ()", "STORE 1 FLAGS.LOUD ()", "STORE 1 (FOO 1) FLAGS ()"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotas_and_extensions() {
        assert_eq!(command("GETQUOTA \"\""), Command::GetQuota { root: String::new() });
        assert_eq!(command("GETQUOTAROOT inbox"), Command::GetQuotaRoot { mailbox: "INBOX".into() });
        let limits = vec![("STORAGE".to_owned(), 512), ("MESSAGE".to_owned(), 9)];
        assert_eq!(command("SETQUOTA \"\" (STORAGE 512 message 9)"), Command::SetQuota { root: String::new(), limits });
        let names = vec!["CONDSTORE".to_owned(), "X-GOOD".to_owned()];
        assert_eq!(parse("ENABLE CONDSTORE X-GOOD"), Ok(Request::Enable(names)));
        assert!(parse("ENABLE").is_err());
        let fields = vec![("name".to_owned(), Some("x y".to_owned())), ("os".to_owned(), None)];
        assert_eq!(parse("ID (\"name\" \"x y\" \"os\" NIL)"), Ok(Request::Id(fields)));
        assert_eq!(parse("ID nil"), Ok(Request::Id(vec![])));
        assert!(parse("ID (\"name\")").is_err());
        assert!(parse("APPEND INBOX hello").is_err());
    }

    #[test]
    fn no_truncation_of_a_good_line_panics() {
        let lines = [
            "a UID FETCH 1:* (FLAGS BODY.PEEK[1.HEADER.FIELDS (A \"B\")]<0.5> PREVIEW (LAZY)) (CHANGEDSINCE 1 VANISHED)\r\n",
            "a SEARCH RETURN (MIN) CHARSET UTF-8 OR NOT SUBJECT {2}\r\nab (1:3,$ MODSEQ \"/f\" all 3)\r\n",
            "a LIST (SUBSCRIBED) \"\" (a \"b\") RETURN (STATUS (MESSAGES))\r\n",
            "a SELECT x (QRESYNC (1 2 3:4 (1 3)) CONDSTORE)\r\n",
        ];
        for line in lines {
            let (_, entry, _) = split(line.as_bytes()).expect("a command");
            for end in 0..=line.len() {
                for ending in ["", "\r\n", "\"\r\n", "(\r\n"] {
                    let cut = format!("{}{ending}", &line[..end]);
                    if let Some((_, found, arguments)) = split(cut.as_bytes()) {
                        let mode = Mode { qresync: true, search_depth: 4, ..Mode::default() };
                        let result = request(found, &mut Cursor::new(arguments, mode));
                        assert!(result.is_err() || cut == line || found == entry, "{cut}");
                    }
                }
            }
        }
    }
}
