//! `didtail api-key`: who may use the HTTP API.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Options, output, runtime, time};
use crate::config::Config;
use crate::store::{ApiKey, ApiKeyRecord, SqlStore};

/// Longest label, in characters.
const LABEL_MAX: usize = 80;

/// Make, list and revoke keys of the HTTP API
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key and show it, this once
///
/// Who uses the API sends it as the header `x-api-key`. The store keeps only a hash
/// of it: a key that is lost cannot be shown again. Make another one, and revoke it.
///
/// Examples:
///   didtail api-key create --label dialplan
///   didtail api-key create --label reports --tenant west --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Create {
    /// What the key is for, e.g. who has it; at most 80 characters
    #[arg(long, value_name = "TEXT", value_parser = label)]
    label: String,

    /// The tenant whose numbers it is for; needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// List the keys: what they are for, and when they were used last
///
/// Examples:
///   didtail api-key list
///   didtail api-key list --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct List {
    /// Only those of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// Revoke a key: it is refused from then on
///
/// Example:
///   didtail api-key revoke 3
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Revoke {
    /// The id that `didtail api-key list` shows
    #[arg(value_name = "ID")]
    id: i64,
}

fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say what the key is for".to_owned());
    }
    if text.chars().count() > LABEL_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "expected one line of at most {LABEL_MAX} characters"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    let config = options.load_alone()?;
    match command {
        Command::Create(arguments) => create(options, &config, arguments),
        Command::List(arguments) => list(options, &config, arguments.tenant.as_deref()),
        Command::Revoke(arguments) => revoke(options, &config, arguments.id),
    }
}

fn create(options: &Options, config: &Config, arguments: &Create) -> Result<(), Failure> {
    let tenant = super::tenant(config, arguments.tenant.as_deref())?;
    let key = ApiKey::random().ok_or_else(|| {
        Failure::operator(
            "the system gives no random numbers, so there is no key",
            "see whether /dev/urandom can be read",
        )
    })?;
    let made = runtime()?.block_on(async {
        let store = SqlStore::open(&config.store.address()).await?;
        let hash = key.hash();
        let made = store.create_api_key(tenant, &arguments.label, &hash);
        let made = made.await;
        store.close().await;
        Ok::<_, Failure>(made?)
    })?;
    if options.json {
        let mut document = document(&made);
        document["key"] = key.reveal().into();
        return Ok(output::print_json(&document)?);
    }
    let pairs = output::pairs(&[
        ("key", key.reveal().to_owned()),
        ("id", made.id.to_string()),
        ("tenant", made.tenant),
        ("label", made.label),
    ]);
    Ok(output::print(&format!(
        "{pairs}Keep the key: it is shown this once. Requests send it as `x-api-key`.\n"
    ))?)
}

fn list(options: &Options, config: &Config, tenant: Option<&str>) -> Result<(), Failure> {
    let keys = runtime()?.block_on(async {
        let store = SqlStore::open_read(&config.store.address()).await?;
        let keys = store.api_keys(tenant).await;
        store.close().await;
        Ok::<_, Failure>(keys?)
    })?;
    if options.json {
        return Ok(output::print_json(&keys.iter().map(document).collect())?);
    }
    if keys.is_empty() {
        return Ok(output::print(
            "There are no keys. Make one: didtail api-key create --label TEXT\n",
        )?);
    }
    Ok(output::print(&table(keys))?)
}

/// The keys for people, a line each.
pub(super) fn table(keys: Vec<ApiKeyRecord>) -> String {
    let rows: Vec<[String; 6]> = keys
        .into_iter()
        .map(|key| {
            [
                key.id.to_string(),
                key.label,
                key.tenant,
                time::format(key.created_at),
                key.last_used_at.map_or("never".to_owned(), time::format),
                key.revoked_at.map_or(String::new(), time::format),
            ]
        })
        .collect();
    let header = ["id", "label", "tenant", "made", "last used", "revoked"];
    output::table(header, &rows)
}

fn revoke(options: &Options, config: &Config, id: i64) -> Result<(), Failure> {
    let before = runtime()?.block_on(async {
        let store = SqlStore::open(&config.store.address()).await?;
        let before = store.revoke_api_key(id).await;
        store.close().await;
        Ok::<_, Failure>(before?)
    })?;
    let Some(before) = before else {
        return Err(Failure::operator(
            format!("there is no key {id}"),
            "`didtail api-key list` shows their ids",
        ));
    };
    if options.json {
        return Ok(output::print_json(&json!({
            "id": id,
            "label": before.label,
            "revoked": true,
            "revoked_before_at": before.revoked_at.map(time::format),
        }))?);
    }
    let label = before.label;
    Ok(output::print(&match before.revoked_at {
        None => format!("Key {id} ({label}) is revoked.\n"),
        Some(at) => format!(
            "Key {id} ({label}) has been revoked since {}.\n",
            time::format(at)
        ),
    })?)
}

fn document(key: &ApiKeyRecord) -> Value {
    time::told(serde_json::to_value(key).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_something_in_one_line() {
        assert_eq!(label(" dialplan "), Ok("dialplan".to_owned()));
        for bad in ["", "  ", "a\nb", &"x".repeat(81)] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
