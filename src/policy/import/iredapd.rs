//! The tables of iRedAPD, and the lists that it keeps in Amavis' tables.
//!
//! | Table | Becomes |
//! |---|---|
//! | greylisting | for whom greylisting holds |
//! | greylisting_whitelists | who never waits |
//! | greylisting_whitelist_domains | domains whose servers never wait; their networks are looked up here |
//! | greylisting_tracking | clients that came back, if it is asked for |
//! | throttle | limits |
//! | wblist_rdns | lists of clients by name, for everybody |
//! | wblist, outbound_wblist, with users and mailaddr | lists |

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_config::{
    LimitKind, LimitPer, LimitWindow, PolicyGreylist, PolicyLimit, PolicyPattern, PolicyVerdict, Size, Span,
};
use posthorn_model::Domain;
use posthorn_store::foreign::ForeignRow;
use posthorn_store::policy::greylist::State;

use super::Tables;
use super::plan::{Order, Plan, Step};
use crate::greylist::network;

/// The table of clients that came back and of those that did not.
pub const TRIPLETS: &str = "greylisting_tracking";

/// Tables without their triplets.
const NAMES: [&str; 9] = [
    "greylisting",
    "greylisting_whitelists",
    "greylisting_whitelist_domains",
    "throttle",
    "wblist_rdns",
    "wblist",
    "outbound_wblist",
    "users",
    "mailaddr",
];

impl Tables {
    /// The tables that [`iredapd`] takes; with triplets, if those are wanted.
    #[must_use]
    pub fn of_iredapd(triplets: bool) -> Vec<&'static str> {
        NAMES.into_iter().chain(triplets.then_some(TRIPLETS)).collect()
    }
}

/// What follows of the tables.
#[must_use]
pub fn iredapd(tables: &Tables, section: &PolicyGreylist, now: DateTime<Utc>) -> Plan {
    let mut plan = Plan::default();
    for (table, take) in [
        ("greylisting", greylisting as fn(&mut Plan, &'static str, &ForeignRow)),
        ("greylisting_whitelists", whitelist),
        ("greylisting_whitelist_domains", white_domain),
        ("throttle", throttle),
        ("wblist_rdns", client_name),
    ] {
        if let Some(rows) = tables.of(table) {
            plan.read(table, rows.len());
            rows.iter().for_each(|row| take(&mut plan, table, row));
        }
    }
    let names = Names { users: emails(tables, "users"), mailaddr: emails(tables, "mailaddr") };
    for (table, outbound) in [("wblist", false), ("outbound_wblist", true)] {
        if let Some(rows) = tables.of(table) {
            plan.read(table, rows.len());
            rows.iter().for_each(|row| listed(&mut plan, (table, outbound), row, &names));
        }
    }
    if let Some(rows) = tables.of(TRIPLETS) {
        plan.read(TRIPLETS, rows.len());
        rows.iter().for_each(|row| triplet(&mut plan, row, section, now));
    }
    plan
}

/// A column's text; empty when it is NULL or not there.
fn text(row: &ForeignRow, column: &str) -> String {
    let value = row.get(column).and_then(Option::as_deref).unwrap_or_default().trim();
    value.strip_prefix("\\x").and_then(octets).unwrap_or_else(|| value.to_owned())
}

/// Text from its octets, as PostgreSQL writes a column of octets.
fn octets(digits: &str) -> Option<String> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let octets: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    String::from_utf8(octets?).ok()
}

fn number(row: &ForeignRow, column: &str) -> Option<i64> {
    text(row, column).parse().ok()
}

fn is_on(row: &ForeignRow) -> bool {
    // A table of an older version has no such column, and all its rows hold.
    matches!(text(row, "active").as_str(), "" | "1" | "t" | "true")
}

/// Whom an account of iRedAPD or Amavis means; the first is what it says, others follow from it.
fn patterns(account: &str) -> Result<Vec<PolicyPattern>, String> {
    let account = account.trim().to_lowercase();
    let refused = |why: &str| Err(format!("\"{account}\" {why}"));
    let mut found = match account.as_str() {
        "" => return refused("names nobody"),
        "@." | "@*" | "*" => return Ok(vec![PolicyPattern::Everyone]),
        "@ip" => return refused("means each client by itself, which is known of limits alone"),
        _ => Vec::new(),
    };
    if let Some(below) = account.strip_prefix("@.") {
        found.extend(format!("@.{below}").parse());
        if below.contains('.') {
            // There, what holds below a domain holds for the domain, too.
            found.extend(format!("@{below}").parse());
        }
    } else {
        if let Some((local, _)) = account.split_once('@')
            && local.contains('+')
        {
            return refused("has a detail, and lists here do not look at details");
        }
        found.extend(account.parse::<PolicyPattern>());
    }
    if found.is_empty() { refused("names nobody here") } else { Ok(found) }
}

/// Adds orders for each pair of whom two accounts mean.
fn pair(
    plan: &mut Plan,
    table: &'static str,
    (account, peer): (&str, &str),
    order: impl Fn(PolicyPattern, PolicyPattern) -> Order,
) {
    let row = format!("{account} {peer}");
    let (accounts, peers) = match (patterns(account), patterns(peer)) {
        (Ok(accounts), Ok(peers)) => (accounts, peers),
        (Err(why), _) | (_, Err(why)) => return plan.skip(table, &row, why),
    };
    for (i, account) in accounts.iter().enumerate() {
        if account.is_of_clients() {
            return plan.skip(table, &row, format!("{account} is a client, and not one of our people"));
        }
        for (j, peer) in peers.iter().enumerate() {
            let order = order(account.clone(), peer.clone());
            plan.steps.push(Step { table, row: row.clone(), order, implied: i + j > 0 });
        }
    }
}

fn greylisting(plan: &mut Plan, table: &'static str, row: &ForeignRow) {
    let state = if is_on(row) { State::On } else { State::Off };
    let order = |account, sender| Order::Greylist { account, sender, state };
    pair(plan, table, (&text(row, "account"), &text(row, "sender")), order);
}

fn whitelist(plan: &mut Plan, table: &'static str, row: &ForeignRow) {
    let order = |account, sender| Order::Greylist { account, sender, state: State::Exempt };
    let (account, sender) = (text(row, "account"), text(row, "sender"));
    let account = if account.is_empty() { "@." } else { &account };
    pair(plan, table, (account, &sender), order);
}

fn white_domain(plan: &mut Plan, table: &'static str, row: &ForeignRow) {
    let name = text(row, "domain");
    match Domain::parse(&name) {
        Ok(domain) => {
            plan.steps.push(Step { table, row: name, order: Order::WhiteDomain(domain), implied: false });
        }
        Err(error) => plan.skip(table, &name, error.to_string()),
    }
}

fn throttle(plan: &mut Plan, table: &'static str, row: &ForeignRow) {
    let (account, word) = (text(row, "account"), text(row, "kind"));
    let shown = format!("{word} {account}");
    let Some(kind) = LimitKind::ALL.into_iter().find(|kind| kind.name() == word) else {
        return plan.skip(table, &shown, format!("\"{word}\" is no kind of limit"));
    };
    let each_client = account.eq_ignore_ascii_case("@ip");
    let found = if each_client { Ok(vec![PolicyPattern::Everyone]) } else { patterns(&account) };
    let who = match found {
        Ok(who) => who,
        Err(why) => return plan.skip(table, &shown, why),
    };
    let period = number(row, "period").and_then(|seconds| u32::try_from(seconds).ok()).filter(|period| *period > 0);
    let Some(period) = period else {
        return plan.skip(table, &shown, "its period is no time");
    };
    // -1 there: what less specific rows say.
    let field = |column| number(row, column).and_then(|number| u64::try_from(number).ok());
    let fields = ["max_msgs", "max_quota", "max_rcpts", "msg_size"].map(field);
    if fields == [None; 4] {
        return plan.skip(table, &shown, "it limits nothing");
    }
    let [messages, octets, recipients, size] = fields;
    let per = match (each_client, who.first()) {
        (true, _) => LimitPer::Client,
        (false, Some(PolicyPattern::Network(network))) if !network.is_single() => LimitPer::Together,
        _ => LimitPer::Each,
    };
    for (at, who) in who.into_iter().enumerate() {
        let limit = PolicyLimit {
            kind,
            who,
            per,
            period: Span::from_secs(period),
            window: LimitWindow::Fixed,
            verdict: PolicyVerdict::Reject,
            messages,
            octets: octets.map(Size::bytes),
            recipients,
            size: size.map(Size::bytes),
        };
        plan.steps.push(Step { table, row: shown.clone(), order: Order::Limit(limit), implied: at > 0 });
    }
}

fn client_name(plan: &mut Plan, table: &'static str, row: &ForeignRow) {
    let (name, word) = (text(row, "rdns"), text(row, "wb"));
    let Some(black) = black(plan, table, &name, &word) else { return };
    match format!("~{name}").parse::<PolicyPattern>() {
        Ok(peer) => {
            if !black {
                plan.change(
                    table,
                    &name,
                    "a name counts only when the DNS confirms it, and spares all checks for spam",
                );
            }
            let order = Order::Listed { outbound: false, account: PolicyPattern::Everyone, peer, black };
            plan.steps.push(Step { table, row: name, order, implied: false });
        }
        Err(error) => plan.skip(table, &name, error.to_string()),
    }
}

/// Which list a row of them means; `None` when it is neither.
fn black(plan: &mut Plan, table: &'static str, row: &str, word: &str) -> Option<bool> {
    match word {
        "W" | "w" => return Some(false),
        "B" | "b" => return Some(true),
        "" => plan.skip(table, row, "it is neutral; the most specific row decides here, and it would decide nothing"),
        score if score.parse::<f64>().is_ok() => plan.skip(table, row, format!("a score of {score} is neither list")),
        other => plan.skip(table, row, format!("\"{other}\" is neither list")),
    }
    None
}

/// Addresses by their numbers: of our people, and of others.
struct Names {
    users: HashMap<String, String>,
    mailaddr: HashMap<String, String>,
}

fn emails(tables: &Tables, table: &str) -> HashMap<String, String> {
    let rows = tables.of(table).unwrap_or_default();
    rows.iter().map(|row| (text(row, "id"), text(row, "email"))).collect()
}

/// Inbound, `rid` is one of us who gets mail and `sid` another who sends it; outbound, `sid` is one of us who sends.
fn listed(plan: &mut Plan, (table, outbound): (&'static str, bool), row: &ForeignRow, names: &Names) {
    let (recipient, sender) = (text(row, "rid"), text(row, "sid"));
    let (ours, theirs) = if outbound { (&sender, &recipient) } else { (&recipient, &sender) };
    let (Some(account), Some(peer)) = (names.users.get(ours), names.mailaddr.get(theirs)) else {
        let why = "users or mailaddr holds no such number: name the database that has these tables, too";
        return plan.skip(table, &format!("rid {recipient} sid {sender}"), why);
    };
    let shown = format!("{account} {peer}");
    let Some(black) = black(plan, table, &shown, &text(row, "wb")) else { return };
    if outbound && patterns(peer).is_ok_and(|all| all[0].is_of_clients()) {
        return plan.skip(table, &shown, "mail goes to addresses and domains, and this is a client");
    }
    pair(plan, table, (account, peer), |account, peer| Order::Listed { outbound, account, peer, black });
}

fn triplet(plan: &mut Plan, row: &ForeignRow, section: &PolicyGreylist, now: DateTime<Utc>) {
    let (client, sender, recipient) = (text(row, "client_address"), text(row, "sender"), text(row, "recipient"));
    let shown = format!("{client} {sender} {recipient}");
    if !matches!(text(row, "passed").as_str(), "1" | "t" | "true") {
        return plan.skip(TRIPLETS, &shown, "it has not come back yet, and begins anew here");
    }
    let Ok(client) = client.parse::<IpAddr>() else {
        return plan.skip(TRIPLETS, &shown, "it names no client by address");
    };
    let moment = |column| number(row, column).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    if moment("record_expired").is_some_and(|ends| ends <= now) {
        return plan.skip(TRIPLETS, &shown, "it was to be forgotten by now");
    }
    let passed_at = moment("block_expired").unwrap_or(now).min(now);
    let order = Order::Client { network: network(section, client), passed_at: passed_at.max(now - LONG_AGO) };
    plan.steps.push(Step { table: TRIPLETS, row: shown, order, implied: false });
}

/// No moment of another program is taken for an earlier one.
const LONG_AGO: Duration = Duration::from_secs(400 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[(&str, &str)]) -> ForeignRow {
        fields.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect()
    }

    /// A row: columns and values.
    type Columns<'a> = &'a [(&'a str, &'a str)];

    fn tables(all: &[(&str, &[Columns<'_>])]) -> Tables {
        let mut tables = Tables::default();
        for (name, rows) in all {
            tables.found(name);
            tables.add(name, rows.iter().map(|fields| row(fields)).collect()).expect("a few");
        }
        tables
    }

    fn orders(tables: &Tables) -> Vec<Order> {
        let plan = iredapd(tables, &PolicyGreylist::default(), DateTime::UNIX_EPOCH);
        plan.steps.into_iter().map(|step| step.order).collect()
    }

    #[test]
    fn accounts_are_patterns() {
        let shown = |account: &str| {
            patterns(account).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (account, pattern) in [
            ("@.", "*"),
            ("@Example.org", "@example.org"),
            ("@.example.org", "@.example.org @example.org"),
            ("@.org", "@.org"),
            ("User@example.org", "user@example.org"),
            ("user@*", "user@*"),
            ("192.168.*.*", "192.168.0.0/16"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(shown(account).as_deref(), Ok(pattern), "{account}");
        }
        for nonsense in ["", "@ip", "user", "user+detail@example.org", "@@", "192.*.2.*"] {
            assert!(shown(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn limits_inherit_and_lift() {
        let found = orders(&tables(&[(
            "throttle",
            &[
                &[
                    ("account", "@."),
                    ("kind", "outbound"),
                    ("period", "60"),
                    ("max_msgs", "5"),
                    ("max_quota", "-1"),
                    ("msg_size", "0"),
                ],
                &[("account", "@ip"), ("kind", "external"), ("period", "60"), ("max_rcpts", "9")],
                &[("account", "@."), ("kind", "sideways"), ("period", "60"), ("max_msgs", "5")],
                &[("account", "@."), ("kind", "inbound"), ("period", "0"), ("max_msgs", "5")],
                &[("account", "@."), ("kind", "inbound"), ("period", "60"), ("max_msgs", "-1")],
            ],
        )]));
        let [Order::Limit(first), Order::Limit(second)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((first.messages, first.octets, first.size), (Some(5), None, Some(Size::bytes(0))));
        assert_eq!((first.kind, first.per, first.period), (LimitKind::Outbound, LimitPer::Each, Span::from_secs(60)));
        assert_eq!((second.per, second.recipients), (LimitPer::Client, Some(9)));
    }

    #[test]
    fn lists_have_two_directions() {
        let found = orders(&tables(&[
            ("users", &[&[("id", "1"), ("email", "\\x406578616d706c652e6f7267")]]),
            ("mailaddr", &[&[("id", "7"), ("email", "bad@example.com")], &[("id", "8"), ("email", "192.0.2.1")]]),
            (
                "wblist",
                &[
                    &[("rid", "1"), ("sid", "7"), ("wb", "B")],
                    &[("rid", "1"), ("sid", "8"), ("wb", "W")],
                    &[("rid", "1"), ("sid", "9"), ("wb", "W")],
                    &[("rid", "1"), ("sid", "7"), ("wb", "5.5")],
                ],
            ),
            (
                "outbound_wblist",
                &[&[("rid", "7"), ("sid", "1"), ("wb", "B")], &[("rid", "8"), ("sid", "1"), ("wb", "B")]],
            ),
            ("wblist_rdns", &[&[("rdns", ".dyn.example.net"), ("wb", "B")]]),
        ]));
        let shown: Vec<_> = found
            .iter()
            .map(|order| match order {
                Order::Listed { outbound, account, peer, black } => format!("{outbound} {account} {peer} {black}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "false * ~.dyn.example.net true",
                "false @example.org bad@example.com true",
                "false @example.org 192.0.2.1 false",
                "true @example.org bad@example.com true",
            ]
        );
    }

    #[test]
    fn clients_that_came_back_are_known() {
        let found = orders(&tables(&[(
            TRIPLETS,
            &[
                &[("client_address", "192.0.2.1"), ("passed", "1"), ("record_expired", "100")],
                &[("client_address", "192.0.2.2"), ("passed", "0"), ("record_expired", "100")],
                &[("client_address", "192.0.2.3"), ("passed", "1"), ("record_expired", "-100")],
                &[("client_address", "somebody"), ("passed", "1"), ("record_expired", "100")],
            ],
        )]));
        assert!(matches!(&found[..], [Order::Client { network, .. }] if network.starts_with("192.0.2.")), "{found:?}");
    }
}
