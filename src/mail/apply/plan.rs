//! What has to change so that the directory equals the file: pure, so that a dry run is the run without the deeds.

use std::collections::{HashMap, HashSet};
use std::fmt;

use posthorn_config::Size;
use posthorn_model::{Address, Domain};
use posthorn_store::accounts::Listed;
use posthorn_store::aliases::Alias;
use posthorn_store::domains;

use super::declared::{AccountRow, AliasRow, Complaint, Declared, DomainRow, Place};
use super::{fingerprint, key_of};
use crate::directory::{AccountChange, NewAccount, PasswordSource, quota_of};

/// The directory as it is.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// All domains.
    pub domains: Vec<domains::DomainRow>,
    /// All accounts.
    pub accounts: Vec<CurrentAccount>,
    /// All aliases.
    pub aliases: Vec<Alias>,
}

/// An account as it is.
#[derive(Clone, Debug)]
pub struct CurrentAccount {
    /// What lists show of it.
    pub listed: Listed,
    /// Addresses delegated to it.
    pub delegated: Vec<String>,
    /// The fingerprint of the hash that a file last gave it: a login may have replaced the hash since.
    pub applied: Option<Vec<u8>>,
}

/// What the file does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Whether what is not in the file goes.
    pub prune: bool,
    /// The configured default quota in octets; `None` is unlimited.
    pub quota_bytes: Option<i64>,
    /// The configured default quota in messages; `None` is unlimited.
    pub quota_messages: Option<i64>,
}

/// What has to change, in an order in which it can be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes.
    pub steps: Vec<Step>,
    /// What is not in the file and stays, as nobody asked to prune.
    pub kept: Vec<(Kind, String)>,
    /// Fingerprints to remember of hashes that hold already.
    pub(super) remember: Vec<(Address, Vec<u8>)>,
}

/// One change.
#[derive(Debug)]
pub struct Step {
    /// Which way.
    pub change: Change,
    /// What is changed.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What of it; empty for a removal.
    pub fields: Vec<Field>,
    pub(super) deed: Deed,
}

/// Which way something changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was not there.
    Add,
    /// It is there and differs.
    Change,
    /// It goes.
    Remove,
}

/// What there is in a directory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// An account.
    Account,
    /// An alias.
    Alias,
    /// A domain.
    Domain,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Alias => "alias",
            Self::Domain => "domain",
        })
    }
}

/// One field's old and new value in words. Passwords appear as `(set)` and `(changed)` only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    /// The key in the file.
    pub name: &'static str,
    /// The old value; `None` for what is new.
    pub old: Option<String>,
    /// The new value.
    pub new: String,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Deed {
    AddAccount(Address, Box<NewAccount>, Box<AccountChange>),
    AddAlias(AliasRow),
    AddDomain(DomainRow),
    RemoveAccount(Address),
    RemoveAlias(Address),
    RemoveDomain(Domain),
    SetAccount(Address, Box<AccountChange>),
    SetAlias(AliasRow),
    SetDomain(DomainRow),
}

impl Plan {
    /// Compares what is declared with what is.
    ///
    /// # Errors
    /// Rows that could not be carried out.
    pub fn new(declared: &Declared, current: &Current, terms: &Terms) -> Result<Self, Vec<Complaint>> {
        let complaints = impossible(declared, current, terms.prune);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let mut plan = Self::default();
        plan.remove_names(declared, current, terms.prune);
        plan.domains(declared, current, terms.prune);
        plan.accounts(declared, current, terms);
        plan.aliases(declared, current);
        Ok(plan)
    }

    fn step(&mut self, change: Change, subject: (Kind, String), fields: Vec<Field>, deed: Deed) {
        self.steps.push(Step { change, kind: subject.0, name: subject.1, fields, deed });
    }

    fn remove(&mut self, prune: bool, subject: (Kind, String), deed: Deed) {
        if prune {
            self.step(Change::Remove, subject, Vec::new(), deed);
        } else {
            self.kept.push(subject);
        }
    }

    /// Names go first: a new account may take the place of an alias.
    fn remove_names(&mut self, declared: &Declared, current: &Current, prune: bool) {
        let aliases: HashSet<_> = declared.aliases.iter().map(|row| key_of(&row.address)).collect();
        for alias in current.aliases.iter().filter(|alias| !aliases.contains(&key_of(&alias.address))) {
            let subject = (Kind::Alias, alias.address.to_string());
            self.remove(prune, subject, Deed::RemoveAlias(alias.address.clone()));
        }
        let accounts: HashSet<_> = declared.accounts.iter().map(|row| key_of(&row.address)).collect();
        for account in &current.accounts {
            let address = &account.listed.account.address;
            if !accounts.contains(&key_of(address)) {
                let subject = (Kind::Account, address.to_string());
                self.remove(prune, subject, Deed::RemoveAccount(address.clone()));
            }
        }
    }

    /// Domains before their other spellings, and the other way round where they go.
    fn domains(&mut self, declared: &Declared, current: &Current, prune: bool) {
        let present: HashMap<_, _> = current.domains.iter().map(|row| (&row.name, row)).collect();
        let wanted: HashSet<_> = declared.domains.iter().map(|row| &row.name).collect();
        let gone = |alias: bool| {
            current
                .domains
                .iter()
                .filter(move |row| row.alias_of.is_some() == alias)
                .filter(|row| !wanted.contains(&row.name))
        };
        for row in gone(true) {
            self.remove(prune, (Kind::Domain, row.name.to_string()), Deed::RemoveDomain(row.name.clone()));
        }
        let real = declared.domains.iter().filter(|row| row.alias_of.is_none());
        for row in real.chain(declared.domains.iter().filter(|row| row.alias_of.is_some())) {
            self.domain(row, present.get(&row.name).copied());
        }
        for row in gone(false) {
            self.remove(prune, (Kind::Domain, row.name.to_string()), Deed::RemoveDomain(row.name.clone()));
        }
    }

    fn domain(&mut self, row: &DomainRow, present: Option<&domains::DomainRow>) {
        let mut fields = Fields::default();
        let of = |name: &Option<Domain>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        fields.compare("alias_of", present.map(|old| of(&old.alias_of)), of(&row.alias_of), String::new());
        let old = present.map(|old| list(&old.catch_all));
        fields.compare("catch_all", old, list(&row.catch_all), String::new());
        fields.compare("enabled", present.map(|old| old.enabled), row.enabled, true);
        let subject = (Kind::Domain, row.name.to_string());
        match present {
            None => self.step(Change::Add, subject, fields.0, Deed::AddDomain(row.clone())),
            Some(_) if fields.0.is_empty() => {}
            Some(_) => self.step(Change::Change, subject, fields.0, Deed::SetDomain(row.clone())),
        }
    }

    fn accounts(&mut self, declared: &Declared, current: &Current, terms: &Terms) {
        let present: HashMap<_, _> =
            current.accounts.iter().map(|account| (key_of(&account.listed.account.address), account)).collect();
        for row in &declared.accounts {
            let present = present.get(&key_of(&row.address)).copied();
            let quota = Quota {
                bytes: declared_quota(row.quota_bytes, terms.quota_bytes),
                messages: declared_quota(row.quota_messages, terms.quota_messages),
            };
            self.account(row, &quota, present);
            if let Some(password) = &row.password {
                self.remember.push((row.address.clone(), fingerprint(password.expose())));
            }
        }
    }

    fn account(&mut self, row: &AccountRow, quota: &Quota, present: Option<&CurrentAccount>) {
        let (fields, change) = account_change(row, quota, present);
        let subject = (Kind::Account, row.address.to_string());
        if present.is_some() {
            if !fields.is_empty() {
                self.step(Change::Change, subject, fields, Deed::SetAccount(row.address.clone(), Box::new(change)));
            }
            return;
        }
        let new = NewAccount {
            display_name: row.display_name.clone(),
            password: change.password.clone(),
            quota_bytes: Some(quota.bytes.unwrap_or(0)),
            quota_messages: Some(quota.messages.unwrap_or(0)),
        };
        let rest =
            AccountChange { display_name: None, password: None, quota_bytes: None, quota_messages: None, ..change };
        self.step(Change::Add, subject, fields, Deed::AddAccount(row.address.clone(), Box::new(new), Box::new(rest)));
    }

    fn aliases(&mut self, declared: &Declared, current: &Current) {
        let present: HashMap<_, _> = current.aliases.iter().map(|alias| (key_of(&alias.address), alias)).collect();
        for row in &declared.aliases {
            let present = present.get(&key_of(&row.address)).copied();
            let mut fields = Fields::default();
            fields.compare("targets", present.map(|old| list(&old.targets)), list(&row.targets), String::new());
            fields.compare("enabled", present.map(|old| old.enabled), row.enabled, true);
            let subject = (Kind::Alias, row.address.to_string());
            match present {
                None => self.step(Change::Add, subject, fields.0, Deed::AddAlias(row.clone())),
                Some(_) if fields.0.is_empty() => {}
                Some(_) => self.step(Change::Change, subject, fields.0, Deed::SetAlias(row.clone())),
            }
        }
    }
}

/// Declared rows that what is there, and stays, does not allow.
fn impossible(declared: &Declared, current: &Current, prune: bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut refuse = |place: &Place, key: &str, message: String| {
        complaints.push(Complaint { place: place.of(key), message });
    };
    // A domain that is not declared counts as long as it stays.
    let mut domains: HashMap<&Domain, Option<&Domain>> = HashMap::new();
    if !prune {
        domains.extend(current.domains.iter().map(|row| (&row.name, row.alias_of.as_ref())));
    }
    domains.extend(declared.domains.iter().map(|row| (&row.name, row.alias_of.as_ref())));
    let absent = |domain: &Domain| match domains.get(domain) {
        Some(None) => None,
        Some(Some(of)) => Some(format!("{domain} is an alias of {of}: use {of} instead")),
        None if current.domains.iter().any(|row| row.name == *domain) => {
            Some(format!("the domain {domain} is not in this file, so pruning would remove it: declare it"))
        }
        None => Some(format!("there is no domain {domain}: declare it")),
    };
    for row in &declared.domains {
        if let Some(message) = row.alias_of.as_ref().and_then(absent) {
            refuse(&row.place, "alias_of", message);
        }
    }
    let real = |name: &Domain| current.domains.iter().any(|row| row.name == *name && row.alias_of.is_none());
    for row in declared.domains.iter().filter(|row| !prune && row.alias_of.is_some() && real(&row.name)) {
        let accounts = current.accounts.iter().map(|account| &account.listed.account.address);
        let names = accounts.chain(current.aliases.iter().map(|alias| &alias.address));
        let count = names.filter(|address| *address.domain() == row.name).count();
        if count > 0 {
            let message = format!("{} has {count} accounts and aliases, which an alias domain cannot have", row.name);
            refuse(&row.place, "alias_of", message);
        }
    }
    let keys = |addresses: &mut dyn Iterator<Item = &Address>| addresses.map(key_of).collect::<HashSet<_>>();
    let (mut accounts, mut aliases) = (HashSet::new(), HashSet::new());
    if !prune {
        accounts = keys(&mut current.accounts.iter().map(|account| &account.listed.account.address));
        aliases = keys(&mut current.aliases.iter().map(|alias| &alias.address));
    }
    for row in &declared.accounts {
        if aliases.contains(&key_of(&row.address)) {
            let message = format!("{} is an alias: remove it, or let --prune do it", row.address);
            refuse(&row.place, "address", message);
        }
    }
    for row in &declared.aliases {
        if accounts.contains(&key_of(&row.address)) {
            let message = format!("{} is an account: remove it, or let --prune do it", row.address);
            refuse(&row.place, "address", message);
        }
    }
    let accounts = declared.accounts.iter().map(|row| (&row.address, &row.place));
    for (address, place) in accounts.chain(declared.aliases.iter().map(|row| (&row.address, &row.place))) {
        if let Some(message) = absent(address.domain()) {
            refuse(place, "address", message);
        }
    }
    complaints.sort_by_key(|complaint| complaint.place.line);
    complaints
}

/// What an account may store; `None` is unlimited.
struct Quota {
    bytes: Option<i64>,
    messages: Option<i64>,
}

fn declared_quota(written: Option<u64>, default: Option<i64>) -> Option<i64> {
    written.map_or(default, |number| quota_of(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// What differs, in words and as the change to make.
fn account_change(row: &AccountRow, quota: &Quota, present: Option<&CurrentAccount>) -> (Vec<Field>, AccountChange) {
    let account = present.map(|present| &present.listed.account);
    let mut fields = Fields::default();
    let mut change = AccountChange::default();
    let old = account.map(|old| old.display_name.clone());
    if fields.compare("display_name", old, row.display_name.clone(), String::new()) {
        change.display_name = Some(row.display_name.clone());
    }
    let old = present.map(|old| octets(old.listed.quota_bytes));
    if fields.compare("quota", old, octets(quota.bytes), octets(None)) {
        change.quota_bytes = Some(quota.bytes.unwrap_or(0));
    }
    let old = present.map(|old| messages(old.listed.quota_messages));
    if fields.compare("quota_messages", old, messages(quota.messages), messages(None)) {
        change.quota_messages = Some(quota.messages.unwrap_or(0));
    }
    let old = account.map(|old| list(&old.forward_to));
    if fields.compare("forward_to", old, list(&row.forward_to), String::new()) {
        change.forward_to = Some(row.forward_to.clone());
    }
    if fields.compare("keep_copy", account.map(|old| old.forward_keeps_copy), row.keep_copy, true) {
        change.forward_keeps_copy = Some(row.keep_copy);
    }
    let old = present.map(|old| sorted(&old.delegated));
    if fields.compare("delegate", old, sorted(&row.delegate), String::new()) {
        change.delegated = Some(row.delegate.clone());
    }
    if fields.compare("enabled", account.map(|old| old.enabled), row.enabled, true) {
        change.enabled = Some(row.enabled);
    }
    if let Some(hash) = row.password.as_ref().map(posthorn_sasl::Secret::expose) {
        let stored = account.and_then(|old| old.password.as_deref());
        let applied = present.and_then(|old| old.applied.as_deref()) == Some(fingerprint(hash).as_slice());
        // A login replaces an imported hash by ours: the file's is then still the one that was applied.
        if stored != Some(hash) && !(applied && stored.is_some()) {
            let old = present.map(|_| if stored.is_some() { "(set)" } else { "" }.to_owned());
            let new = if stored.is_some() { "(changed)" } else { "(set)" };
            fields.0.push(Field { name: "password", old, new: new.to_owned() });
            change.password = Some(PasswordSource::Hashed(hash.to_owned()));
        }
    }
    (fields.0, change)
}

#[derive(Default)]
struct Fields(Vec<Field>);

impl Fields {
    /// Notes a difference: to the old value, or for something new to the usual value.
    fn compare<T: PartialEq + ToString>(&mut self, name: &'static str, old: Option<T>, new: T, usual: T) -> bool {
        let differs = *old.as_ref().unwrap_or(&usual) != new;
        if differs {
            self.0.push(Field { name, old: old.map(|old| old.to_string()), new: new.to_string() });
        }
        differs
    }
}

fn list(addresses: &[String]) -> String {
    addresses.join(", ")
}

/// As a list whose order means nothing.
fn sorted(addresses: &[String]) -> String {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses.dedup();
    list(&addresses)
}

fn octets(quota: Option<i64>) -> String {
    quota.map_or_else(|| "unlimited".to_owned(), |octets| Size::bytes(octets.unsigned_abs()).to_string())
}

fn messages(quota: Option<i64>) -> String {
    quota.map_or_else(|| "unlimited".to_owned(), |messages| messages.to_string())
}

#[cfg(test)]
mod tests {
    use posthorn_model::{AccountId, DomainId};
    use posthorn_store::accounts::Account;

    use super::*;

    const HASH: &str = "{SSHA}aIkIMYHl0ArkgrGcRrimWlv9PUIBAgME";

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    fn domain(name: &str, alias_of: Option<&str>) -> domains::DomainRow {
        let parse = |name: &str| Domain::parse(name).expect("a domain");
        domains::DomainRow {
            id: DomainId(1),
            name: parse(name),
            alias_of: alias_of.map(parse),
            catch_all: Vec::new(),
            enabled: true,
        }
    }

    fn account(name: &str) -> CurrentAccount {
        let account = Account {
            id: AccountId(1),
            address: address(name),
            display_name: String::new(),
            password: None,
            scram: None,
            enabled: true,
            forward_to: Vec::new(),
            forward_keeps_copy: true,
        };
        let listed = Listed { account, used_bytes: 0, used_messages: 0, quota_bytes: None, quota_messages: None };
        CurrentAccount { listed, delegated: Vec::new(), applied: None }
    }

    fn alias(name: &str, target: &str) -> Alias {
        Alias { address: address(name), targets: vec![target.to_owned()], enabled: true }
    }

    fn plan(text: &str, current: &Current, prune: bool) -> Result<Plan, Vec<String>> {
        let declared = Declared::parse(text).expect("a good file");
        Plan::new(&declared, current, &Terms { prune, ..Terms::default() })
            .map_err(|complaints| complaints.iter().map(ToString::to_string).collect())
    }

    fn told(plan: &Plan) -> Vec<String> {
        let field = |field: &Field| format!(" {}={}>{}", field.name, field.old.as_deref().unwrap_or("-"), field.new);
        let step = |step: &Step| {
            let fields: String = step.fields.iter().map(field).collect();
            format!("{:?} {} {}{fields}", step.change, step.kind, step.name)
        };
        plan.steps.iter().map(step).collect()
    }

    #[test]
    fn an_empty_directory_is_filled_in_order() {
        let text = "[[domain]]\nname = 'b.example'\nalias_of = 'c.example'\n[[domain]]\nname = 'c.example'\n\
                    [[account]]\naddress = 'a@c.example'\ndisplay_name = 'A'\nquota = '1 GiB'\nkeep_copy = false\n\
                    [[alias]]\naddress = 'i@c.example'\ntargets = ['a@c.example', 'x@d.example']\n";
        let plan = plan(text, &Current::default(), false).expect("possible");
        assert_eq!(
            told(&plan),
            [
                "Add domain c.example",
                "Add domain b.example alias_of=->c.example",
                "Add account a@c.example display_name=->A quota=->1 GiB keep_copy=->false",
                "Add alias i@c.example targets=->a@c.example, x@d.example",
            ]
        );
        let Deed::AddAccount(_, new, rest) = &plan.steps[2].deed else { panic!("an account is added") };
        assert_eq!((new.quota_bytes, new.quota_messages), (Some(1 << 30), Some(0)));
        assert_eq!((rest.forward_keeps_copy, rest.enabled, &rest.quota_bytes), (Some(false), None, &None));
    }

    #[test]
    fn equal_things_need_nothing() {
        let text = "[[domain]]\nname = 'C.example'\n[[account]]\naddress = 'A@c.example'\n\
                    delegate = ['y@c.example', 'x@c.example']\n[[alias]]\naddress = 'I@c.example'\ntargets = ['a@C.example']\n";
        let mut ann = account("a@c.example");
        ann.delegated = vec!["x@c.example".into(), "y@c.example".into()];
        let current = Current {
            domains: vec![domain("c.example", None)],
            accounts: vec![ann],
            aliases: vec![alias("i@c.example", "a@c.example")],
        };
        for prune in [false, true] {
            let plan = plan(text, &current, prune).expect("possible");
            assert_eq!(told(&plan), [""; 0]);
            assert!(plan.kept.is_empty());
        }
    }

    #[test]
    fn keys_that_are_gone_return_to_their_defaults() {
        let mut ann = account("a@c.example");
        ann.listed.account.forward_to = vec!["x@d.example".into()];
        ann.listed.quota_messages = Some(5);
        let current = Current { domains: vec![domain("c.example", None)], accounts: vec![ann], ..Current::default() };
        let text =
            "[[domain]]\nname = 'c.example'\ncatch_all = ['a@c.example']\n[[account]]\naddress = 'a@c.example'\n";
        let plan = plan(text, &current, false).expect("possible");
        assert_eq!(
            told(&plan),
            [
                "Change domain c.example catch_all=>a@c.example",
                "Change account a@c.example quota_messages=5>unlimited forward_to=x@d.example>",
            ]
        );
    }

    #[test]
    fn what_is_not_in_the_file_goes_only_when_pruned() {
        let current = Current {
            domains: vec![domain("b.example", Some("d.example")), domain("c.example", None), domain("d.example", None)],
            accounts: vec![account("a@d.example")],
            aliases: vec![alias("i@c.example", "a@d.example")],
        };
        let text = "[[domain]]\nname = 'c.example'\n";
        let kept = plan(text, &current, false).expect("possible");
        assert_eq!(told(&kept), [""; 0]);
        assert_eq!(kept.kept.len(), 4);
        let pruned = plan(text, &current, true).expect("possible");
        assert_eq!(
            told(&pruned),
            [
                "Remove alias i@c.example",
                "Remove account a@d.example",
                "Remove domain b.example",
                "Remove domain d.example",
            ]
        );
        assert!(pruned.kept.is_empty());
    }

    #[test]
    fn a_changed_hash_is_a_change_and_an_upgraded_one_is_not() {
        let text = format!("[[account]]\naddress = 'a@c.example'\npassword_hash = '{HASH}'\n");
        let mut current = Current {
            domains: vec![domain("c.example", None)],
            accounts: vec![account("a@c.example")],
            ..Current::default()
        };
        let mut now = |stored: Option<&str>, applied: Option<&str>| {
            current.accounts[0].listed.account.password = stored.map(str::to_owned);
            current.accounts[0].applied = applied.map(fingerprint);
            told(&plan(&text, &current, false).expect("possible"))
        };
        assert_eq!(now(None, None), ["Change account a@c.example password=>(set)"]);
        assert_eq!(now(None, Some(HASH)), ["Change account a@c.example password=>(set)"]);
        assert_eq!(now(Some("$argon2id$other"), None), ["Change account a@c.example password=(set)>(changed)"]);
        assert_eq!(now(Some("$argon2id$other"), Some("{SSHA}old")).len(), 1);
        assert_eq!(now(Some("$argon2id$upgraded"), Some(HASH)), [""; 0]);
        assert_eq!(now(Some(HASH), None), [""; 0]);
        let plan = plan(&text, &Current { accounts: Vec::new(), ..current }, false).expect("possible");
        assert!(!format!("{plan:?}").contains(HASH));
    }

    #[test]
    fn impossible_rows_are_named() {
        let current = Current {
            domains: vec![domain("b.example", Some("c.example")), domain("c.example", None)],
            accounts: vec![account("a@c.example")],
            aliases: vec![alias("i@c.example", "a@c.example")],
        };
        let text = "[[account]]\naddress = 'i@c.example'\n[[alias]]\naddress = 'a@c.example'\ntargets = ['x@y.z']\n\
                    [[account]]\naddress = 'z@e.example'\n[[account]]\naddress = 'z@b.example'\n";
        assert_eq!(
            plan(text, &current, false).expect_err("impossible"),
            [
                "2: account[0].address: i@c.example is an alias: remove it, or let --prune do it",
                "4: alias[0].address: a@c.example is an account: remove it, or let --prune do it",
                "7: account[1].address: there is no domain e.example: declare it",
                "9: account[2].address: b.example is an alias of c.example: use c.example instead",
            ]
        );
        let pruned = plan(text, &current, true).expect_err("impossible");
        assert_eq!(
            pruned[0],
            "2: account[0].address: the domain c.example is not in this file, so pruning would remove it: declare it"
        );
        let respelt = "[[domain]]\nname = 'c.example'\nalias_of = 'd.example'\n[[domain]]\nname = 'd.example'\n";
        assert_eq!(
            plan(respelt, &current, false).expect_err("impossible"),
            ["3: domain[0].alias_of: c.example has 2 accounts and aliases, which an alias domain cannot have"]
        );
        let swapped = told(&plan(respelt, &current, true).expect("possible"));
        assert_eq!(
            swapped[2..],
            ["Remove domain b.example", "Add domain d.example", "Change domain c.example alias_of=>d.example"]
        );
        let declared = format!("{text}[[domain]]\nname = 'c.example'\n[[domain]]\nname = 'e.example'\n");
        let declared = declared.replace("z@b.example", "z@c.example");
        let swapped = plan(&declared, &current, true).expect("possible");
        assert_eq!(told(&swapped)[..2], ["Remove alias i@c.example", "Remove account a@c.example"]);
    }
}
