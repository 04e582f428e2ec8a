//! Routes that cannot be meant.

use std::collections::HashMap;
use std::path::Path;

use super::{Next, Route};
use crate::check::{Checker, Names, place};
use crate::{DomainRange, TlsDemand};

/// Judges the routes as written.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let config = checker.config();
    let bindings: Vec<_> = config.binding.iter().map(|row| row.name.as_str()).collect();
    let groups: Vec<_> = config.binding_group.iter().map(|row| row.name.as_str()).collect();
    let mut names = Names::new("route");
    let mut seen = HashMap::new();
    for (at, row) in config.route.iter().enumerate() {
        let key = format!("route[{at}]");
        if let Some(name) = &row.name {
            names.take(checker, &format!("{key}.name"), name);
        }
        conditions(checker, &key, row, &mut seen);
        login(checker, &key, row);
        if let Some(binding) = row.binding.as_ref().filter(|name| *name != crate::Binding::DEFAULT) {
            checker.known(&format!("{key}.binding"), ("binding", binding), &bindings);
        }
        let Some(group) = &row.binding_group else { continue };
        let key = format!("{key}.binding_group");
        checker.known(&key, ("binding group", group), &groups);
        if row.binding.is_some() {
            checker.refuse(&key, "write binding or binding_group, not both");
        } else if groups.contains(&group.as_str())
            && !config.binding.iter().any(|member| member.group.as_ref() == Some(group))
        {
            checker.refuse(&key, format!("the binding group \"{group}\" has no binding to send from"));
        }
    }
}

/// Judges the files that routes name.
pub(crate) fn files(checker: &mut Checker<'_>) {
    for (at, row) in checker.config().route.iter().enumerate() {
        if let Some(file) = &row.password_file
            && let Err(reason) = password(file)
        {
            checker.refuse(&format!("route[{at}].password_file"), format!("{} {reason}", file.display()));
        }
    }
}

/// Whether a file holds a password.
fn password(file: &Path) -> Result<(), String> {
    let content = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    let first = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(first).map_err(|_| "holds no text".to_owned())?;
    if text.trim().is_empty() { Err("holds no password in its first line".to_owned()) } else { Ok(()) }
}

fn conditions(checker: &mut Checker<'_>, key: &str, row: &Route, seen: &mut HashMap<String, String>) {
    if row.recipients.is_empty() && row.senders.is_empty() && row.accounts.is_empty() {
        let message = "a route needs recipients, senders or accounts; for all mail write recipients = [\"*\"]";
        return checker.refuse(&format!("{key}.recipients"), message);
    }
    let every = || vec![DomainRange::EVERY.to_owned()];
    let ranges = |written: &[DomainRange]| match written {
        [] => every(),
        some => some.iter().map(ToString::to_string).collect(),
    };
    let (recipients, senders) = (ranges(&row.recipients), ranges(&row.senders));
    let accounts: Vec<_> = match row.accounts.as_slice() {
        [] => every(),
        some => some.iter().map(|account| account.to_string().to_lowercase()).collect(),
    };
    for recipient in &recipients {
        for (sender, account) in senders.iter().flat_map(|sender| accounts.iter().map(move |account| (sender, account)))
        {
            let mail = format!("{recipient} {sender} {account}");
            if let Some(first) = seen.get(&mail).filter(|first| *first != key) {
                let place = place(&checker.origin(first));
                return checker.refuse(key, format!("the mail of this route has one already{place}"));
            }
            seen.insert(mail, key.to_owned());
        }
    }
}

fn login(checker: &mut Checker<'_>, key: &str, row: &Route) {
    if row.user.is_some() != row.password_file.is_some() {
        let missing = if row.user.is_some() { "password_file" } else { "user" };
        checker.refuse(&format!("{key}.{missing}"), "user and password_file come together");
    }
    if row.user.is_some() && !matches!(row.to, Next::Smtp { .. } | Next::Lmtp { .. }) {
        checker.refuse(&format!("{key}.user"), format!("nobody logs in at {}", row.to));
    }
    if row.user.is_some() && row.tls == Some(TlsDemand::Never) {
        checker.refuse(&format!("{key}.tls"), "a password is only sent under TLS, which tls = \"never\" rules out");
    }
    if row.tls == Some(TlsDemand::Never) && matches!(row.to, Next::Smtp { implicit_tls: true, .. }) {
        checker.refuse(&format!("{key}.tls"), format!("{} begins with TLS, which tls = \"never\" rules out", row.to));
    }
    if row.tls.is_some() && !matches!(row.to, Next::Mx | Next::Smtp { .. } | Next::Lmtp { .. }) {
        checker.refuse(&format!("{key}.tls"), format!("there is no TLS at {}", row.to));
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::{folder, problems};

    /// A route for everything with more lines, which begin with line 3.
    fn route(lines: &str) -> Vec<String> {
        problems(&format!("[[route]]\nrecipients = ['*']\n{lines}\n"))
    }

    #[test]
    fn sources_are_known() {
        for (lines, expected) in [
            ("binding = 'a'", "3: route[0].binding: no binding \"a\""),
            ("binding_group = 'g'", "3: route[0].binding_group: no binding group \"g\""),
            (
                "binding = 'alhpa'\n[[binding]]\nname = 'alpha'",
                "3: route[0].binding: no binding \"alhpa\" (did you mean \"alpha\"?)",
            ),
            (
                "binding_group = 'g'\n[[binding_group]]\nname = 'g'",
                "3: route[0].binding_group: the binding group \"g\" has no binding to send from",
            ),
            (
                "binding_group = 'g'\nbinding = 'a'\n[[binding_group]]\nname = 'g'\n[[binding]]\nname = 'a'\ngroup = 'g'",
                "3: route[0].binding_group: write binding or binding_group, not both",
            ),
        ] {
            assert_eq!(route(lines), [format!("posthorn.toml:{expected}")]);
        }
        assert_eq!(route("binding = 'default'"), [""; 0]);
    }

    #[test]
    fn every_route_has_mail_of_its_own() {
        assert_eq!(
            problems("[[route]]\nto = 'discard'\n"),
            [
                "posthorn.toml:1: route[0].recipients: a route needs recipients, senders or accounts; for all mail write recipients = [\"*\"]"
            ]
        );
        assert_eq!(
            route("[[route]]\nrecipients = ['a.example', '*']"),
            ["posthorn.toml:3: route[1]: the mail of this route has one already at posthorn.toml:1"]
        );
        assert_eq!(route("[[route]]\nsenders = ['*']").len(), 1);
        assert_eq!(route("[[route]]\nrecipients = ['*']\nsenders = ['a.example']"), [""; 0]);
        assert_eq!(route("[[route]]\nrecipients = ['a.example', 'A.example']"), [""; 0]);
        let accounts = |account: &str| format!("[[route]]\naccounts = ['{account}']\n");
        assert_eq!(problems(&[accounts("a@b.example"), accounts("A@B.example")].concat()).len(), 1);
        assert_eq!(
            problems(&accounts("nobody")),
            ["posthorn.toml:2: route[0].accounts[0]: \"nobody\" is not a mail address: address has no domain"]
        );
        assert_eq!(
            problems(
                "[[route]]\nname = 'a'\nsenders = ['a.example']\n[[route]]\nname = 'a'\nsenders = ['b.example']\n"
            ),
            ["posthorn.toml:5: route[1].name: the route name \"a\" is taken at posthorn.toml:2"]
        );
    }

    #[test]
    fn next_hops_are_refused_in_their_own_words() {
        assert_eq!(
            route("to = 'relay.example'"),
            [
                "posthorn.toml:3: route[0].to: \"relay.example\" is not a next hop; write mx, smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT, lmtp:/SOCKET, discard or reject: TEXT"
            ]
        );
    }

    #[test]
    fn logins_are_possible() {
        let folder = folder();
        let path = folder.path().join("password");
        let shown = path.display();
        let login = format!("user = 'u'\npassword_file = '{shown}'\n");
        let to = |next: &str| route(&format!("to = '{next}'\n{login}"));
        assert!(
            to("smtp://a.example")[0]
                .starts_with(&format!("posthorn.toml:5: route[0].password_file: {shown} cannot be read: "))
        );
        std::fs::write(&path, "\nsecret").expect("written");
        assert_eq!(
            to("smtp://a.example"),
            [format!("posthorn.toml:5: route[0].password_file: {shown} holds no password in its first line")]
        );
        std::fs::write(&path, "secret\n").expect("written");
        assert_eq!(to("smtp://a.example"), [""; 0]);
        assert_eq!(to("mx"), ["posthorn.toml:4: route[0].user: nobody logs in at mx"]);
        assert_eq!(
            route("to = 'smtp://a.example'\nuser = 'u'"),
            ["posthorn.toml:1: route[0].password_file: user and password_file come together"]
        );
        assert_eq!(
            route(&format!("to = 'smtp://a.example'\n{login}tls = 'never'")),
            ["posthorn.toml:6: route[0].tls: a password is only sent under TLS, which tls = \"never\" rules out"]
        );
        assert_eq!(
            route("to = 'smtps://a.example'\ntls = 'never'"),
            ["posthorn.toml:4: route[0].tls: smtps://a.example:465 begins with TLS, which tls = \"never\" rules out"]
        );
        assert_eq!(
            route("to = 'discard'\ntls = 'required'"),
            ["posthorn.toml:4: route[0].tls: there is no TLS at discard"]
        );
    }
}
