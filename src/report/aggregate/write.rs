//! Reports as XML (RFC 9990 appendix A). The elements that RFC 7489 had come in its order, so that old readers find them.

use std::fmt::Write as _;

use super::{AggregateReport, AggregateRow, PublishedPolicy};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:dmarc-2.0";

impl AggregateReport {
    /// The whole document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut text = String::with_capacity(1000 + self.rows.len() * 700);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _infallible = writeln!(text, "<feedback xmlns=\"{NAMESPACE}\">\n  <version>1.0</version>");
        text.push_str("  <report_metadata>\n");
        put(&mut text, 4, "org_name", &self.organization);
        put(&mut text, 4, "email", &self.email);
        if let Some(contact) = &self.contact {
            put(&mut text, 4, "extra_contact_info", contact);
        }
        put(&mut text, 4, "report_id", &self.id);
        let (begins, ends) = (self.begins.timestamp(), self.ends.timestamp());
        let _infallible = writeln!(
            text,
            "    <date_range>\n      <begin>{begins}</begin>\n      <end>{ends}</end>\n    </date_range>"
        );
        for error in &self.errors {
            put(&mut text, 4, "error", error);
        }
        put(&mut text, 4, "generator", concat!("Posthorn ", env!("CARGO_PKG_VERSION")));
        text.push_str("  </report_metadata>\n");
        policy(&mut text, &self.policy);
        for one in &self.rows {
            row(&mut text, one);
        }
        text.push_str("</feedback>\n");
        text
    }
}

fn policy(text: &mut String, policy: &PublishedPolicy) {
    text.push_str("  <policy_published>\n");
    let alignment = |strict| if strict { "s" } else { "r" };
    put(text, 4, "domain", &policy.domain);
    put(text, 4, "adkim", alignment(policy.strict_dkim));
    put(text, 4, "aspf", alignment(policy.strict_spf));
    put(text, 4, "p", &policy.policy);
    for (name, value) in [("sp", &policy.subdomains), ("np", &policy.nonexistent)] {
        if let Some(value) = value {
            put(text, 4, name, value);
        }
    }
    put(text, 4, "testing", if policy.testing { "y" } else { "n" });
    put(text, 4, "discovery_method", "treewalk");
    text.push_str("  </policy_published>\n");
}

fn row(text: &mut String, row: &AggregateRow) {
    let word = |passes| if passes { "pass" } else { "fail" };
    let _infallible = writeln!(
        text,
        "  <record>\n    <row>\n      <source_ip>{}</source_ip>\n      <count>{}</count>\n      <policy_evaluated>",
        row.source, row.messages
    );
    put(text, 8, "disposition", row.disposition.as_str());
    put(text, 8, "dkim", word(row.dkim));
    put(text, 8, "spf", word(row.spf));
    for reason in &row.reasons {
        text.push_str("        <reason>\n");
        put(text, 10, "type", &reason.kind);
        if !reason.comment.is_empty() {
            put(text, 10, "comment", &reason.comment);
        }
        text.push_str("        </reason>\n");
    }
    text.push_str("      </policy_evaluated>\n    </row>\n    <identifiers>\n");
    if let Some(domain) = &row.envelope_from {
        put(text, 6, "envelope_from", domain);
    }
    put(text, 6, "header_from", &row.header_from);
    text.push_str("    </identifiers>\n    <auth_results>\n");
    for found in &row.signatures {
        text.push_str("      <dkim>\n");
        put(text, 8, "domain", &found.domain);
        put(text, 8, "selector", &found.selector);
        put(text, 8, "result", &found.result);
        text.push_str("      </dkim>\n");
    }
    if let Some(found) = &row.path {
        text.push_str("      <spf>\n");
        put(text, 8, "domain", &found.domain);
        put(text, 8, "scope", "mfrom");
        put(text, 8, "result", &found.result);
        text.push_str("      </spf>\n");
    }
    text.push_str("    </auth_results>\n  </record>\n");
}

/// An element with text, on a line of its own. What XML cannot hold is left out.
fn put(text: &mut String, indent: usize, name: &str, value: &str) {
    let _infallible = write!(text, "{:indent$}<{name}>", "");
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\n' | '\t' => text.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => text.push(c),
        }
    }
    let _infallible = writeln!(text, "</{name}>");
}
