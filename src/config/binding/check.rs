//! Bindings and groups that cannot be meant.

use std::net::IpAddr;

use super::Binding;
use crate::check::{Checker, Names};
use crate::delivery::{Rows, options};

/// The most addresses of one family: the source of a connection is chosen among them one by one.
const MOST_ADDRESSES: usize = 8;

/// Judges bindings and groups.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let config = checker.config();
    let groups: Vec<_> = config.binding_group.iter().map(|row| row.name.as_str()).collect();
    let mut names = Names::new("binding");
    for (at, row) in config.binding.iter().enumerate() {
        let key = format!("binding[{at}]");
        names.take(checker, &format!("{key}.name"), &row.name);
        if let Some(group) = &row.group {
            checker.known(&format!("{key}.group"), ("binding group", group), &groups);
        }
        addresses(checker, &key, row);
        options(checker, &key, &row.options);
        let mut rows = Rows::default();
        for (on, inner) in row.domain.iter().enumerate() {
            let key = format!("{key}.domain[{on}]");
            rows.row(checker, &key, ("", inner.name.as_ref(), inner.pattern.as_ref()));
            options(checker, &key, &inner.options);
        }
    }
    let bindings: Vec<_> = config.binding.iter().map(|row| row.name.as_str()).collect();
    let mut names = Names::new("binding group");
    for (at, row) in config.binding_group.iter().enumerate() {
        let key = format!("binding_group[{at}]");
        names.take(checker, &format!("{key}.name"), &row.name);
        options(checker, &key, &row.options);
        let mut rows = Rows::default();
        for (on, inner) in row.domain.iter().enumerate() {
            let key = format!("{key}.domain[{on}]");
            rows.row(
                checker,
                &key,
                (inner.binding.as_deref().unwrap_or(""), inner.name.as_ref(), inner.pattern.as_ref()),
            );
            options(checker, &key, &inner.options);
            let Some(binding) = &inner.binding else { continue };
            let key = format!("{key}.binding");
            checker.known(&key, ("binding", binding), &bindings);
            let member = config.binding.iter().find(|member| member.name == *binding);
            if member.is_some_and(|member| member.group.as_deref() != Some(row.name.as_str())) {
                let message = format!("the binding \"{binding}\" is not in the group \"{}\"", row.name);
                checker.refuse(&key, message);
            }
        }
    }
}

fn addresses(checker: &mut Checker<'_>, key: &str, row: &Binding) {
    let (mut four, mut six) = (0, 0);
    for (at, address) in row.addresses.iter().enumerate() {
        let key = format!("{key}.addresses[{at}]");
        let address = address.to_canonical();
        let count = match address {
            IpAddr::V4(_) => &mut four,
            IpAddr::V6(_) => &mut six,
        };
        *count += 1;
        let reason = if address.is_unspecified() || address.is_multicast() {
            "is no address of one machine; leave addresses out and the system chooses"
        } else if row.addresses[..at].iter().any(|other| other.to_canonical() == address) {
            "is here twice"
        } else if *count == MOST_ADDRESSES + 1 {
            "is one too many: a binding has at most 8 addresses of each family; make several and a binding_group"
        } else {
            continue;
        };
        checker.refuse(&key, format!("{address} {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    /// A binding with more lines, which begin with line 3.
    fn binding(lines: &str) -> Vec<String> {
        problems(&format!("[[binding]]\nname = 'a'\n{lines}\n"))
    }

    #[test]
    fn groups_and_members_know_each_other() {
        let group = "[[binding_group]]\nname = 'pool'\n[[binding_group]]\nname = 'other'\n";
        assert_eq!(problems(&format!("{group}[[binding]]\nname = 'a'\ngroup = 'pool'\n")), [""; 0]);
        assert_eq!(
            problems(&format!("{group}[[binding]]\nname = 'a'\ngroup = 'pol'\n")),
            ["posthorn.toml:7: binding[0].group: no binding group \"pol\" (did you mean \"pool\"?)"]
        );
        assert_eq!(binding("group = 'g'"), ["posthorn.toml:3: binding[0].group: no binding group \"g\""]);
        let row = "[[binding]]\nname = 'alpha'\ngroup = 'other'\n[[binding_group]]\nname = 'other'\n\
                   [[binding_group]]\nname = 'pool'\n[[binding_group.domain]]\nname = 'a.example'\nbinding = ";
        assert_eq!(
            problems(&format!("{row}'alpa'\n")),
            ["posthorn.toml:10: binding_group[1].domain[0].binding: no binding \"alpa\" (did you mean \"alpha\"?)"]
        );
        assert_eq!(
            problems(&format!("{row}'alpha'\n")),
            [
                "posthorn.toml:10: binding_group[1].domain[0].binding: the binding \"alpha\" is not in the group \"pool\""
            ]
        );
    }

    #[test]
    fn names_are_unique_and_fit_for_commands() {
        assert_eq!(
            problems("[[binding]]\nname = 'a'\n[[binding]]\nname = 'a'\n[[binding_group]]\nname = 'a b'\n"),
            [
                "posthorn.toml:4: binding[1].name: the binding name \"a\" is taken at posthorn.toml:2",
                "posthorn.toml:6: binding_group[0].name: \"a b\" is no name; write up to 64 ASCII letters, digits, '-', '_' and '.'",
            ]
        );
        for name in ["", "a:b", "\u{e4}", &"a".repeat(65)] {
            assert_eq!(problems(&format!("[[binding]]\nname = '{name}'\n")).len(), 1, "{name}");
        }
    }

    #[test]
    fn addresses_are_addresses_of_machines() {
        assert_eq!(binding("addresses = ['192.0.2.1', '2001:db8::1']\nhostname = 'mail.example.org'"), [""; 0]);
        assert_eq!(
            binding("addresses = [\n'mail.example.org',\n'192.0.2.1/24']"),
            [
                "posthorn.toml:4: binding[0].addresses[0]: \"mail.example.org\" is not an IP address",
                "posthorn.toml:5: binding[0].addresses[1]: \"192.0.2.1/24\" is not an IP address",
            ]
        );
        assert_eq!(
            binding("addresses = ['192.0.2.1', '::ffff:192.0.2.1']"),
            ["posthorn.toml:3: binding[0].addresses[1]: 192.0.2.1 is here twice"]
        );
        assert!(binding("addresses = ['0.0.0.0']")[0].contains("0.0.0.0 is no address of one machine"));
        let many: Vec<_> = (1..=10).map(|host| format!("'192.0.2.{host}'")).collect();
        let found = binding(&format!("addresses = [{}, '::1']", many.join(", ")));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("addresses[8]: 192.0.2.9 is one too many"), "{found:#?}");
        assert!(binding("hostname = 'a b'")[0].contains("\"a b\" is not a host name"));
    }

    #[test]
    fn options_of_every_scope_are_judged() {
        assert_eq!(
            problems(
                "[[binding]]\nname = 'a'\nretry_first = '2 h'\nretry_most = '1 h'\n\
                 [[binding.domain]]\nname = 'a.example'\nconnect_time = 0\n\
                 [[binding_group]]\nname = 'g'\nexpire = 0\n[[binding_group.domain]]\nrecipients_per_message = 5\n"
            ),
            [
                "posthorn.toml:3: binding[0].retry_first: the first wait, 2 h, is longer than the longest, 1 h",
                "posthorn.toml:7: binding[0].domain[0].connect_time: connect_time cannot be no time at all",
                "posthorn.toml:10: binding_group[0].expire: expire cannot be no time at all",
                "posthorn.toml:11: binding_group[0].domain[0].name: write which domains: name or pattern",
            ]
        );
    }
}
