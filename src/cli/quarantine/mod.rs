//! `didtail quarantine`: rows that were quarantined because they could not be understood.

mod retry;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Options, ask, output, runtime, time};
use crate::config::Config;
use crate::state::{SetAside, StateError, StateFile};
use crate::store::{OperatorAction, SqlStore};

/// Rows read from the state file at once: each has its whole event with it.
const ROWS_AT_ONCE: u32 = 500;

/// Rows that a command deals with at most; more are dealt with by the next one.
const ROWS_MAX: usize = 100_000;

/// Characters of a reason in the list.
const REASON_MAX: usize = 100;

/// Look at rows that could not be understood, try them again, or give them up
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    List(List),
    Show(Show),
    Retry(retry::Retry),
    Discard(Discard),
}

/// List the rows that were quarantined
///
/// These rows are not in the numbers: `didtail status` counts them. The daemon goes
/// on without them; it may run.
///
/// Examples:
///   didtail quarantine list
///   didtail quarantine list --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct List {
    /// At most so many rows, the first ones
    #[arg(long, value_name = "ROWS", default_value_t = 50)]
    limit: u32,
}

/// Show one row: its place in the binlog, and why it could not be understood
///
/// Examples:
///   didtail quarantine show 3
///   didtail quarantine show 3 --bytes
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Show {
    /// The id that `didtail quarantine list` shows
    #[arg(value_name = "ID")]
    id: i64,

    /// Also the bytes of the event, in hexadecimal digits. They hold phone numbers and
    /// names: look at them before you show them to anybody
    #[arg(long)]
    bytes: bool,
}

/// Give rows up: they are deleted, and stay missing from the numbers
///
/// For rows that `retry` cannot mend. `didtail verify --since TIME --repair` first
/// looks whether a call of that time differs, whatever the row said. What was given
/// up is written to audit_log.
///
/// Examples:
///   didtail quarantine discard 3 4
///   didtail quarantine discard --all --yes
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Discard {
    #[command(flatten)]
    which: Which,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Which rows a command is about.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// Ids that `didtail quarantine list` shows
    #[arg(value_name = "ID")]
    ids: Vec<i64>,

    /// All rows, or with --source those of one source
    #[arg(long)]
    all: bool,
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(options, &options.load_alone()?, arguments.limit),
        Command::Show(arguments) => show(options, &options.load_alone()?, arguments),
        Command::Retry(arguments) => retry::run(options, &options.load()?, arguments),
        Command::Discard(arguments) => discard(options, &options.load_alone()?, arguments),
    }
}

/// The state file, `None` where there is none: then nothing was ever quarantined.
fn state(config: &Config) -> Result<Option<StateFile>, Failure> {
    match StateFile::open(&config.state.path) {
        Ok(state) => Ok(Some(state)),
        Err(StateError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Rows of the configured sources, the first ones: at most `rows_max`.
fn rows(config: &Config, state: &StateFile, rows_max: usize) -> Result<Vec<SetAside>, Failure> {
    let (mut rows, mut behind) = (Vec::new(), 0);
    loop {
        let page = state.set_aside(behind, ROWS_AT_ONCE)?;
        let Some(last) = page.last() else {
            return Ok(rows);
        };
        behind = last.id;
        let of_these = |row: &SetAside| config.sources.iter().any(|s| s.name == row.source);
        rows.extend(page.into_iter().filter(of_these));
        if rows.len() >= rows_max {
            rows.truncate(rows_max);
            return Ok(rows);
        }
    }
}

fn list(options: &Options, config: &Config, limit: u32) -> Result<(), Failure> {
    let (mut shown, mut count) = (Vec::new(), 0);
    if let Some(state) = state(config)? {
        shown = rows(config, &state, usize::try_from(limit).unwrap_or(usize::MAX))?;
        for source in &config.sources {
            count += state.quarantine_count(&source.name)?;
        }
    }
    if options.json {
        let rows: Vec<Value> = shown.iter().map(document).collect();
        return Ok(output::print_json(
            &json!({ "count": count, "rows": rows }),
        )?);
    }
    if count == 0 {
        return Ok(output::print("No row is quarantined.\n")?);
    }
    let mut text = table(&shown);
    let more = count.saturating_sub(shown.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {more} more: --limit\n"));
    }
    text.push_str("To try them again: didtail quarantine retry --all --dry-run\n");
    Ok(output::print(&text)?)
}

/// The rows for people, a line each.
pub(super) fn table(rows: &[SetAside]) -> String {
    let rows: Vec<[String; 6]> = rows.iter().map(line).collect();
    let header = ["id", "source", "written", "table", "position", "reason"];
    output::table(header, &rows)
}

fn line(kept: &SetAside) -> [String; 6] {
    let row = &kept.row;
    let reason: String = row.reason.chars().take(REASON_MAX).collect();
    [
        kept.id.to_string(),
        kept.source.clone(),
        written(row.event_time),
        table_name(&row.table),
        row.position.to_string(),
        reason,
    ]
}

fn table_name(name: &str) -> String {
    if name.is_empty() { "not known" } else { name }.to_owned()
}

fn written(event_time: i64) -> String {
    match event_time {
        0 => "not known".to_owned(),
        at => time::format(at),
    }
}

/// A row for programs, without its bytes.
fn document(kept: &SetAside) -> Value {
    let row = &kept.row;
    json!({
        "id": kept.id,
        "source": kept.source,
        "quarantined_at": time::format(kept.saved_at),
        "event_time": (row.event_time != 0).then(|| time::format(row.event_time)),
        "table": row.table,
        "position": row.position.to_string(),
        "row_index": row.row_index,
        "event_code": row.event_code,
        "event_bytes": row.body.len(),
        "reason": row.reason,
    })
}

fn show(options: &Options, config: &Config, arguments: &Show) -> Result<(), Failure> {
    let kept = match state(config)? {
        Some(state) => state.set_aside_row(arguments.id)?,
        None => None,
    };
    let kept = kept.ok_or_else(|| unknown(arguments.id))?;
    let row = &kept.row;
    if options.json {
        let mut document = document(&kept);
        if arguments.bytes {
            document["event"] = hex::encode(&row.body).into();
            document["table_map"] = hex::encode(&row.table_map).into();
        }
        return Ok(output::print_json(&document)?);
    }
    let mut pairs = vec![
        ("id", kept.id.to_string()),
        ("source", kept.source.clone()),
        ("quarantined", time::format(kept.saved_at)),
        ("written", written(row.event_time)),
        ("table", table_name(&row.table)),
        ("position", row.position.to_string()),
        (
            "row",
            format!("{} of the event", u64::from(row.row_index) + 1),
        ),
        (
            "event",
            format!("code {}, {} bytes", row.event_code, row.body.len()),
        ),
        ("reason", row.reason.clone()),
    ];
    if arguments.bytes {
        pairs.push(("bytes", hex::encode(&row.body)));
        pairs.push(("table map", hex::encode(&row.table_map)));
    }
    Ok(output::print(&output::pairs(&pairs))?)
}

fn unknown(id: i64) -> Failure {
    Failure::operator(
        format!("no row {id} is quarantined"),
        "`didtail quarantine list` shows those that are",
    )
}

impl Which {
    /// The rows that are meant.
    fn find(&self, config: &Config) -> Result<Vec<SetAside>, Failure> {
        let Some(state) = state(config)? else {
            return match self.ids.first() {
                Some(id) => Err(unknown(*id)),
                None => Ok(Vec::new()),
            };
        };
        if self.all {
            return rows(config, &state, ROWS_MAX);
        }
        let mut found = Vec::new();
        for id in &self.ids {
            let kept = state.set_aside_row(*id)?.ok_or_else(|| unknown(*id))?;
            if found.iter().all(|other: &SetAside| other.id != kept.id) {
                found.push(kept);
            }
        }
        Ok(found)
    }
}

fn discard(options: &Options, config: &Config, arguments: &Discard) -> Result<(), Failure> {
    let found = arguments.which.find(config)?;
    if found.is_empty() {
        if options.json {
            return Ok(output::print_json(&json!({ "discarded": 0 }))?);
        }
        return Ok(output::print("No row is quarantined.\n")?);
    }
    let plan = format!(
        "{}These {} rows are deleted and stay missing from the numbers.\n",
        table(&found),
        found.len()
    );
    ask::confirm(arguments.yes, &plan, "Give them up?")?;
    write_down(config, OperatorAction::RowsDiscarded, &found)?;
    let ids: Vec<i64> = found.iter().map(|kept| kept.id).collect();
    let count = StateFile::open_shared(&config.state.path)?.forget_set_aside(&ids)?;
    if options.json {
        return Ok(output::print_json(&json!({ "discarded": count }))?);
    }
    Ok(output::print(&format!("{count} rows were given up.\n"))?)
}

/// Notes in the store what becomes of rows, once for each source: where they stood,
/// and nothing of what they hold.
fn write_down(config: &Config, action: OperatorAction, rows: &[SetAside]) -> Result<(), Failure> {
    /// Places named in one note.
    const PLACES_MAX: usize = 100;
    runtime()?.block_on(async {
        let store = SqlStore::open(&config.store.address()).await?;
        for source in &config.sources {
            let of_source: Vec<&SetAside> = rows
                .iter()
                .filter(|row| row.source == source.name)
                .collect();
            if of_source.is_empty() {
                continue;
            }
            let places = of_source.iter().take(PLACES_MAX);
            let places = places.map(|row| format!("{}/{}", row.row.position, row.row.row_index));
            let details = json!({
                "source": source.name,
                "rows": of_source.len(),
                "places": places.collect::<Vec<_>>(),
            });
            store.note_action(&source.tenant, action, &details).await?;
        }
        store.close().await;
        Ok(())
    })
}
