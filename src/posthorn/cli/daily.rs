//! `posthorn dmarc` and `posthorn tls-report`: what mail systems tell each other once a day.

use anyhow::bail;
use chrono::{Days, NaiveDate, TimeDelta};
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_mail::Mail;
use posthorn_mail::feedback::{
    DailyReport, Fate, ReceivedReport, ReceivedRow, ReportKind, SentReport, SourceSum, Which,
};
use posthorn_model::Domain;
use serde::Serialize;
use serde_json::Value;

use super::{parse_domain, plain_line};
use crate::circumstances::Circumstances;
use crate::database::with_mail;
use crate::output::Output;
use crate::resolver::Asking;

#[derive(Debug, Subcommand)]
pub(super) enum Dailies {
    /// List the reports of others about our domains, the newest first
    List {
        #[command(flatten)]
        span: Span,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show a report of others, row by row
    Show {
        /// Its number in the list
        id: i64,
    },
    /// Add up what others reported, by domain and source
    Summary {
        #[command(flatten)]
        span: Span,
        /// At most so many sources
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// List our reports to others, the newest first
    Sent {
        /// Only to this domain
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        domain: Option<Domain>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Send our reports about a day that were not sent yet
    Send {
        /// The day in UTC [default: yesterday]
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<NaiveDate>,
        /// Only to this domain
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        domain: Option<Domain>,
        /// Send nothing, say what would be sent and to whom, also where it was sent already
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Span {
    /// Only about this domain
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
    domain: Option<Domain>,
    /// Only about the last so many days
    #[arg(long, default_value_t = 30, value_name = "N")]
    days: u32,
}

/// A report as programs read it.
#[derive(Serialize)]
struct Shown {
    id: i64,
    received_at: String,
    domain: String,
    organization: String,
    contact: String,
    report_id: String,
    begins_at: String,
    ends_at: String,
    /// The domain of the letter's author.
    sender: String,
    /// Whether the letter was shown to be that domain's.
    proven: bool,
    passed: i64,
    failed: i64,
    policy: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<Row>>,
}

#[derive(Serialize)]
struct Row {
    source: String,
    passed: i64,
    failed: i64,
    detail: Value,
}

#[derive(Serialize)]
struct Sum {
    domain: String,
    source: String,
    passed: i64,
    failed: i64,
    dkim: i64,
    spf: i64,
    reporters: i64,
}

#[derive(Serialize)]
struct Sent {
    day: NaiveDate,
    domain: String,
    begun_at: String,
    attempts: i16,
    done_at: Option<String>,
    outcome: String,
}

#[derive(Serialize)]
struct Outgoing {
    day: NaiveDate,
    domain: String,
    counted: i64,
    outcome: String,
    to: Vec<String>,
    left_out: Vec<String>,
    file: String,
    size: usize,
    document: String,
}

impl From<ReceivedReport> for Shown {
    fn from(report: ReceivedReport) -> Self {
        Self {
            id: report.id,
            received_at: report.received_at.to_rfc3339(),
            domain: report.domain,
            organization: report.organization,
            contact: report.contact,
            report_id: report.name,
            begins_at: report.begins_at.to_rfc3339(),
            ends_at: report.ends_at.to_rfc3339(),
            sender: report.sender,
            proven: report.proven,
            passed: report.good,
            failed: report.bad,
            policy: value(&report.policy),
            rows: None,
        }
    }
}

impl From<ReceivedRow> for Row {
    fn from(row: ReceivedRow) -> Self {
        Self { source: row.source, passed: row.good, failed: row.bad, detail: value(&row.detail) }
    }
}

impl From<SourceSum> for Sum {
    fn from(sum: SourceSum) -> Self {
        let SourceSum { domain, source, good, bad, dkim, spf, reporters } = sum;
        Self { domain, source, passed: good, failed: bad, dkim, spf, reporters }
    }
}

impl From<SentReport> for Sent {
    fn from(sent: SentReport) -> Self {
        Self {
            day: sent.day,
            domain: sent.domain,
            begun_at: sent.claimed_at.to_rfc3339(),
            attempts: sent.attempts,
            done_at: sent.done_at.map(|at| at.to_rfc3339()),
            outcome: sent.outcome,
        }
    }
}

impl From<DailyReport> for Outgoing {
    fn from(report: DailyReport) -> Self {
        let outcome = match report.fate {
            Fate::Ready => "would be sent".to_owned(),
            Fate::Sent => "sent".to_owned(),
            Fate::Unwanted if report.left_out.is_empty() => "the domain does not ask for it".to_owned(),
            Fate::Unwanted => "nobody takes it".to_owned(),
            Fate::Waits(why) => format!("waits: {why}"),
            Fate::Elsewhere => "another process sends it, or it was begun twice".to_owned(),
            Fate::Refused(why) => format!("refused: {why}"),
        };
        Self {
            day: report.day,
            domain: report.domain,
            counted: report.counted,
            outcome,
            to: report.to,
            left_out: report.left_out,
            file: report.file,
            size: report.size,
            document: report.document,
        }
    }
}

pub(super) async fn run(
    loaded: &Loaded,
    kind: ReportKind,
    command: Dailies,
    output: &mut Output,
) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Dailies::List { span, limit } => {
            let domain = span.domain.as_ref().map(Domain::as_str);
            let found = mail.received_reports(kind, domain, since(mail, &span), limit).await?;
            let rows: Vec<Shown> = found.into_iter().map(Shown::from).collect();
            let headings = ["id", "day", "domain", "from", "proven", "passed", "failed"];
            output.rows(&rows, &headings, |row| {
                vec![
                    row.id.to_string(),
                    row.begins_at.chars().take(10).collect(),
                    plain_line(&row.domain, 80),
                    plain_line(&row.organization, 60),
                    if row.proven { plain_line(&row.sender, 60) } else { "no".to_owned() },
                    row.passed.to_string(),
                    row.failed.to_string(),
                ]
            })
        }
        Dailies::Show { id } => show(mail, kind, id, output).await,
        Dailies::Summary { span, limit } => {
            let domain = span.domain.as_ref().map(Domain::as_str);
            let found = mail.received_sums(kind, domain, since(mail, &span), limit).await?;
            let rows: Vec<Sum> = found.into_iter().map(Sum::from).collect();
            let is_dmarc = kind == ReportKind::Dmarc;
            let headings: &[&str] = match is_dmarc {
                true => &["domain", "source", "passed", "failed", "by dkim", "by spf", "reporters"],
                false => &["domain", "host", "passed", "failed", "reporters"],
            };
            output.rows(&rows, headings, |row| {
                let mut cells = vec![plain_line(&row.domain, 80), plain_line(&row.source, 80)];
                cells.extend([row.passed, row.failed].map(|number| number.to_string()));
                if is_dmarc {
                    cells.extend([row.dkim, row.spf].map(|number| number.to_string()));
                }
                cells.push(row.reporters.to_string());
                cells
            })
        }
        Dailies::Sent { domain, limit } => {
            let found = mail.sent_reports(kind, domain.as_ref().map(Domain::as_str), limit).await?;
            let rows: Vec<Sent> = found.into_iter().map(Sent::from).collect();
            output.rows(&rows, &["day", "domain", "begun", "done", "outcome"], |row| {
                let done = row.done_at.clone().unwrap_or_else(|| "no".to_owned());
                vec![
                    row.day.to_string(),
                    plain_line(&row.domain, 80),
                    row.attempts.to_string(),
                    done,
                    plain_line(&row.outcome, 200),
                ]
            })
        }
        Dailies::Send { day, domain, dry_run } => {
            let today = mail.now().date_naive();
            let day = day.or_else(|| today.checked_sub_days(Days::new(1))).unwrap_or(today);
            if day >= today {
                bail!("{day} is not over; there are reports about whole days");
            }
            let resolver = Asking::new(Circumstances::default().ground(&loaded.config)?.dns);
            let which = Which { day, domain: domain.map(|domain| domain.as_str().to_owned()), dry: dry_run };
            let done = mail.send_daily_reports_of(kind, &which, &resolver).await?;
            let rows: Vec<Outgoing> = done.into_iter().map(Outgoing::from).collect();
            output.rows(&rows, &["domain", "counted", "to", "not to", "octets", "outcome"], |row| {
                vec![
                    plain_line(&row.domain, 80),
                    row.counted.to_string(),
                    plain_line(&row.to.join(", "), 200),
                    plain_line(&row.left_out.join("; "), 200),
                    row.size.to_string(),
                    plain_line(&row.outcome, 200),
                ]
            })
        }
    })
    .await
}

fn since(mail: &Mail, span: &Span) -> chrono::DateTime<chrono::Utc> {
    let back = TimeDelta::try_days(i64::from(span.days)).and_then(|days| mail.now().checked_sub_signed(days));
    // Reports begin at a midnight.
    let back = back.unwrap_or_default().max(chrono::DateTime::UNIX_EPOCH);
    back.date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
}

async fn show(mail: &Mail, kind: ReportKind, id: i64, output: &mut Output) -> anyhow::Result<()> {
    let Some((report, rows)) = mail.received_report(kind, id).await? else {
        bail!("there is no report {id}; see the list");
    };
    let rows: Vec<Row> = rows.into_iter().map(Row::from).collect();
    let report = Shown { rows: Some(rows), ..Shown::from(report) };
    output.answer(&report, || {
        let proven = if report.proven { "proven" } else { "not proven" };
        let mut lines = vec![
            format!("domain    {}", plain_line(&report.domain, 200)),
            format!("from      {} ({})", plain_line(&report.organization, 200), plain_line(&report.contact, 200)),
            format!("letter    of {}, {proven}", plain_line(&report.sender, 200)),
            format!("report    {}", plain_line(&report.report_id, 200)),
            format!("about     {} to {}", report.begins_at, report.ends_at),
            format!("policy    {}", plain_line(&told(&report.policy), 400)),
            format!("passed    {}", report.passed),
            format!("failed    {}", report.failed),
        ];
        for row in report.rows.iter().flatten() {
            lines.push(String::new());
            lines.push(format!("{}: {} passed, {} failed", plain_line(&row.source, 200), row.passed, row.failed));
            lines.push(format!("  {}", plain_line(&told(&row.detail), 1000)));
        }
        lines.join("\n")
    })
}

/// JSON for people: names and values in a line, without what is said elsewhere.
fn told(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "source" | "messages"));
            said.map(|(name, value)| format!("{name}={}", told(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Array(values) => format!("[{}]", values.iter().map(told).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}
