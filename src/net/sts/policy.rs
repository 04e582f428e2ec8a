//! The policy itself (RFC 8461 §3.2) and the record that announces it (RFC 8461 §3.1).

use chrono::TimeDelta;

/// What senders should do when the policy is not met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StsMode {
    /// Not deliver.
    Enforce,
    /// Nothing: there is no policy any more.
    None,
    /// Deliver, and report.
    Testing,
}

/// A policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StsPolicy {
    /// What to do when it is not met.
    pub mode: StsMode,
    /// Host names, or `*.` and a domain; lower case. Empty only with [`StsMode::None`].
    pub mx: Vec<String>,
    /// How long it holds from the time it was fetched.
    pub max_age: TimeDelta,
    /// Its lines as they were, for reports.
    pub lines: Vec<String>,
}

impl StsPolicy {
    /// Reads a policy. Keys that are not known are passed over; of keys that may stand once the first counts
    /// (RFC 8461 §3.2).
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let (mut mx, mut lines) = (Vec::new(), Vec::new());
        for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
            if line.trim().is_empty() {
                continue;
            }
            if lines.len() == MOST_LINES {
                return Err(format!("more than {MOST_LINES} lines"));
            }
            lines.push(line.trim().chars().filter(|c| !c.is_control()).collect());
            let (key, value) = line.split_once(':').ok_or("a line without a colon")?;
            let value = value.trim();
            match key.trim() {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" => mx.push(pattern(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("its version is not STSv1".to_owned());
        }
        let mode = match mode {
            Some("enforce") => StsMode::Enforce,
            Some("none") => StsMode::None,
            Some("testing") => StsMode::Testing,
            Some(_) => return Err("its mode is not known".to_owned()),
            None => return Err("it has no mode".to_owned()),
        };
        let max_age = max_age.ok_or("it has no max_age")?;
        let seconds = max_age.bytes().all(|b| b.is_ascii_digit()).then(|| max_age.parse::<i64>().ok()).flatten();
        let seconds = seconds.ok_or("its max_age is no number of seconds")?;
        if mx.is_empty() && mode != StsMode::None {
            return Err("it names no mx".to_owned());
        }
        Ok(Self { mode, mx, max_age: TimeDelta::seconds(seconds.min(LONGEST_AGE)), lines })
    }

    /// Whether mail may go to `host` (RFC 8461 §4.1): a wildcard stands for exactly one label.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            None => pattern.eq_ignore_ascii_case(host),
            Some(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
            }
        })
    }
}

/// The id in the TXT records of `_mta-sts`; none unless exactly one record is an STSv1 record with an id
/// (RFC 8461 §3.1).
pub(super) fn id(texts: &[String]) -> Option<String> {
    let mut records =
        texts.iter().filter(|text| text.split(';').next().is_some_and(|first| field(first) == Some(("v", "STSv1"))));
    let (record, None) = (records.next()?, records.next()) else { return None };
    let id = record.split(';').filter_map(field).find(|(key, _)| *key == "id")?.1;
    let good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then(|| id.to_owned())
}

fn field(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    Some((key.trim(), value.trim()))
}

fn pattern(value: &str) -> Result<String, String> {
    let name = value.strip_prefix("*.").unwrap_or(value).trim_end_matches('.');
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("an mx is no host name".to_owned());
    }
    Ok(value.trim_end_matches('.').to_ascii_lowercase())
}

/// A year and a bit (RFC 8461 §3.2).
const LONGEST_AGE: i64 = 31_557_600;
const MOST_LINES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: Mail.example.com\r\nmx: *.example.net\r\nx: y\r\nmax_age: 604800\r\n";
        let policy = StsPolicy::parse(text).expect("policy");
        assert_eq!((policy.mode, policy.max_age), (StsMode::Enforce, TimeDelta::weeks(1)));
        assert_eq!(policy.mx, ["mail.example.com", "*.example.net"]);
        assert_eq!(policy.lines.len(), 6);
        let bare = StsPolicy::parse("version:STSv1\nmode:none\nmax_age:99999999999").expect("policy");
        assert_eq!((bare.mode, bare.max_age), (StsMode::None, TimeDelta::seconds(LONGEST_AGE)));
    }

    #[test]
    fn the_first_of_several_counts() {
        let policy = StsPolicy::parse("version: STSv1\nmode: testing\nmode: enforce\nmx: a\nmax_age: 1\nmax_age: 2\n");
        let policy = policy.expect("policy");
        assert_eq!((policy.mode, policy.max_age), (StsMode::Testing, TimeDelta::seconds(1)));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in [
            "",
            "version: STSv2\nmode: none\nmax_age: 1\n",
            "version: STSv1\nmode: maybe\nmax_age: 1\n",
            "version: STSv1\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: a.example\n",
            "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n",
            "version: STSv1\nmode: enforce\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n",
            "<html>not found</html>",
        ] {
            assert!(StsPolicy::parse(text).is_err(), "{text:?}");
        }
        assert!(StsPolicy::parse(&"x: y\n".repeat(2000)).is_err());
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let policy =
            StsPolicy::parse("version: STSv1\nmode: enforce\nmx: mx.example.com\nmx: *.example.net\nmax_age: 1\n");
        let policy = policy.expect("policy");
        assert!(policy.allows("MX.example.com.") && policy.allows("a.EXAMPLE.net"));
        for other in ["example.com", "a.mx.example.com", "example.net", "a.b.example.net", ".example.net", ""] {
            assert!(!policy.allows(other), "{other}");
        }
    }

    #[test]
    fn one_record_announces() {
        let id = |texts: &[&str]| super::id(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["other", "v=STSv1;id=1"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1; id=1", "v=STSv1; id=2"]), None);
        for bad in ["v=STSv1", "v=STSv1; id=", "v=STSv1; id=a-b", "id=1; v=STSv1", "v=STSv2; id=1"] {
            assert_eq!(id(&[bad]), None, "{bad}");
        }
        assert_eq!(id(&[&format!("v=STSv1; id={}", "a".repeat(33))]), None);
    }
}
