//! What the sections say together: things that no single value is wrong about.

use std::collections::HashMap;
use std::path::Path;

use crate::problem::nearest;
use crate::{
    Config, Endpoint, Listener, Loaded, Network, Origin, Peer, PeerOptions, Problem, Speaks, TlsMode, binding,
    delivery, delivery_rule, exposure, filter, policy, quarantine, queue, route, scanner,
};

/// Judges a configuration as a whole: unique names and addresses, internal services, options that only make sense
/// for named peers, certificates that can be read. Reads files, opens no socket.
#[must_use]
pub fn check(loaded: &Loaded) -> Vec<Problem> {
    let mut checker = Checker { loaded, problems: check_without_files(loaded) };
    checker.certificates();
    checker.secrets();
    route::files(&mut checker);
    checker.problems
}

/// The same without reading certificates and keys, for a machine that is not the one that will run.
#[must_use]
pub fn check_without_files(loaded: &Loaded) -> Vec<Problem> {
    let mut checker = Checker { loaded, problems: Vec::new() };
    checker.names();
    checker.folders();
    checker.addresses();
    for (at, listener) in loaded.config.listener.iter().enumerate() {
        checker.listener(listener, &format!("listener[{at}]"));
    }
    checker.selectors();
    for judge in [
        queue::check,
        delivery::check,
        binding::check,
        route::check,
        delivery_rule::check,
        policy::check,
        scanner::check,
        filter::check,
        quarantine::check,
    ] {
        judge(&mut checker);
    }
    checker.problems
}

/// What is wrong, as it is found.
pub(crate) struct Checker<'l> {
    loaded: &'l Loaded,
    problems: Vec<Problem>,
}

/// The names of one kind of rows, as they are taken.
pub(crate) struct Names {
    noun: &'static str,
    seen: HashMap<String, String>,
}

impl Names {
    /// No name is taken yet.
    pub(crate) fn new(noun: &'static str) -> Self {
        Self { noun, seen: HashMap::new() }
    }

    /// Takes a name, or says why it cannot be one. Names go into commands, logs and the names of buckets.
    pub(crate) fn take(&mut self, checker: &mut Checker<'_>, key: &str, name: &str) {
        let noun = self.noun;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            let message = format!("\"{name}\" is no name; write up to 64 ASCII letters, digits, '-', '_' and '.'");
            checker.refuse(key, message);
        } else if let Some(first) = self.seen.get(name) {
            let place = place(&checker.origin(first));
            checker.refuse(key, format!("the {noun} name \"{name}\" is taken{place}"));
        } else {
            self.seen.insert(name.to_owned(), key.to_owned());
        }
    }
}

impl<'l> Checker<'l> {
    /// What is judged.
    pub(crate) fn config(&self) -> &'l Config {
        &self.loaded.config
    }

    /// Where a key, or the nearest thing around it, was written.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.loaded.origin_around(key)
    }

    /// Whether a key itself was written.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.loaded.origin(key) != Origin::Default
    }

    /// Refuses a name that no row has, with what was probably meant.
    pub(crate) fn known(&mut self, key: &str, (noun, name): (&str, &str), known: &[&str]) {
        if !known.contains(&name) {
            let all = || (!known.is_empty()).then(|| format!("known: {}", known.join(", ")));
            let hint = nearest(name, known.iter().copied()).or_else(all);
            let problem = Problem::new(&self.loaded.origin_around(key), key, format!("no {noun} \"{name}\""));
            self.problems.push(problem.hinted(hint));
        }
    }

    pub(crate) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(&self.loaded.origin_around(key), key, message));
    }

    fn names(&mut self) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (at, listener) in self.loaded.config.listener.iter().enumerate() {
            let key = format!("listener[{at}].name");
            if listener.name.is_empty() {
                self.refuse(&key, "a listener needs a name");
            } else if let Some(first) = seen.get(listener.name.as_str()) {
                let place = place(&self.loaded.origin_around(&format!("listener[{first}].name")));
                self.refuse(&key, format!("the listener name \"{}\" is taken{place}", listener.name));
            } else {
                seen.insert(&listener.name, at);
            }
        }
    }

    fn folders(&mut self) {
        let folders = &self.loaded.config.mail.folders;
        let named = [
            ("archive", &folders.archive),
            ("drafts", &folders.drafts),
            ("junk", &folders.junk),
            ("sent", &folders.sent),
            ("trash", &folders.trash),
        ];
        for (at, (key, name)) in named.iter().enumerate() {
            let key = format!("mail.folders.{key}");
            if name.is_empty() || name.eq_ignore_ascii_case("INBOX") {
                self.refuse(&key, format!("\"{name}\" cannot be the name of a special mailbox"));
            } else if let Some((other, _)) = named[..at].iter().find(|(_, earlier)| earlier == name) {
                self.refuse(&key, format!("the mailbox name \"{name}\" is taken by mail.folders.{other}"));
            }
        }
    }

    fn addresses(&mut self) {
        let bound = |listener: &Listener, endpoint: &Endpoint| listener.enable && endpoint.enable;
        let mut seen: Vec<(String, &Listener, &Endpoint)> = Vec::new();
        for (at, listener) in self.loaded.config.listener.iter().enumerate() {
            for (on, endpoint) in listener.listen.iter().enumerate().filter(|(_, e)| bound(listener, e)) {
                let key = format!("listener[{at}].listen[{on}]");
                let earlier = seen.iter().find(|(_, _, other)| other.address.overlaps(&endpoint.address));
                if let Some((first, owner, other)) = earlier {
                    let place = place(&self.loaded.origin_around(first));
                    let how = if other.address == endpoint.address { "is" } else { "overlaps" };
                    let message = format!(
                        "the address {} {how} {} of listener \"{}\"{place}",
                        endpoint.address, other.address, owner.name
                    );
                    self.refuse(&key, message);
                }
                seen.push((key, listener, endpoint));
            }
        }
    }

    fn listener(&mut self, listener: &Listener, key: &str) {
        if listener.listen.is_empty() {
            self.refuse(&format!("{key}.listen"), "a listener needs at least one address");
        }
        if listener.speaks.tls_mode() == TlsMode::Implicit && listener.tls_mode() != TlsMode::Implicit {
            let message = format!("{} begins with TLS; tls can only be \"implicit\"", listener.speaks.name());
            self.refuse(&format!("{key}.tls"), message);
        }
        if listener.tls_mode() == TlsMode::None && !listener.client_certificate.is_none() {
            self.refuse(&format!("{key}.client_certificate"), "client certificates need tls");
        }
        if !listener.client_certificate.is_none() && self.loaded.config.tls.client_ca.is_none() {
            self.refuse(
                &format!("{key}.client_certificate"),
                "client certificates need tls.client_ca to be verified with",
            );
        }
        if listener.certificate.is_some() != listener.key.is_some() {
            self.refuse(&format!("{key}.certificate"), "certificate and key come together");
        }
        self.peers(listener, &listener.peer, key);
        self.unnamed(&listener.options, key);
        self.size(&listener.options, key);
        for (on, endpoint) in listener.listen.iter().enumerate() {
            let key = format!("{key}.listen[{on}]");
            self.peers(listener, &endpoint.peer, &key);
            self.unnamed(&endpoint.options, &key);
            self.size(&endpoint.options, &key);
            if let Err(exposed) = exposure(listener, endpoint, None) {
                self.refuse(&key, format!("{}: {exposed}", endpoint.address));
            }
        }
    }

    fn peers(&mut self, listener: &Listener, peers: &[Peer], key: &str) {
        let mut seen: HashMap<Network, usize> = HashMap::new();
        for (at, peer) in peers.iter().enumerate() {
            if let Some(first) = seen.insert(peer.network, at) {
                let place = place(&self.loaded.origin_around(&format!("{key}.peer[{first}].network")));
                let message = format!("the network {} has a block already{place}", peer.network);
                self.refuse(&format!("{key}.peer[{at}].network"), message);
            }
            let key = format!("{key}.peer[{at}]");
            self.size(&peer.options, &key);
            self.relay(listener, peer, &key);
        }
    }

    fn size(&mut self, options: &PeerOptions, key: &str) {
        let most = self.loaded.config.mail.max_message_size;
        if let Some(size) = options.max_message_size.filter(|size| *size > most) {
            self.refuse(&format!("{key}.max_message_size"), format!("{size} is above mail.max_message_size, {most}"));
        }
    }

    /// Options that hand over trust, and so are only for networks that were named.
    fn unnamed(&mut self, options: &PeerOptions, key: &str) {
        let trusting = [
            ("xclient", options.xclient, "trusts the client's word"),
            ("xforward", options.xforward, "trusts the client's word"),
            ("proxy_protocol", options.proxy_protocol, "trusts the client's word"),
            ("relay", options.relay, "opens the way to other hosts"),
        ];
        for (name, _, why) in trusting.into_iter().filter(|(_, value, _)| *value == Some(true)) {
            let message = format!("{name} {why}; set it in a peer block that names the network");
            self.refuse(&format!("{key}.{name}"), message);
        }
    }

    /// Whoever may relay is named: a network of half the world is none.
    fn relay(&mut self, listener: &Listener, peer: &Peer, key: &str) {
        if peer.options.relay != Some(true) || peer.options.deny == Some(true) {
            return;
        }
        let key = format!("{key}.relay");
        if listener.speaks != Speaks::Smtp {
            let message = format!("{} does not relay; relay is for smtp listeners", listener.speaks.name());
            self.refuse(&key, message);
        } else if peer.network.is_vast() && !listener.exposed {
            let message = format!(
                "relay = true for {} is an open relay; name smaller networks, or set exposed = true at the listener if something else keeps strangers out",
                peer.network
            );
            self.refuse(&key, message);
        }
    }

    /// Every configured file, by the key that names it.
    fn certificates(&mut self) {
        let config = &self.loaded.config;
        let tls = &config.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            self.refuse("tls.certificate", "certificate and key come together");
        }
        self.pem("tls.certificate", tls.certificate.as_deref(), CERTIFICATE);
        self.pem("tls.key", tls.key.as_deref(), KEY);
        self.pem("tls.client_ca", tls.client_ca.as_deref(), CERTIFICATE);
        self.pem("tls.authorities", tls.authorities.as_deref(), CERTIFICATE);
        for (at, pair) in tls.certificates.iter().enumerate() {
            self.pem(&format!("tls.certificates[{at}].certificate"), Some(&pair.certificate), CERTIFICATE);
            self.pem(&format!("tls.certificates[{at}].key"), Some(&pair.key), KEY);
        }
        for (at, listener) in config.listener.iter().enumerate() {
            self.pem(&format!("listener[{at}].certificate"), listener.certificate.as_deref(), CERTIFICATE);
            self.pem(&format!("listener[{at}].key"), listener.key.as_deref(), KEY);
        }
    }

    /// Files of keys that are not PEM, and what DNS is checked with.
    fn secrets(&mut self) {
        let config = self.config();
        self.octets("dkim.master_key", config.dkim.master_key.as_deref(), (32, 32));
        self.octets("srs.secret", config.srs.secret.as_deref(), (16, usize::MAX));
        self.octets("dns.trust_anchor", config.dns.trust_anchor.as_deref(), (1, usize::MAX));
        for (at, key) in config.dkim.key.iter().enumerate() {
            self.pem(&format!("dkim.key[{at}].file"), Some(&key.file), KEY);
        }
    }

    /// A file that can be read and has so many octets.
    fn octets(&mut self, key: &str, path: Option<&Path>, (least, most): (usize, usize)) {
        let Some(path) = path else {
            return;
        };
        let shown = path.display();
        match std::fs::read(path) {
            Err(error) => self.refuse(key, format!("{shown} cannot be read: {error}")),
            Ok(content) if content.len() < least => {
                self.refuse(key, format!("{shown} has {} octets, of at least {least}", content.len()));
            }
            Ok(content) if content.len() > most => {
                self.refuse(key, format!("{shown} has {} octets, of at most {most}", content.len()));
            }
            Ok(_) => {}
        }
    }

    /// Two keys in files cannot be published under one name.
    fn selectors(&mut self) {
        let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
        for (at, key) in self.config().dkim.key.iter().enumerate() {
            if let Some(first) = seen.insert((key.domain.as_str(), key.selector.as_str()), at) {
                let place = place(&self.origin(&format!("dkim.key[{first}].selector")));
                let message = format!("the selector \"{}\" of {} has a key already{place}", key.selector, key.domain);
                self.refuse(&format!("dkim.key[{at}].selector"), message);
            }
        }
    }

    fn pem(&mut self, key: &str, path: Option<&Path>, (kind, mark): (&str, &str)) {
        let Some(path) = path else {
            return;
        };
        let shown = path.display();
        match std::fs::read(path) {
            Err(error) => self.refuse(key, format!("the {kind} {shown} cannot be read: {error}")),
            Ok(content) if !String::from_utf8_lossy(&content).contains(mark) => {
                self.refuse(key, format!("{shown} holds no {kind} in PEM form"));
            }
            Ok(_) => {}
        }
    }
}

/// ` at file:line` for something that was written.
pub(crate) fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        written => format!(" at {written}"),
    }
}

const CERTIFICATE: (&str, &str) = ("certificate", "-----BEGIN CERTIFICATE-----");
const KEY: (&str, &str) = ("private key", "PRIVATE KEY-----");

#[cfg(test)]
mod tests {
    use crate::load::tests::{folder, problems};

    /// Two listeners, whose addresses are lines 4 and 8.
    fn pair(one: &str, two: &str) -> Vec<String> {
        problems(&format!(
            "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['{one}']\n\
             [[listener]]\nname = 'b'\nspeaks = 'imap'\nlisten = ['{two}']\n"
        ))
    }

    fn one(speaks: &str, listen: &str, line: &str) -> Vec<String> {
        problems(&format!("[[listener]]\nname = 'a'\nspeaks = '{speaks}'\nlisten = ['{listen}']\n{line}\n"))
    }

    #[test]
    fn two_listeners_on_one_address_are_refused() {
        assert_eq!(
            pair("127.0.0.1:25", "127.0.0.1:25"),
            [
                "posthorn.toml:8: listener[1].listen[0]: the address 127.0.0.1:25 is 127.0.0.1:25 of listener \"a\" at posthorn.toml:4"
            ]
        );
        assert_eq!(
            pair("*:25", "[::ffff:127.0.0.1]:25"),
            [
                "posthorn.toml:8: listener[1].listen[0]: the address 127.0.0.1:25 overlaps *:25 of listener \"a\" at posthorn.toml:4"
            ]
        );
        assert_eq!(pair("[2001:DB8:0::1]:25", "[2001:db8::0001]:25").len(), 1);
        assert_eq!(pair("/run/a", "/run/./a").len(), 1);
        assert_eq!(one("smtp", "*:25', ':25", "").len(), 1);
        for (one, two) in [("*:25", "[*]:25"), ("*:25", "*:26"), ("*:0", "*:0"), ("127.0.0.1:25", "127.0.0.2:25")] {
            assert_eq!(pair(one, two), [""; 0], "{one} {two}");
        }
    }

    #[test]
    fn a_disabled_address_may_wait_for_its_turn() {
        let rows = |enable| {
            problems(&format!(
                "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:25', {{ address = '127.0.0.1:25', enable = {enable} }}]\n"
            ))
        };
        assert_eq!(rows(false), [""; 0]);
        assert_eq!(rows(true).len(), 1);
    }

    #[test]
    fn names_are_unique() {
        let found = problems(
            "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:25']\n\
             [[listener]]\nname = 'a'\nspeaks = 'imap'\nlisten = ['*:143']\n\
             [[listener]]\nname = ''\nspeaks = 'imap'\nlisten = []\n",
        );
        assert_eq!(
            found,
            [
                "posthorn.toml:6: listener[1].name: the listener name \"a\" is taken at posthorn.toml:2",
                "posthorn.toml:10: listener[2].name: a listener needs a name",
                "posthorn.toml:12: listener[2].listen: a listener needs at least one address",
            ]
        );
    }

    #[test]
    fn special_mailboxes_have_names_of_their_own() {
        assert_eq!(
            problems("[mail.folders]\njunk = 'Trash'\nsent = 'inbox'\n"),
            [
                "posthorn.toml:3: mail.folders.sent: \"inbox\" cannot be the name of a special mailbox",
                "posthorn.toml:1: mail.folders.trash: the mailbox name \"Trash\" is taken by mail.folders.junk",
            ]
        );
    }

    #[test]
    fn internal_services_stay_internal() {
        assert_eq!(
            one("lmtp", "*:24", ""),
            [
                "posthorn.toml:4: listener[0].listen[0]: *:24: lmtp trusts its clients and so listens on loopback or a Unix socket; to open it on purpose set exposed = true and name the peers or require client certificates"
            ]
        );
        assert_eq!(
            one("lmtp", "192.0.2.1:24", "exposed = true"),
            [
                "posthorn.toml:4: listener[0].listen[0]: 192.0.2.1:24: exposed = true opens lmtp to everybody; name the peers (not a /0 network) or set client_certificate = \"required\""
            ]
        );
        assert_eq!(one("lmtp", "*:24", "exposed = true\n[[listener.peer]]\nnetwork = '0.0.0.0/0'").len(), 1);
        assert_eq!(one("lmtp", "*:24", "exposed = true\n[[listener.peer]]\nnetwork = '10.0.0.0/8'"), [""; 0]);
        assert_eq!(one("lmtp", "127.0.0.1:24', '[::1]:24', '/run/x", ""), [""; 0]);
    }

    #[test]
    fn trust_is_only_for_named_peers() {
        for option in ["xclient", "xforward", "proxy_protocol"] {
            assert_eq!(
                one("smtp", "*:25", &format!("{option} = true")),
                [format!(
                    "posthorn.toml:5: listener[0].{option}: {option} trusts the client's word; set it in a peer block that names the network"
                )]
            );
            let named = format!("[[listener.peer]]\nnetwork = '10.0.0.0/8'\n{option} = true");
            assert_eq!(one("smtp", "*:25", &named), [""; 0]);
        }
    }

    #[test]
    fn only_named_clients_relay() {
        assert_eq!(
            one("smtp", "*:25", "relay = true"),
            [
                "posthorn.toml:5: listener[0].relay: relay opens the way to other hosts; set it in a peer block that names the network"
            ]
        );
        let block = |network: &str| format!("[[listener.peer]]\nnetwork = '{network}'\nrelay = true");
        for network in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "0.0.0.0/7", "2000::/3"] {
            let found = one("smtp", "*:25", &block(network));
            assert_eq!(found.len(), 1, "{network}");
            let expected =
                format!("posthorn.toml:7: listener[0].peer[0].relay: relay = true for {network} is an open relay;");
            assert!(found[0].starts_with(&expected), "{found:?}");
            assert_eq!(one("smtp", "*:25", &format!("exposed = true\n{}", block(network))), [""; 0]);
            assert_eq!(one("smtp", "*:25", &format!("{}\ndeny = true", block(network))), [""; 0]);
        }
        for network in ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "fd00::/8"] {
            assert_eq!(one("smtp", "*:25", &block(network)), [""; 0], "{network}");
        }
        assert_eq!(
            one("lmtp", "127.0.0.1:24", &block("127.0.0.1")),
            ["posthorn.toml:7: listener[0].peer[0].relay: lmtp does not relay; relay is for smtp listeners"]
        );
        let inside = "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = [{ address = '*:25', peer = [{ network = '::/0', relay = true }] }]";
        assert_eq!(problems(inside).len(), 1);
    }

    #[test]
    fn a_network_has_one_block_and_no_larger_messages() {
        assert_eq!(
            one(
                "smtp",
                "*:25",
                "[[listener.peer]]\nnetwork = '10.0.0.1'\n[[listener.peer]]\nnetwork = '::ffff:10.0.0.1'\nmax_message_size = '1 GiB'"
            ),
            [
                "posthorn.toml:8: listener[0].peer[1].network: the network 10.0.0.1 has a block already at posthorn.toml:6",
                "posthorn.toml:9: listener[0].peer[1].max_message_size: 1 GiB is above mail.max_message_size, 50 MiB",
            ]
        );
    }

    #[test]
    fn tls_options_agree() {
        assert_eq!(
            one("imaps", "*:993", "tls = 'starttls'"),
            ["posthorn.toml:5: listener[0].tls: imaps begins with TLS; tls can only be \"implicit\""]
        );
        assert_eq!(
            one("lmtp", "127.0.0.1:24", "client_certificate = 'required'"),
            [
                "posthorn.toml:5: listener[0].client_certificate: client certificates need tls",
                "posthorn.toml:5: listener[0].client_certificate: client certificates need tls.client_ca to be verified with",
            ]
        );
        assert_eq!(
            problems("[tls]\nkey = '/nonexistent/key.pem'")[0],
            "posthorn.toml:1: tls.certificate: certificate and key come together"
        );
    }

    #[test]
    fn keys_can_be_read_and_are_long_enough() {
        let folder = folder();
        let path = folder.path().join("short");
        std::fs::write(&path, [7; 31]).expect("written");
        let shown = path.display();
        let found = problems(&format!(
            "[dkim]\nmaster_key = '{shown}'\n[srs]\nsecret = '{shown}'\n[dns]\ntrust_anchor = '/nonexistent/anchor'\n\
             [[dkim.key]]\ndomain = 'example.org'\nselector = 'a'\nfile = '{shown}'\n\
             [[dkim.key]]\ndomain = 'Example.org'\nselector = 'A'\nfile = '{shown}'\n"
        ));
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!(
            found[0],
            "posthorn.toml:13: dkim.key[1].selector: the selector \"a\" of example.org has a key already at posthorn.toml:9"
        );
        assert_eq!(found[1], format!("posthorn.toml:2: dkim.master_key: {shown} has 31 octets, of at least 32"));
        assert!(found[2].starts_with("posthorn.toml:6: dns.trust_anchor: /nonexistent/anchor cannot be read: "));
        assert!(found[3].ends_with("short holds no private key in PEM form"), "{}", found[3]);
        assert_eq!(problems(&format!("[srs]\nsecret = '{shown}'\n")), [""; 0]);
    }

    #[test]
    fn certificates_can_be_read() {
        let folder = folder();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, "nothing").expect("written");
        let shown = path.display();
        let text = format!(
            "[tls]\ncertificate = '{shown}'\nkey = '/nonexistent/key.pem'\n[[tls.certificates]]\ncertificate = '/nonexistent/c.pem'\nkey = '/nonexistent/k.pem'\n"
        );
        let found = problems(&text);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], format!("posthorn.toml:2: tls.certificate: {shown} holds no certificate in PEM form"));
        assert!(
            found[1].starts_with("posthorn.toml:3: tls.key: the private key /nonexistent/key.pem cannot be read: ")
        );
        assert!(found[2].starts_with("posthorn.toml:5: tls.certificates[0].certificate: the certificate "));
        assert!(found[3].starts_with("posthorn.toml:6: tls.certificates[0].key: the private key "));
    }
}
