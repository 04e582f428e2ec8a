//! `posthorn policy service`.

use clap::Subcommand;
use posthorn_config::{Loaded, PolicyService};

use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Services {
    /// List the policy servers of others that are asked, in their order; the configuration names them
    List,
}

pub(in crate::cli) fn run(loaded: &Loaded, command: &Services, output: &mut Output) -> anyhow::Result<()> {
    let Services::List = command;
    let rows: &[PolicyService] = &loaded.config.policy.service;
    output.rows(rows, &["name", "address", "stages", "time", "when it is silent", "connections"], |row| {
        vec![
            row.name.clone(),
            row.address.to_string(),
            row.stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(" "),
            row.time.to_string(),
            row.default_action.to_string(),
            row.connections.to_string(),
        ]
    })
}
