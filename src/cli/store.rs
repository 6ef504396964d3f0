//! `didtail store`: the schema of the optimizer store.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::{Options, output, runtime};
use crate::store::{SqlStore, pending_sql, whole_sql};

/// The optimizer store's schema
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    Migrate(Migrate),
}

/// Bring the store's schema up to date, or print the SQL for it
///
/// The daemon does this by itself when it starts, if its user may make tables.
/// Where it may not, run this once after each upgrade as the owner of the tables
/// (`--store-url` names that user, DIDTAIL_STORE_PASSWORD has that user's password:
/// it goes before password_file, which is the daemon's), or hand `--print` to
/// whoever runs SQL: then
/// the daemon's user needs SELECT, INSERT, UPDATE and DELETE, on PostgreSQL also
/// EXECUTE on didtail_partition and didtail_drop_partitions, and nothing else.
///
/// On PostgreSQL and MySQL the steps run under the migrator's lock: of several
/// that start at the same time, one works and the others wait. A store that a
/// newer didtail wrote is refused.
///
/// Examples:
///   didtail store migrate
///   DIDTAIL_STORE_PASSWORD=… didtail store migrate --store-url postgres://didtail_owner@HOST/DATABASE
///   didtail store migrate --print | psql optimizer
///   didtail store migrate --print --all > schema.sql
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Migrate {
    /// Change nothing: print the SQL of the steps that the store does not have yet
    #[arg(long)]
    print: bool,

    /// With --print: the whole schema, for an empty database; asks no server
    #[arg(long, requires = "print")]
    all: bool,
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    let Command::Migrate(arguments) = command;
    let config = options.load_alone()?;
    let address = config.store.address();
    if arguments.print {
        let sql = if arguments.all {
            whole_sql(&address)?
        } else {
            runtime()?.block_on(pending_sql(&address))?
        };
        return Ok(output::print(&sql)?);
    }
    runtime()?.block_on(async {
        let store = SqlStore::open(&address).await?;
        store.close().await;
        Ok::<_, Failure>(())
    })?;
    let shown = &config.store.url;
    if options.json {
        let document = serde_json::json!({ "store": shown.to_string(), "current": true });
        return Ok(output::print_json(&document)?);
    }
    Ok(output::print(&format!(
        "the schema of {shown} is up to date\n"
    ))?)
}
