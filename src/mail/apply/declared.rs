//! The file: what is declared, read by hand so that every mistake is named with its line and key.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use posthorn_config::Size;
use posthorn_model::{Address, Domain};
use posthorn_sasl::{Secret, password};
use toml::de::{DeTable, DeValue};

use super::key_of;

/// The directory as a file declares it. A key that is not written stands for its default, except the password,
/// which then stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Declared {
    /// `[[domain]]` rows.
    pub domains: Vec<DomainRow>,
    /// `[[account]]` rows.
    pub accounts: Vec<AccountRow>,
    /// `[[alias]]` rows.
    pub aliases: Vec<AliasRow>,
}

/// Where a row was written, such as line 3 and `account[0]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The key path.
    pub key: String,
    /// The lines of the row's own keys.
    keys: Vec<(String, usize)>,
}

impl Place {
    /// A key of the row; one that is not written is where the row begins.
    pub(super) fn of(&self, key: &str) -> Self {
        let written = self.keys.iter().find(|(name, _)| name == key);
        Self::at(written.map_or(self.line, |(_, line)| *line), format!("{}.{key}", self.key))
    }

    fn at(line: usize, key: impl Into<String>) -> Self {
        Self { line, key: key.into(), keys: Vec::new() }
    }
}

/// A `[[domain]]` row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainRow {
    /// Where it was written.
    pub place: Place,
    /// `name`.
    pub name: Domain,
    /// `alias_of`: the domain it is another spelling of.
    pub alias_of: Option<Domain>,
    /// `catch_all`, normalised.
    pub catch_all: Vec<String>,
    /// `enabled`, by default true.
    pub enabled: bool,
}

/// An `[[account]]` row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountRow {
    /// Where it was written.
    pub place: Place,
    /// `address`.
    pub address: Address,
    /// `display_name`.
    pub display_name: String,
    /// `password_hash`, or the content of `password_file` once [`Declared::read_password_files`] ran.
    pub password: Option<Secret>,
    /// `password_file`, as written.
    pub password_file: Option<PathBuf>,
    /// `quota` in octets, zero for none; unset takes the configured default.
    pub quota_bytes: Option<u64>,
    /// `quota_messages`, zero for none; unset takes the configured default.
    pub quota_messages: Option<u64>,
    /// `forward_to`, normalised.
    pub forward_to: Vec<String>,
    /// `keep_copy`, by default true.
    pub keep_copy: bool,
    /// `delegate`, normalised.
    pub delegate: Vec<String>,
    /// `enabled`, by default true.
    pub enabled: bool,
}

/// An `[[alias]]` row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AliasRow {
    /// Where it was written.
    pub place: Place,
    /// `address`.
    pub address: Address,
    /// `targets`, normalised.
    pub targets: Vec<String>,
    /// `enabled`, by default true.
    pub enabled: bool,
}

/// One thing that is wrong with the file. Displays as `line: key: message`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.place.line)?;
        if !self.place.key.is_empty() {
            write!(f, " {}:", self.place.key)?;
        }
        write!(f, " {}", self.message)
    }
}

const INSTEAD_OF_PASSWORD: &str = "a password does not belong in this file: write password_hash with a hash such as \
    \"$argon2id$...\" or \"{SHA512-CRYPT}$6$...\", or password_file with the name of a file that holds such a hash, \
    or neither and run posthorn account set ADDRESS --password-stdin";

impl Declared {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Complaint>> {
        let lines = Lines(text);
        let document = DeTable::parse(text).map_err(|error| {
            let place = Place::at(lines.of(&error.span().unwrap_or_default()), "");
            vec![Complaint { place, message: error.message().to_owned() }]
        })?;
        let mut reader = Reader { lines, complaints: Vec::new() };
        let declared = reader.document(document.get_ref());
        if reader.complaints.is_empty() {
            reader.complaints = declared.contradictions();
        }
        // Tables are read in the order of their names, people read in the order of lines.
        reader.complaints.sort_by_key(|complaint| complaint.place.line);
        if reader.complaints.is_empty() { Ok(declared) } else { Err(reader.complaints) }
    }

    /// Takes the hashes from the files that `password_file` names, relative to `folder`.
    ///
    /// # Errors
    /// Files that cannot be read or hold something else than a hash.
    pub fn read_password_files(
        &mut self,
        folder: &Path,
        read: impl Fn(&Path) -> std::io::Result<String>,
    ) -> Result<(), Vec<Complaint>> {
        let mut complaints = Vec::new();
        for row in &mut self.accounts {
            let Some(file) = &row.password_file else { continue };
            let path = folder.join(file);
            let refusal = match read(&path) {
                Err(error) => format!("{} cannot be read: {error}", path.display()),
                Ok(text) => match password::recognise(text.trim()) {
                    Ok(_) => {
                        row.password = Some(Secret::new(text.trim().to_owned()));
                        continue;
                    }
                    Err(reason) => {
                        format!(
                            "{} holds no hash that can be checked ({reason}): {INSTEAD_OF_PASSWORD}",
                            path.display()
                        )
                    }
                },
            };
            complaints.push(Complaint { place: row.place.of("password_file"), message: refusal });
        }
        if complaints.is_empty() { Ok(()) } else { Err(complaints) }
    }

    /// Rows that cannot hold together.
    fn contradictions(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let mut refuse = |place: &Place, key: &str, message: String| {
            complaints.push(Complaint { place: place.of(key), message });
        };
        let mut domains: HashMap<&Domain, &DomainRow> = HashMap::new();
        for row in &self.domains {
            if let Some(first) = domains.insert(&row.name, row) {
                refuse(&row.place, "name", format!("{} is declared already in line {}", row.name, first.place.line));
            }
        }
        for row in &self.domains {
            let Some(target) = &row.alias_of else { continue };
            if domains.get(target).is_some_and(|target| target.alias_of.is_some()) || *target == row.name {
                refuse(&row.place, "alias_of", format!("{target} is an alias domain itself"));
            }
        }
        let mut names: HashMap<String, &Place> = HashMap::new();
        let accounts = self.accounts.iter().map(|row| (&row.address, &row.place));
        for (address, place) in accounts.chain(self.aliases.iter().map(|row| (&row.address, &row.place))) {
            if let Some(first) = names.insert(key_of(address), place) {
                refuse(place, "address", format!("{address} is declared already in line {}", first.line));
            }
            if let Some(of) = domains.get(address.domain()).and_then(|row| row.alias_of.as_ref()) {
                refuse(place, "address", format!("{} is an alias of {of}: use {of} instead", address.domain()));
            }
        }
        complaints
    }
}

/// Finds the line of an offset.
struct Lines<'t>(&'t str);

impl Lines<'_> {
    fn of(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.0.len());
        1 + self.0.as_bytes()[..end].iter().filter(|octet| **octet == b'\n').count()
    }
}

struct Reader<'t> {
    lines: Lines<'t>,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> Declared {
        let mut declared = Declared::default();
        for (key, value) in table {
            let kind = key.get_ref().as_ref();
            if !["domain", "account", "alias"].contains(&kind) {
                let message = format!("unknown key \"{kind}\" (known: [[domain]], [[account]], [[alias]])");
                self.complain(&key.span(), kind, message);
                continue;
            }
            let rows = value.get_ref().as_array().filter(|rows| rows.iter().all(|row| row.get_ref().is_table()));
            let Some(rows) = rows else {
                self.complain(&key.span(), kind, format!("expected rows: write [[{kind}]]"));
                continue;
            };
            for (at, spanned) in rows.iter().enumerate() {
                let Some(table) = spanned.get_ref().as_table() else { continue };
                let keys = table.keys().map(|key| (key.get_ref().to_string(), self.lines.of(&key.span()))).collect();
                let place = Place { keys, ..Place::at(self.lines.of(&spanned.span()), format!("{kind}[{at}]")) };
                let mut row = Row { reader: self, table, place };
                match kind {
                    "domain" => declared.domains.extend(row.domain()),
                    "account" => declared.accounts.extend(row.account()),
                    _ => declared.aliases.extend(row.alias()),
                }
            }
        }
        declared
    }

    fn complain(&mut self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        let place = Place::at(self.lines.of(span), key);
        self.complaints.push(Complaint { place, message: message.into() });
    }
}

/// One row, being read.
struct Row<'r, 't, 'd> {
    reader: &'r mut Reader<'t>,
    table: &'d DeTable<'d>,
    place: Place,
}

impl Row<'_, '_, '_> {
    fn domain(&mut self) -> Option<DomainRow> {
        self.only(&["name", "alias_of", "catch_all", "enabled"]);
        let name = self.required("name", parse_domain);
        Some(DomainRow {
            alias_of: self.text("alias_of", parse_domain),
            catch_all: self.addresses("catch_all"),
            enabled: self.switch("enabled"),
            name: name?,
            place: self.place.clone(),
        })
    }

    fn account(&mut self) -> Option<AccountRow> {
        self.only(&[
            "address",
            "display_name",
            "password_hash",
            "password_file",
            "quota",
            "quota_messages",
            "forward_to",
            "keep_copy",
            "delegate",
            "enabled",
        ]);
        let address = self.required("address", parse_address);
        let password = self.text("password_hash", |text| match password::recognise(text) {
            Ok(_) => Ok(Secret::from(text)),
            Err(reason) => Err(format!("{reason}: {INSTEAD_OF_PASSWORD}")),
        });
        let password_file = self.text("password_file", |text| Ok(PathBuf::from(text)));
        if password.is_some() && password_file.is_some() {
            self.complain("password_file", "password_hash and password_file are both given: keep one of them");
        }
        Some(AccountRow {
            display_name: self.text("display_name", |text| Ok(text.to_owned())).unwrap_or_default(),
            password,
            password_file,
            quota_bytes: self.size("quota"),
            quota_messages: self.number("quota_messages"),
            forward_to: self.addresses("forward_to"),
            keep_copy: self.switch("keep_copy"),
            delegate: self.addresses("delegate"),
            enabled: self.switch("enabled"),
            address: address?,
            place: self.place.clone(),
        })
    }

    fn alias(&mut self) -> Option<AliasRow> {
        self.only(&["address", "targets", "enabled"]);
        let address = self.required("address", parse_address);
        let before = self.reader.complaints.len();
        let targets = self.addresses("targets");
        if targets.is_empty() && self.reader.complaints.len() == before {
            self.complain("targets", "an alias needs at least one target");
        }
        let enabled = self.switch("enabled");
        Some(AliasRow { address: address?, targets, enabled, place: self.place.clone() })
    }

    /// Complains of keys that a row does not have.
    fn only(&mut self, known: &[&str]) {
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        for key in unknown {
            let name = key.get_ref().as_ref();
            let message = match name {
                "password" => INSTEAD_OF_PASSWORD.to_owned(),
                _ => format!("unknown key \"{name}\" (known: {})", known.join(", ")),
            };
            self.reader.complain(&key.span(), &format!("{}.{name}", self.place.key), message);
        }
    }

    fn complain(&mut self, key: &str, message: impl Into<String>) {
        let place = self.place.of(key);
        self.reader.complaints.push(Complaint { place, message: message.into() });
    }

    /// The value of a key when it is written and of this kind.
    fn value<T>(&mut self, key: &str, wanted: &str, take: impl FnOnce(&DeValue<'_>) -> Option<T>) -> Option<T> {
        let value = self.table.get(key)?.get_ref();
        let taken = take(value);
        if taken.is_none() {
            self.complain(key, format!("expected {wanted}, found {}", value.type_str()));
        }
        taken
    }

    fn text<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.value(key, "a text", |value| value.as_str().map(str::to_owned))?;
        parse(&text).map_err(|message| self.complain(key, message)).ok()
    }

    fn required<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.table.get(key).is_none() {
            self.complain(key, "missing");
        }
        self.text(key, parse)
    }

    /// A list of addresses in their one spelling.
    fn addresses(&mut self, key: &str) -> Vec<String> {
        let texts = self.value(key, "a list of addresses", |value| {
            let texts = value.as_array()?.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        let mut addresses = Vec::new();
        for text in texts.unwrap_or_default() {
            match parse_address(&text) {
                Ok(address) => addresses.push(address.to_string()),
                Err(message) => self.complain(key, message),
            }
        }
        addresses
    }

    /// True unless the file says otherwise.
    fn switch(&mut self, key: &str) -> bool {
        self.value(key, "true or false", |value| value.as_bool()).unwrap_or(true)
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        self.value(key, "a number that is not negative", integer)
    }

    fn size(&mut self, key: &str) -> Option<u64> {
        if self.table.get(key)?.get_ref().is_str() {
            return self.text(key, |text| text.parse::<Size>().map(Size::octets).map_err(|error| error.to_string()));
        }
        self.value(key, "a size such as 1024 or \"50 MiB\"", integer)
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()?.try_into().ok()
}

fn parse_domain(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|error| format!("\"{text}\" is no domain: {error}"))
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| format!("\"{text}\" is no address: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        Declared::parse(text).expect_err("refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_can_be_written() {
        let declared = Declared::parse(
            r#"
[[domain]]
name = "Example.ORG"
catch_all = ["a@example.org"]

[[domain]]
name = "example.net"
alias_of = "example.org"
enabled = false

[[account]]
address = "Ann@example.org"
display_name = "Ann"
quota = "1 GiB"
quota_messages = 1_000
forward_to = ["b@EXAMPLE.com"]
keep_copy = false
delegate = ["info@example.org"]
password_hash = "{SHA512-CRYPT}$6$zz$1r/vP0jBUGUOk7X4AAQgHObnZivrJ4b9DMbzSrTiiS2NOUb0ExfH0RMw6UEkG8DQzO/2Qymx.xDl.V8fgvEsv1"

[[alias]]
address = "info@example.org"
targets = ["ann@example.org"]
"#,
        )
        .expect("good");
        assert_eq!(declared.domains[0].name.as_str(), "example.org");
        assert_eq!(declared.domains[1].alias_of.as_ref().map(Domain::as_str), Some("example.org"));
        assert!(declared.domains[0].enabled && !declared.domains[1].enabled);
        let account = &declared.accounts[0];
        assert_eq!((account.place.line, account.place.key.as_str()), (11, "account[0]"));
        assert_eq!((account.quota_bytes, account.quota_messages), (Some(1 << 30), Some(1000)));
        assert_eq!(account.forward_to, ["b@example.com"]);
        assert!(!account.keep_copy && account.enabled && account.password.is_some());
        assert!(!format!("{declared:?}").contains("$6$"));
        assert_eq!(declared.aliases[0].targets, ["ann@example.org"]);
    }

    #[test]
    fn every_mistake_has_its_line_and_key() {
        assert_eq!(
            complaints(
                "[[domain]]\nname = 5\nalias = 'x'\n[[account]]\nquota = -1\n[[alias]]\naddress = 'x'\ntargets = []\n[x]\n"
            ),
            [
                "2: domain[0].name: expected a text, found integer",
                "3: domain[0].alias: unknown key \"alias\" (known: name, alias_of, catch_all, enabled)",
                "4: account[0].address: missing",
                "5: account[0].quota: expected a size such as 1024 or \"50 MiB\", found integer",
                "7: alias[0].address: \"x\" is no address: address has no domain",
                "8: alias[0].targets: an alias needs at least one target",
                "9: x: unknown key \"x\" (known: [[domain]], [[account]], [[alias]])",
            ]
        );
        assert_eq!(complaints("[domain]\nname = 'a.b'\n"), ["1: domain: expected rows: write [[domain]]"]);
        assert_eq!(complaints("a = \n").len(), 1);
        assert!(complaints("\n\n= 1\n")[0].starts_with("3: "));
    }

    #[test]
    fn passwords_in_the_clear_are_refused_with_advice() {
        let row = |line: &str| complaints(&format!("[[account]]\naddress = 'a@b.c'\n{line}\n"));
        for line in ["password = 'hunter2'", "password_hash = 'hunter2'"] {
            let complaint = row(line).remove(0);
            assert!(complaint.starts_with("3: account[0].password"), "{complaint}");
            assert!(complaint.contains("--password-stdin") && !complaint.contains("hunter2"), "{complaint}");
        }
        let both = row("password_hash = '{SSHA}aIkIMYHl0ArkgrGcRrimWlv9PUIBAgME'\npassword_file = 'x'");
        assert_eq!(
            both,
            ["4: account[0].password_file: password_hash and password_file are both given: keep one of them"]
        );
    }

    #[test]
    fn password_files_hold_hashes() {
        let text = "[[account]]\naddress = 'a@b.c'\npassword_file = 'secret'\n";
        let mut declared = Declared::parse(text).expect("good");
        let hash = "{SSHA}aIkIMYHl0ArkgrGcRrimWlv9PUIBAgME\n";
        let read = |path: &Path| {
            assert_eq!(path, Path::new("/etc/x/secret"));
            Ok(hash.to_owned())
        };
        declared.read_password_files(Path::new("/etc/x"), read).expect("a hash");
        assert_eq!(declared.accounts[0].password.as_ref().map(Secret::expose), Some(hash.trim()));
        let refusal = declared.read_password_files(Path::new("/x"), |_| Ok("hunter2".into())).expect_err("no hash");
        assert!(refusal[0].to_string().starts_with("3: account[0].password_file: /x/secret holds no hash"));
        assert!(!refusal[0].message.contains("hunter2"));
    }

    #[test]
    fn rows_must_not_contradict_each_other() {
        let text = "[[domain]]\nname = 'a.b'\n[[domain]]\nname = 'A.b'\n[[domain]]\nname = 'c.d'\nalias_of = 'a.b'\n\
                    [[domain]]\nname = 'e.f'\nalias_of = 'c.d'\n[[account]]\naddress = 'x@a.b'\n\
                    [[alias]]\naddress = 'X@a.b'\ntargets = ['y@a.b']\n[[account]]\naddress = 'x@c.d'\n";
        assert_eq!(
            complaints(text),
            [
                "4: domain[1].name: a.b is declared already in line 1",
                "10: domain[3].alias_of: c.d is an alias domain itself",
                "14: alias[0].address: X@a.b is declared already in line 11",
                "17: account[1].address: c.d is an alias of a.b: use a.b instead",
            ]
        );
    }
}
