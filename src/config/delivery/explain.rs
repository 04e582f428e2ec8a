//! Why an option of delivery holds.

use std::fmt;

use super::{DeliveryPolicy, EffectiveDelivery, Limit, Scope};
use crate::problem::nearest;
use crate::render::inline;
use crate::{Loaded, Origin, QueuePolicies, Span};

/// One effective option of delivery. Displays as a TOML line with its origin in a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExplainedDelivery {
    /// The option, such as `connections`.
    pub option: &'static str,
    /// Its value as TOML.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
    /// The key path that was decisive, such as `binding[0].connections`.
    pub key: String,
    /// For a limit that is not 0, the bucket that it is counted in.
    pub bucket: Option<String>,
}

/// There is nothing to explain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoSuchScope {
    /// No binding has this name; what was probably meant, or all names, follow.
    #[error("no binding \"{0}\" ({1})")]
    Binding(String, String),
    /// No binding group has this name; likewise.
    #[error("no binding group \"{0}\" ({1})")]
    Group(String, String),
}

impl Loaded {
    /// Every option of delivery as it holds for a folded domain through a binding, a group or both, with the place
    /// where it was decided. A binding brings its own group along.
    ///
    /// # Errors
    /// [`NoSuchScope`] when the binding or the group does not exist.
    pub fn explain_delivery(
        &self,
        group: Option<&str>,
        binding: Option<&str>,
        domain: &str,
    ) -> Result<Vec<ExplainedDelivery>, NoSuchScope> {
        let bindings = self.config.binding.iter().map(|row| row.name.as_str());
        if let Some(name) = binding.filter(|name| *name != crate::Binding::DEFAULT)
            && !bindings.clone().any(|known| known == name)
        {
            return Err(NoSuchScope::Binding(name.to_owned(), hint(name, bindings.collect())));
        }
        let groups = self.config.binding_group.iter().map(|row| row.name.as_str());
        if let Some(name) = group
            && !groups.clone().any(|known| known == name)
        {
            return Err(NoSuchScope::Group(name.to_owned(), hint(name, groups.collect())));
        }
        let effective = DeliveryPolicy::new(&self.config).effective(group, binding, domain);
        let queue = QueuePolicies::new(&self.config.queue);
        let policy = queue.of(None).with(&effective);
        let spans = [("retry_first", policy.retry_first), ("retry_most", policy.retry_most), ("expire", policy.expire)];
        let explained = effective.provenance.iter().filter_map(|(option, scope)| {
            let late = || spans.iter().find(|(name, _)| name == option).map(|(_, span)| text(span));
            let value = effective.shown(option).or_else(late)?;
            Some(self.explained(&effective, (option, *scope), value))
        });
        Ok(explained.collect())
    }

    fn explained(
        &self,
        effective: &EffectiveDelivery,
        (option, scope): (&'static str, Scope),
        value: String,
    ) -> ExplainedDelivery {
        let key = format!("{scope}.{option}");
        let limit = effective.limit(option).filter(|limit| limit.value > 0);
        let bucket = limit.map(|limit| limit.bucket.to_string());
        ExplainedDelivery { option, value, origin: self.origin(&key), key, bucket }
    }
}

/// What was probably meant, or all there is.
fn hint(name: &str, known: Vec<&str>) -> String {
    let all = || if known.is_empty() { "there are none".to_owned() } else { format!("known: {}", known.join(", ")) };
    nearest(name, known.iter().copied()).unwrap_or_else(all)
}

fn text(value: &dyn fmt::Display) -> String {
    inline(&value.to_string().into())
}

impl EffectiveDelivery {
    /// An option's value as TOML; `None` for one that is left to the queue policy.
    fn shown(&self, option: &str) -> Option<String> {
        let span = |span: Option<Span>| span.map(|span| text(&span));
        Some(match option {
            "tls" => text(&self.tls.name()),
            "dane" => self.dane.to_string(),
            "mta_sts" => self.mta_sts.to_string(),
            "messages_per_connection" => self.messages_per_connection.to_string(),
            "recipients_per_message" => self.recipients_per_message.to_string(),
            "idle" => text(&self.idle),
            "connect_time" => text(&self.connect_time),
            "reply_time" => text(&self.reply_time),
            "final_time" => text(&self.final_time),
            "suspend" => self.suspend.to_string(),
            "blackhole" => self.blackhole.to_string(),
            "prefer_ipv6" => self.prefer_ipv6.to_string(),
            "pipelining" => self.pipelining.to_string(),
            "chunking" => self.chunking.to_string(),
            "retry_first" => return span(self.retry_first),
            "retry_most" => return span(self.retry_most),
            "expire" => return span(self.expire),
            limit => self.limit(limit)?.value.to_string(),
        })
    }

    /// An option that is a limit.
    fn limit(&self, option: &str) -> Option<&Limit> {
        match option {
            "connections" => Some(&self.connections),
            "connections_per_address" => Some(&self.connections_per_address),
            "messages_per_second" => Some(&self.messages_per_second),
            "messages_per_hour" => Some(&self.messages_per_hour),
            "connections_per_second" => Some(&self.connections_per_second),
            _ => None,
        }
    }
}

impl fmt::Display for ExplainedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {} {}", self.option, self.value, self.origin, self.key)?;
        self.bucket.as_ref().map_or(Ok(()), |bucket| write!(f, "; bucket {bucket}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::load_text;

    const TEXT: &str = "[delivery]
chunking = true
[[delivery.domain]]
pattern = '^example\\.'
connections = 0
[[binding]]
name = 'alpha'
group = 'pool'
[[binding_group]]
name = 'pool'
messages_per_second = 10
[[binding_group.domain]]
binding = 'alpha'
name = 'example.com'
tls = 'verified'
";

    #[test]
    fn every_option_has_its_origin_and_limits_their_bucket() {
        let explained = load_text(TEXT).explain_delivery(None, Some("alpha"), "example.com").expect("known");
        // The folder is another one each time.
        let lines: Vec<_> = explained
            .iter()
            .map(|line| line.to_string())
            .map(|line| match line.split_once("# /") {
                Some((left, right)) => format!("{left}# {}", right.rsplit_once('/').map_or(right, |(_, name)| name)),
                None => line,
            })
            .collect();
        assert_eq!(
            lines,
            [
                "tls = \"verified\"  # posthorn.toml:15 binding_group[0].domain[0].tls",
                "dane = true  # default delivery.dane",
                "mta_sts = true  # default delivery.mta_sts",
                "connections = 0  # posthorn.toml:5 delivery.domain[0].connections",
                "connections_per_address = 5  # default delivery.connections_per_address; bucket delivery: connections_per_address",
                "messages_per_connection = 100  # default delivery.messages_per_connection",
                "recipients_per_message = 100  # default delivery.recipients_per_message",
                "messages_per_second = 10  # posthorn.toml:11 binding_group[0].messages_per_second; bucket binding_group \"pool\": messages_per_second",
                "messages_per_hour = 0  # default delivery.messages_per_hour",
                "connections_per_second = 0  # default delivery.connections_per_second",
                "idle = \"5 s\"  # default delivery.idle",
                "connect_time = \"30 s\"  # default delivery.connect_time",
                "reply_time = \"5 min\"  # default delivery.reply_time",
                "final_time = \"10 min\"  # default delivery.final_time",
                "suspend = false  # default delivery.suspend",
                "blackhole = false  # default delivery.blackhole",
                "prefer_ipv6 = true  # default delivery.prefer_ipv6",
                "pipelining = true  # default delivery.pipelining",
                "chunking = true  # posthorn.toml:2 delivery.chunking",
                "retry_first = \"20 min\"  # default queue.retry_first",
                "retry_most = \"12 h\"  # default queue.retry_most",
                "expire = \"5 d\"  # default queue.expire",
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let loaded = load_text(TEXT);
        let refusal =
            |group, binding| loaded.explain_delivery(group, binding, "example.com").expect_err("unknown").to_string();
        assert_eq!(refusal(None, Some("alhpa")), "no binding \"alhpa\" (did you mean \"alpha\"?)");
        assert_eq!(refusal(Some("x"), None), "no binding group \"x\" (known: pool)");
        assert!(loaded.explain_delivery(None, Some("default"), "example.com").is_ok());
        let bare = load_text("").explain_delivery(None, Some("x"), "example.com").expect_err("unknown");
        assert_eq!(bare.to_string(), "no binding \"x\" (there are none)");
    }
}
