//! `posthorn filter settings`.

use anyhow::bail;
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_filter::recipient::FIELDS;
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::Mail;
use posthorn_model::Address;
use serde::Serialize;

use super::super::removed;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Settings {
    /// List everything that is set
    List,
    /// Set fields of an address, a @domain, a @.domain with all below it, or @. for everybody
    Set {
        who: String,
        /// Such as kill=8 or virus=hold; without a value the field falls through again
        #[arg(required = true, value_name = "FIELD=VALUE")]
        fields: Vec<String>,
    },
    /// Forget everything that is set for it
    Unset { who: String },
    /// Show what holds for an address, and where each value comes from
    Show { address: Address },
}

/// As programs read it.
#[derive(Serialize)]
struct Set {
    who: String,
    field: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Holds {
    field: &'static str,
    value: Option<String>,
    from: Option<String>,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    command: Settings,
    output: &mut Output,
) -> anyhow::Result<()> {
    let orders = Orders::new(mail, &loaded.config.filter);
    match command {
        Settings::List => {
            let mut rows = Vec::new();
            for row in orders.list().await? {
                for field in FIELDS {
                    let set = |value| Set { who: row.who.clone(), field: field.name, value };
                    rows.extend((field.read)(&row).map(set));
                }
            }
            let line = |row: &Set| vec![row.who.clone(), row.field.to_owned(), row.value.clone()];
            output.rows(&rows, &["who", "field", "value"], line)
        }
        Settings::Set { who, fields } => {
            let mut values = Vec::new();
            for field in &fields {
                let Some((name, value)) = field.split_once('=') else { bail!("write FIELD=VALUE instead of {field}") };
                values.push((name.to_owned(), (!value.is_empty()).then(|| value.to_owned())));
            }
            orders.set(&who, &values).await??;
            output.answer(&serde_json::json!({ "who": who }), || format!("set for {who}"))
        }
        Settings::Unset { who } => {
            if !orders.unset(&who).await?? {
                bail!("nothing is set for {who}; see posthorn filter settings list");
            }
            removed(output, "settings of", &who)
        }
        Settings::Show { address } => {
            let rows = orders.show(&address).await?;
            let holds = |one: posthorn_filter::recipient::orders::Shown| Holds {
                field: one.field,
                value: one.value,
                from: one.from,
            };
            let rows: Vec<Holds> = rows.into_iter().map(holds).collect();
            output.rows(&rows, &["field", "value", "from"], |row| {
                let from = row.from.clone().unwrap_or_else(|| "configuration".to_owned());
                vec![row.field.to_owned(), row.value.clone().unwrap_or_default(), from]
            })
        }
    }
}
