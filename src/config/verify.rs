//! Every key and value against the schema, so that one run names everything that is wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;

use posthorn_model::{Address, Domain};
use serde_json::Value;

use crate::problem::nearest;
use crate::schema::{Form, Schema};
use crate::tree::{Node, Shape, join};
use crate::{
    AddressRange, AnswerRange, CodePattern, DatabaseUrl, DomainRange, FileMode, FilterPoints, ListenAddress,
    NameServer, Network, Next, Party, Pattern, PolicyAction, Problem, Ratio, Size, SmtpExtension, Span,
};

/// Judges a whole tree. What is wrong is named and taken out, a row of a list with everything in it, so that the
/// rest can still be read and judged; raw values get the type that their key wants.
pub(crate) fn verify(tree: &mut Node) -> Verdicts {
    let schema = Schema::new();
    let mut verifier = Verifier { schema: &schema, problems: Vec::new(), kept: BTreeMap::new() };
    verifier.node(tree, schema.root().0, "");
    verifier.problems.sort_by(|one, two| (&one.file, one.line, one.column).cmp(&(&two.file, two.line, two.column)));
    Verdicts { problems: verifier.problems, kept: verifier.kept }
}

/// What a judged tree has wrong, and what is left of its lists.
pub(crate) struct Verdicts {
    /// In the order of files and lines.
    pub(crate) problems: Vec<Problem>,
    /// For each list that lost an item, the places that the others had before.
    kept: BTreeMap<String, Vec<usize>>,
}

impl Verdicts {
    /// A problem found in what is left, with the place that its row has in the sources.
    pub(crate) fn as_written(&self, mut problem: Problem) -> Problem {
        for (path, kept) in &self.kept {
            let inside = problem.key.strip_prefix(path).and_then(|rest| rest.strip_prefix('['));
            let Some((index, rest)) = inside.and_then(|rest| rest.split_once(']')) else { continue };
            if let Some(before) = index.parse::<usize>().ok().and_then(|index| kept.get(index)) {
                problem.key = format!("{path}[{before}]{rest}");
            }
        }
        problem
    }
}

struct Verifier<'s> {
    schema: &'s Schema,
    problems: Vec<Problem>,
    kept: BTreeMap<String, Vec<usize>>,
}

impl Verifier<'_> {
    /// Judges one value; says whether it can stay.
    fn node(&mut self, node: &mut Node, schema: &Value, path: &str) -> bool {
        let forms = self.schema.forms(schema);
        settle(node, &forms);
        let kind = match &node.shape {
            Shape::Bool(_) => "boolean",
            Shape::Date => "",
            Shape::Float(_) => "number",
            Shape::Integer(_) => "integer",
            Shape::List(_) => "array",
            Shape::Raw(_) | Shape::Text(_) => "string",
            Shape::Table(_) => "object",
        };
        let Some(form) = forms.iter().find(|form| form.accepts(kind)) else {
            let wanted: Vec<_> = forms.iter().map(|form| form.wanted()).collect();
            let message = format!("expected {}, found {}", wanted.join(" or "), node.shape.name());
            self.problems.push(Problem::new(&node.origin, path, message));
            return false;
        };
        match &mut node.shape {
            Shape::List(items) => self.list(items, *form, path),
            Shape::Table(entries) => return self.table(&node.origin, entries, *form, path),
            _ => return self.leaf(node, *form, path),
        }
        true
    }

    /// Drops each item that is wrong anywhere inside: half a row would be judged for what it no longer says.
    fn list(&mut self, items: &mut Vec<Node>, form: Form<'_>, path: &str) {
        let Some(schema) = form.items() else {
            return;
        };
        let (mut at, mut kept) = (0, Vec::with_capacity(items.len()));
        items.retain_mut(|item| {
            let before = self.problems.len();
            let fits = self.node(item, schema, &format!("{path}[{at}]"));
            let stays = fits && self.problems.len() == before;
            if stays {
                kept.push(at);
            }
            at += 1;
            stays
        });
        if kept.len() < at {
            self.kept.insert(path.to_owned(), kept);
        }
    }

    fn table(
        &mut self,
        origin: &crate::Origin,
        entries: &mut BTreeMap<String, Node>,
        form: Form<'_>,
        path: &str,
    ) -> bool {
        entries.retain(|key, node| {
            let path = join(path, key);
            match form.property(key) {
                Some(schema) => self.node(node, schema, &path),
                None => {
                    self.problems.push(unknown_key(node, form, key, &path));
                    false
                }
            }
        });
        let missing: Vec<_> = form.required().filter(|key| !entries.contains_key(*key)).collect();
        let complete = missing.is_empty();
        for key in missing {
            // A key that was there but wrong has been named already.
            let path = join(path, key);
            let named = |problem: &Problem| {
                let rest = problem.key.strip_prefix(&path);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            if !self.problems.iter().any(named) {
                self.problems.push(Problem::new(origin, path, "missing"));
            }
        }
        complete
    }

    fn leaf(&mut self, node: &Node, form: Form<'_>, path: &str) -> bool {
        let verdict = match &node.shape {
            Shape::Text(text) => judge_text(form, text),
            Shape::Integer(number) => judge_number(form, *number),
            Shape::Float(number) => judge_float(form, *number),
            _ => Ok(()),
        };
        let Err((message, hint)) = verdict else {
            return true;
        };
        self.problems.push(Problem::new(&node.origin, path, message).hinted(hint));
        false
    }
}

/// Gives a raw value the type that its key wants: a text where a text will do, else what it reads as.
fn settle(node: &mut Node, forms: &[Form<'_>]) {
    if let Shape::Raw(raw) = &node.shape {
        let text = forms.iter().any(|form| form.accepts("string"));
        node.shape = if text { Shape::Text(raw.clone()) } else { Shape::read(raw, &node.origin) };
    }
}

fn unknown_key(node: &Node, form: Form<'_>, key: &str, path: &str) -> Problem {
    let known: Vec<_> = form.properties().map(|(name, _)| name).collect();
    let hint = nearest(key, known.iter().copied()).unwrap_or_else(|| format!("known: {}", known.join(", ")));
    Problem::new(&node.origin, path, format!("unknown key \"{key}\"")).hinted(Some(hint))
}

type Verdict = Result<(), (String, Option<String>)>;

fn judge_float(form: Form<'_>, number: f64) -> Verdict {
    let refused = match form.format() {
        Some("points") => FilterPoints::try_from(number).err().map(|refusal| refusal.to_string()),
        _ => Ratio::try_from(number).err().map(|refusal| refusal.to_string()),
    };
    refused.map_or(Ok(()), |message| Err((message, None)))
}

fn judge_number(form: Form<'_>, number: i64) -> Verdict {
    let (low, high) = form.range();
    match form.format() {
        Some("duration") if number >= 0 => return judge_text(form, &number.to_string()),
        _ if (low..=high).contains(&number) => return Ok(()),
        _ => {}
    }
    let wanted = if high == i64::MAX { format!("at least {low}") } else { format!("between {low} and {high}") };
    Err((format!("expected a number that is {wanted}, found {number}"), None))
}

fn judge_text(form: Form<'_>, text: &str) -> Verdict {
    let choices = form.choices();
    if !choices.is_empty() {
        if choices.contains(&text) {
            return Ok(());
        }
        let message = format!("unknown {} \"{text}\"; known: {}", form.noun(), choices.join(", "));
        return Err((message, nearest(text, choices)));
    }
    let plain = |refusal: String| (refusal, None);
    match form.format() {
        Some("address-range") => text.parse::<AddressRange>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("answer-range") => text.parse::<AnswerRange>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("char") => one_character(text),
        Some("code-pattern") => text.parse::<CodePattern>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("database-url") => DatabaseUrl::parse(text).map(drop).map_err(|refusal| plain(refusal.to_owned())),
        Some("domain-range") => text.parse::<DomainRange>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("duration") => text.parse::<Span>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("file-mode") => text.parse::<FileMode>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("hostname") => {
            let refuse = |refusal| plain(format!("\"{text}\" is not a host name: {refusal}"));
            Domain::parse(text).map(drop).map_err(refuse)
        }
        Some("listen-address") => ListenAddress::parse(text).map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("ip") => {
            let refuse = |_| plain(format!("\"{text}\" is not an IP address"));
            text.parse::<IpAddr>().map(drop).map_err(refuse)
        }
        Some("mail-address") => {
            let refuse = |refusal| plain(format!("\"{text}\" is not a mail address: {refusal}"));
            Address::parse(text).map(drop).map_err(refuse)
        }
        Some("name-server") => text.parse::<NameServer>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("network") => text.parse::<Network>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("next-hop") => text.parse::<Next>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("party") => text.parse::<Party>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("policy-action") => text.parse::<PolicyAction>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("regex") => text.parse::<Pattern>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("size") => text.parse::<Size>().map(drop).map_err(|refusal| plain(refusal.to_string())),
        Some("smtp-extension") => {
            let spellings = SmtpExtension::spellings();
            let hint = nearest(text, spellings.iter().map(String::as_str));
            let known = || hint.clone().or_else(|| Some(format!("known: {}", spellings.join(", "))));
            text.parse::<SmtpExtension>().map(drop).map_err(|refusal| (refusal.to_string(), known()))
        }
        _ => Ok(()),
    }
}

fn one_character(text: &str) -> Verdict {
    if text.chars().count() == 1 { Ok(()) } else { Err((format!("expected one character, found \"{text}\""), None)) }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    /// A listener with one more line, which is line 5.
    fn listener(line: &str) -> Vec<String> {
        problems(&format!("[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:25']\n{line}\n"))
    }

    #[test]
    fn unknown_keys_have_a_nearest_name() {
        for (text, expected) in [
            (
                "[server]\nhostnam = 'a.b'",
                "posthorn.toml:2: server.hostnam: unknown key \"hostnam\" (did you mean \"hostname\"?)",
            ),
            ("[servr]\n", "posthorn.toml:1: servr: unknown key \"servr\" (did you mean \"server\"?)"),
            ("[log]\nzzzz = 1", "posthorn.toml:2: log.zzzz: unknown key \"zzzz\" (known: level, format)"),
            (
                "[mail.folders]\ninbox = 'x'",
                "posthorn.toml:2: mail.folders.inbox: unknown key \"inbox\" (known: archive, drafts, junk, sent, trash)",
            ),
        ] {
            assert_eq!(problems(text), [expected]);
        }
        assert_eq!(
            listener("listen_backlogs = 5"),
            [
                "posthorn.toml:5: listener[0].listen_backlogs: unknown key \"listen_backlogs\" (did you mean \"listen_backlog\"?)"
            ]
        );
        assert_eq!(
            listener("[[listener.peer]]\nnetwork = '::1'\nxclinet = true"),
            ["posthorn.toml:7: listener[0].peer[0].xclinet: unknown key \"xclinet\" (did you mean \"xclient\"?)"]
        );
    }

    #[test]
    fn wrong_types_say_what_was_expected() {
        for (text, expected) in [
            ("[server]\nhostname = 5", "2: server.hostname: expected a text, found an integer"),
            ("[smtp]\nmax_hops = 'x'", "2: smtp.max_hops: expected an integer, found a text"),
            ("[smtp]\nmax_hops = 1.5", "2: smtp.max_hops: expected an integer, found a fraction"),
            ("[smtp]\nmax_hops = 0", "2: smtp.max_hops: expected a number that is between 1 and 4294967295, found 0"),
            (
                "[smtp]\nmax_hops = 4294967296",
                "2: smtp.max_hops: expected a number that is between 1 and 4294967295, found 4294967296",
            ),
            ("[mail]\nquota_messages = -1", "2: mail.quota_messages: expected a number that is at least 0, found -1"),
            (
                "[smtp]\nreceived_shows_client = 'yes'",
                "2: smtp.received_shows_client: expected true or false, found a text",
            ),
            ("[auth]\nmechanisms = 'PLAIN'", "2: auth.mechanisms: expected a list, found a text"),
            ("server = 5", "1: server: expected a table, found an integer"),
            ("[log]\nlevel = 2026-01-01", "2: log.level: expected a text, found a date"),
            ("[mail]\nquota = true", "2: mail.quota: expected a size such as 1024 or \"50 MiB\", found true or false"),
            ("[tls]\nminimum = 1.2", "2: tls.minimum: expected a text, found a fraction"),
        ] {
            assert_eq!(problems(text), [format!("posthorn.toml:{expected}")]);
        }
        assert_eq!(
            listener("file_mode = 660"),
            ["posthorn.toml:5: listener[0].file_mode: expected a text in octal such as \"0660\", found an integer"]
        );
    }

    #[test]
    fn wrong_words_say_which_are_right() {
        for (text, expected) in [
            (
                "[log]\nlevel = 'inof'",
                "2: log.level: unknown value \"inof\"; known: error, warn, info, debug, trace (did you mean \"info\"?)",
            ),
            (
                "[mail]\nsubaddress_separator = '++'",
                "2: mail.subaddress_separator: expected one character, found \"++\"",
            ),
            (
                "[mail]\nquota = '5 parsecs'",
                "2: mail.quota: \"5 parsecs\" is not a size; write a number of octets or a number with B, KB, KiB, MB, MiB, GB, GiB, TB or TiB",
            ),
            (
                "[auth]\ncache = '5 moons'",
                "2: auth.cache: \"5 moons\" is not a duration; write a number with ms, s, min, h or d",
            ),
            ("[auth]\ncache = -5", "2: auth.cache: expected a number that is at least 0, found -5"),
            ("[database]\nurl = 'mysql://s3cret@x'", "2: database.url: a database URL begins with postgres://"),
            (
                "[tls]\nminimum = '1.1'",
                "2: tls.minimum: unknown value \"1.1\"; known: 1.2, 1.3 (did you mean \"1.2\"?)",
            ),
        ] {
            assert_eq!(problems(text), [format!("posthorn.toml:{expected}")]);
        }
        assert!(
            problems("[server]\nhostname = 'a b'")[0]
                .starts_with("posthorn.toml:2: server.hostname: \"a b\" is not a host name")
        );
    }

    #[test]
    fn listener_rows_are_refused_in_their_own_words() {
        let row = |speaks: &str, listen: &str| {
            problems(&format!("[[listener]]\nname = 'a'\nspeaks = '{speaks}'\nlisten = [\n  '{listen}',\n]\n"))
        };
        assert_eq!(
            row("smpt", "*:25"),
            [
                "posthorn.toml:3: listener[0].speaks: unknown protocol \"smpt\"; known: smtp, submission, submissions, lmtp, imap, imaps, policy, srs-forward, srs-reverse, filter, reinject, reinject-expand, am-pdp, milter, metrics, release (did you mean \"smtp\"?)"
            ]
        );
        assert_eq!(
            row("smtp", "fd82::1:587"),
            [
                "posthorn.toml:5: listener[0].listen[0]: an IPv6 address needs brackets: write \"[fd82::1]:587\" instead of \"fd82::1:587\""
            ]
        );
        assert_eq!(
            row("smtp", "localhost:25"),
            [
                "posthorn.toml:5: listener[0].listen[0]: \"localhost:25\" names a host; write its address, such as \"127.0.0.1:25\""
            ]
        );
        assert_eq!(
            problems("[[listener]]\nname = 'a'\nspeaks = 'smtp'\n"),
            ["posthorn.toml:1: listener[0].listen: missing"]
        );
        assert_eq!(
            listener("[[listener.peer]]\nnetwork = '10.0.0.1/8'"),
            [
                "posthorn.toml:6: listener[0].peer[0].network: \"10.0.0.1/8\" has bits set behind its prefix; write \"10.0.0.0/8\""
            ]
        );
        assert_eq!(
            listener("smtp_extensions = ['CHUNKNG']"),
            [
                "posthorn.toml:5: listener[0].smtp_extensions[0]: unknown SMTP extension \"CHUNKNG\" (did you mean \"CHUNKING\"?)"
            ]
        );
        assert_eq!(
            listener("file_mode = '0999'"),
            [
                "posthorn.toml:5: listener[0].file_mode: \"0999\" is not a file mode; write octal digits such as \"0660\""
            ]
        );
        assert_eq!(
            listener("context = { site = 5 }"),
            ["posthorn.toml:5: listener[0].context.site: expected a text, found an integer"]
        );
    }

    #[test]
    fn a_misspelt_neighbour_does_not_hide_what_is_missing() {
        let found = problems("[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten_backlogs = 5\n");
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(found[0], "posthorn.toml:1: listener[0].listen: missing");
    }

    #[test]
    fn one_run_names_everything() {
        let found = problems(
            "[server]\nhostnam = 'a'\n[smtp]\nmax_hops = 'x'\n\
             [[listener]]\nname = 'a'\nspeaks = 'smpt'\nlisten = ['::1:25', { adress = '*:1' }]\n\
             [[listener]]\nname = 'b'\nspeaks = 'lmtp'\nlisten = ['*:24']\n\
             [[listener]]\nname = 'b'\nspeaks = 'smtp'\nlisten = ['*:24']\n",
        );
        let expected = [
            "2: server.hostnam: unknown key",
            "4: smtp.max_hops: expected an integer",
            "7: listener[0].speaks: unknown protocol",
            "8: listener[0].listen[0]: an IPv6 address needs brackets",
            "8: listener[0].listen[1].adress: unknown key",
            "8: listener[0].listen[1].address: missing",
        ];
        for expected in expected {
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}\n{found:#?}");
        }
        // What is left without the broken row is judged too.
        for expected in
            ["14: listener[2].name: the listener name \"b\" is taken", "trusts its clients", "the address *:24 is *:24"]
        {
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}\n{found:#?}");
        }
        assert_eq!(found.len(), 9, "{found:#?}");
    }
}
