//! `didtail dids`: the outbound caller IDs, to look at and to exchange as CSV.

mod file;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{Exit, Failure};
use super::{Options, output, runtime, time};
use crate::config::{Config, UnknownDid};
use crate::store::{DidImport, DidRecord, SqlStore, StoreError};
use crate::vicidial::Phones;
use file::{Given, Tenants};

/// Bytes of a file that is imported; a hundred times the DIDs of the largest
/// installation.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Lines with errors that are told one by one.
const TOLD_MAX: usize = 20;

/// List the DIDs, import or export them as CSV
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    List(List),
    Import(Import),
    Export(Export),
}

/// List the DIDs with their status and where they are known from
///
/// `observed` DIDs were seen in VICIdial's dials, `imported` ones came from a file.
/// Reads the store; the daemon may run.
///
/// Examples:
///   didtail dids list
///   didtail dids list --tenant default --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct List {
    /// Only those of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// Import DIDs from a CSV file
///
/// The first line names the columns, in any order:
///   phone_number  the DID, in any usual form; needed
///   tenant        whose it is; else --tenant, else the tenant of the [[source]]
///   status        your own word for it, e.g. active, resting, retired: letters,
///                 digits, - and _, at most 32; new DIDs are active without it
///   origin, created_at   of new DIDs, as an export has them
/// Others are passed over. A file of numbers alone, one a line, needs no first
/// line. Commas or semicolons, UTF-8.
///
/// All lines are checked first, and either all are imported or none. Importing a
/// file twice changes nothing. DIDs that are known get the status of the file, if
/// it has one; none is ever deleted, and no number changes. A number that is none
/// of attribution.default_country is taken by its digits, as in VICIdial's dials,
/// and named.
///
/// With unknown_did = "unattributed" only DIDs that are in the store are counted:
/// import them before the first start. What was dialled before from a DID that is
/// imported later, `didtail verify --since TIME --repair` counts.
///
/// Examples:
///   didtail dids import dids.csv --dry-run
///   didtail dids import dids.csv
///   didtail dids export | ssh other didtail dids import -
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Import {
    /// The file; - reads from stdin
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,

    /// Whose DIDs these are, where the file does not say it
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,

    /// Check the file and say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Print the DIDs as CSV, for `didtail dids import`
///
/// Examples:
///   didtail dids export > dids.csv
///   didtail dids export --tenant default > dids.csv
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Export {
    /// Only those of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    let config = options.load_alone()?;
    match command {
        Command::List(arguments) => list(options, &config, arguments.tenant.as_deref()),
        Command::Import(arguments) => import(options, &config, arguments),
        Command::Export(arguments) => export(options, &config, arguments.tenant.as_deref()),
    }
}

fn all(config: &Config, tenant: Option<&str>) -> Result<Vec<DidRecord>, Failure> {
    runtime()?.block_on(async {
        let store = SqlStore::open_read(&config.store.address()).await?;
        let dids = store.dids(tenant).await?;
        store.close().await;
        Ok(dids)
    })
}

fn list(options: &Options, config: &Config, tenant: Option<&str>) -> Result<(), Failure> {
    let dids = all(config, tenant)?;
    if options.json {
        return Ok(output::print_json(&document(&dids))?);
    }
    if dids.is_empty() {
        return Ok(output::print("There are no DIDs yet.\n")?);
    }
    Ok(output::print(&table(dids))?)
}

/// The DIDs for people, a line each.
pub(super) fn table(dids: Vec<DidRecord>) -> String {
    let rows: Vec<[String; 7]> = dids
        .into_iter()
        .map(|did| {
            [
                did.phone_number,
                did.tenant,
                did.status,
                did.origin,
                time::format(did.created_at),
                did.dials.to_string(),
                did.total_calls.to_string(),
            ]
        })
        .collect();
    let header = [
        "DID", "tenant", "status", "origin", "since", "dials", "calls",
    ];
    output::table(header, &rows)
}

fn document(dids: &[DidRecord]) -> serde_json::Value {
    time::told(serde_json::to_value(dids).unwrap_or_default())
}

fn export(options: &Options, config: &Config, tenant: Option<&str>) -> Result<(), Failure> {
    let dids = all(config, tenant)?;
    if options.json {
        return Ok(output::print_json(&document(&dids))?);
    }
    let csv = file::write(&dids).map_err(|e| Failure::from(std::io::Error::other(e)))?;
    Ok(output::print(&csv)?)
}

fn import(options: &Options, config: &Config, arguments: &Import) -> Result<(), Failure> {
    let tenants = tenants(config, arguments.tenant.as_deref())?;
    let country = &config.attribution.default_country;
    let mut phones = Phones::new(country).ok_or_else(|| {
        Failure::operator(
            format!("`{country}` is no country"),
            "attribution.default_country is two capital letters, e.g. US",
        )
    })?;
    let bytes = read(&arguments.file)?;
    let given = file::parse(&bytes, &mut phones, &tenants)
        .map_err(|wrong| refused(&arguments.file, wrong))?;
    if given.lines == 0 && !options.json {
        return Ok(output::print(&format!(
            "{} has a heading and no DID below it. Nothing was changed.\n",
            arguments.file.display()
        ))?);
    }
    let done = runtime()?.block_on(write(config, &given, arguments.dry_run))?;
    if options.json {
        return Ok(output::print_json(&json!({
            "dry_run": arguments.dry_run,
            "lines": given.lines,
            "repeated": given.repeated,
            "new": done.new,
            "changed": done.changed,
            "unchanged": done.unchanged,
            "by_digits": given.by_digits,
        }))?);
    }
    Ok(output::print(&text(
        config,
        &given,
        done,
        arguments.dry_run,
    ))?)
}

async fn write(config: &Config, given: &Given, dry_run: bool) -> Result<DidImport, Failure> {
    let address = config.store.address();
    if dry_run {
        let store = match SqlStore::open_read(&address).await {
            // The import makes it.
            Err(StoreError::Missing { .. }) if config.store.url.file().is_some() => {
                return Ok(DidImport {
                    new: given.entries.len() as u64,
                    ..DidImport::default()
                });
            }
            store => store?,
        };
        let plan = store.plan_dids(&given.entries).await?;
        store.close().await;
        return Ok(plan);
    }
    let store = SqlStore::open(&address).await?;
    let done = store.import_dids(&given.entries).await;
    store.close().await;
    Ok(done?)
}

fn text(config: &Config, given: &Given, done: DidImport, dry_run: bool) -> String {
    let mut text = output::pairs(&[
        ("lines", given.lines.to_string()),
        ("new", done.new.to_string()),
        ("changed", done.changed.to_string()),
        ("unchanged", done.unchanged.to_string()),
    ]);
    if given.repeated > 0 {
        let lines = given.repeated;
        text.push_str(&format!(
            "{lines} lines name a DID that a line before names\n"
        ));
    }
    let country = &config.attribution.default_country;
    for note in given.by_digits.iter().take(TOLD_MAX) {
        text.push_str(&format!(
            "{note}: no valid number (default country {country}), kept by its digits\n"
        ));
    }
    let more = given.by_digits.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        text.push_str(&format!("and {more} more of that kind (--json has all)\n"));
    }
    let is_gated = config.attribution.unknown_did == UnknownDid::Unattributed;
    if is_gated && done.new > 0 && !dry_run {
        text.push_str(
            "Calls from the new DIDs count from now on; those of before: \
             didtail verify --since TIME --repair\n",
        );
    }
    text.push_str(if dry_run {
        "Nothing was changed.\n"
    } else {
        "Done.\n"
    });
    text
}

/// Whose DIDs a file may have, and whose they are where it does not say.
fn tenants<'a>(config: &'a Config, asked: Option<&'a str>) -> Result<Tenants<'a>, Failure> {
    let known = super::tenants(config);
    let default = match (asked, known.as_slice()) {
        (None, [only]) => Some(*only),
        // Each line has to say it.
        (None, _) => None,
        (Some(asked), _) => Some(super::tenant(config, Some(asked))?),
    };
    Ok(Tenants { default, known })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure {
        exit: Exit::Operator,
        error: anyhow::Error::new(error).context(format!("cannot read {}", path.display())),
        hint: Some("name a CSV file that this user may read, or - for stdin".to_owned()),
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let stdin = std::io::stdin().lock();
        stdin.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    }
    .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::operator(
            format!(
                "{} is larger than {} MiB",
                path.display(),
                FILE_BYTES_MAX >> 20
            ),
            "import it in parts",
        ));
    }
    Ok(bytes)
}

/// Every line that is wrong, as far as they can be told one by one.
fn refused(path: &Path, wrong: Vec<String>) -> Failure {
    let count = wrong.len();
    let lines = if count == 1 { "line" } else { "lines" };
    let more = count.saturating_sub(TOLD_MAX);
    let mut causes: Vec<String> = wrong.into_iter().take(TOLD_MAX).collect();
    if more > 0 {
        causes.push(format!("and {more} more"));
    }
    let what = format!(
        "{}: {count} {lines} cannot be imported, and nothing was changed",
        path.display()
    );
    let chain = causes.into_iter().rev();
    let cause = chain.fold(None, |inner: Option<anyhow::Error>, line| {
        Some(match inner {
            None => anyhow::Error::msg(line),
            Some(inner) => inner.context(line),
        })
    });
    Failure {
        exit: Exit::Operator,
        error: match cause {
            Some(cause) => cause.context(what),
            None => anyhow::Error::msg(what),
        },
        hint: Some("mend these lines, then import the file again".to_owned()),
    }
}
