//! May this user do what the daemon does? Asked without changing anything, so that
//! an operator hears of it before the daemon does.
//!
//! PostgreSQL answers questions about privileges. MySQL and MariaDB have them at
//! four levels and behind roles, and no question that has all of them: there the
//! statements themselves are tried, in a form that finds no row or no table. A
//! server checks the privilege first.

use std::collections::BTreeSet;

use sqlx::Error;

use super::dialect::Dialect;
use super::error::{classify, is_forbidden, is_missing_table};
use super::migrate::{self, Version};
use super::open;
use super::partitions::Parted;
use super::session::{PATIENCE, Pool, Tx};
use crate::store::StoreError;
use crate::store::error::migration_of;

/// The tables that the daemon and the commands write, each with a column of its key.
const TABLES: [(&str, &str); 17] = [
    ("api_keys", "id"),
    ("audit_log", "id"),
    ("backfills", "source"),
    ("call_records", "id"),
    ("change_history", "id"),
    ("dials", "id"),
    ("did_daily_stats", "did_id"),
    ("did_stats", "did_id"),
    ("dids", "id"),
    ("landmarks", "source"),
    ("posted_keys", "key_hash"),
    ("posted_results", "id"),
    ("replication_progress", "source"),
    ("retention", "source"),
    ("source_leases", "source"),
    ("status_flags", "source"),
    ("tenants", "id"),
];

/// What is done with their rows.
const ON_ROWS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The functions of PostgreSQL's partitions.
const FUNCTIONS: [&str; 2] = [
    "didtail_partition(TEXT, BIGINT)",
    "didtail_drop_partitions(TEXT, BIGINT, BIGINT)",
];

/// A privilege that the store's user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// What it may not do.
    pub what: String,
    /// The statement that lets it, and who has to run it.
    pub fix: String,
    /// False where the daemon works without it, too.
    pub is_needed: bool,
}

/// What the store's user lacks to be the daemon's: privileges on the rows of the
/// tables that are there, or those to make tables where steps are missing. Empty for
/// a file. Changes nothing.
///
/// # Errors
/// [`StoreError`] when the server cannot be asked.
pub async fn lacking_privileges(url: &str) -> Result<Vec<Lacking>, StoreError> {
    if Dialect::of_url(url)? == Dialect::Sqlite {
        return Ok(Vec::new());
    }
    let (store, pool) = open::connect(url).await?;
    let found = async {
        let version = migrate::version(&store, &pool).await?;
        let looked = match pool.dialect() {
            Dialect::Sqlite => Ok(Vec::new()),
            Dialect::Postgres => postgres(&store, &pool, version).await,
            Dialect::MySql => mysql(&store, &pool, version).await,
        };
        looked.map_err(|e| classify(&store, pool.dialect(), "asking for its privileges", e))
    };
    let found = found.await;
    pool.close().await;
    found
}

/// What is lacking to make the tables, or to upgrade them.
fn to_migrate(store: &str, what: String, grant: &str) -> Lacking {
    Lacking {
        what,
        fix: format!("{grant}; or as their owner: {}", migration_of(store)),
        is_needed: true,
    }
}

async fn postgres(store: &str, pool: &Pool, version: Version) -> Result<Vec<Lacking>, Error> {
    let mut tx = pool
        .begin(open::begin_reading(Dialect::Postgres), PATIENCE)
        .await?;
    let who = tx.query(
        "SELECT quote_ident(current_user), coalesce(quote_ident(current_schema()), 'public'), \
         CASE WHEN coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) THEN 1 ELSE 0 END",
    );
    let mut row = tx.fetch_first(who).await?.ok_or(Error::RowNotFound)?;
    let (user, schema, may_create): (String, String, bool) =
        (row.take()?, row.take()?, row.take()?);
    let mut all = Vec::new();
    let writes = tx.query(
        "SELECT CASE WHEN pg_is_in_recovery() OR \
         current_setting('default_transaction_read_only') = 'on' THEN 0 ELSE 1 END",
    );
    let mut row = tx.fetch_first(writes).await?.ok_or(Error::RowNotFound)?;
    if !row.take::<bool>()? {
        let error = StoreError::ReadOnly {
            store: store.to_owned(),
            source: "it is a standby, or was made so".into(),
        };
        all.push(Lacking {
            what: error.to_string(),
            fix: error.hint().unwrap_or_default(),
            is_needed: true,
        });
    }
    if version != Version::Current {
        let owned = tx.query(
            "SELECT count(*) FROM pg_class WHERE relname = '_sqlx_migrations' AND relnamespace = \
             to_regnamespace(quote_ident(current_schema())) AND NOT pg_has_role(relowner, 'USAGE')",
        );
        let others: i64 = match tx.fetch_first(owned).await? {
            Some(mut row) => row.take()?,
            None => 0,
        };
        let grant = format!(
            "as the administrator, in the store's database: GRANT CREATE, USAGE ON SCHEMA {schema} TO {user}"
        );
        if !may_create {
            let what = format!("{user} may not make tables in the schema {schema}");
            all.push(to_migrate(store, what, &grant));
        } else if others > 0 {
            all.push(Lacking {
                what: format!("{user} does not own the tables, which have to be upgraded"),
                fix: format!("as their owner: {}", migration_of(store)),
                is_needed: true,
            });
        }
        return tx.finish(all).await;
    }
    let tables: Vec<String> = TABLES
        .iter()
        .map(|(table, _)| format!("('{table}')"))
        .collect();
    // Retention looks into these directly.
    let parts = Parted::ALL.map(|parted| format!("('{}_default')", parted.table()));
    let tables = [&tables[..], &parts].concat();
    let rights: Vec<String> = ON_ROWS.iter().map(|right| format!("('{right}')")).collect();
    let asked = tx.query(&format!(
        "SELECT t.name, p.name FROM (VALUES {}) t (name), (VALUES {}) p (name) \
         WHERE NOT coalesce(has_table_privilege(to_regclass(t.name), p.name), true) \
         AND NOT (t.name LIKE '%\\_default' AND p.name IN ('INSERT', 'UPDATE'))",
        tables.join(", "),
        rights.join(", ")
    ));
    let (mut of, mut rights) = (BTreeSet::new(), BTreeSet::new());
    for mut row in tx.fetch(asked).await? {
        let (table, right): (String, String) = (row.take()?, row.take()?);
        of.insert(table);
        rights.insert(right);
    }
    if !of.is_empty() {
        let tables = list(&of);
        let place = if of.len() >= TABLES.len() {
            format!("ALL TABLES IN SCHEMA {schema}")
        } else {
            tables.clone()
        };
        all.push(Lacking {
            what: format!("{user} may not {} in {tables}", list(&rights)),
            fix: format!(
                "as the owner of the tables: GRANT {} ON {place} TO {user};",
                in_order(&rights)
            ),
            is_needed: true,
        });
    }
    let mut missing = Vec::new();
    for function in FUNCTIONS {
        let asked = tx
            .query("SELECT CASE WHEN coalesce(has_function_privilege(to_regprocedure(")
            .bind(function)
            .sql("), 'EXECUTE'), true) THEN 1 ELSE 0 END");
        let mut row = tx.fetch_first(asked).await?.ok_or(Error::RowNotFound)?;
        if !row.take::<bool>()? {
            missing.push(function);
        }
    }
    if !missing.is_empty() {
        all.push(Lacking {
            what: format!(
                "{user} may not make or drop partitions: rows stay in the default ones, and go one by one"
            ),
            fix: format!(
                "as the owner of the tables: GRANT EXECUTE ON FUNCTION {} TO {user};",
                missing.join(", ")
            ),
            is_needed: false,
        });
    }
    tx.finish(all).await
}

fn list(words: &BTreeSet<String>) -> String {
    words.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Privileges in the order in which they are written everywhere.
fn in_order(rights: &BTreeSet<String>) -> String {
    let all = ON_ROWS.iter().filter(|right| rights.contains(**right));
    all.copied().collect::<Vec<_>>().join(", ")
}

async fn mysql(store: &str, pool: &Pool, version: Version) -> Result<Vec<Lacking>, Error> {
    // What is tried here is undone, and it finds nothing to change.
    let mut tx = pool.begin_writing().await?;
    let who = tx.query("SELECT current_user(), database()");
    let mut row = tx.fetch_first(who).await?.ok_or(Error::RowNotFound)?;
    let (account, database): (String, String) = (row.take()?, row.take()?);
    let (name, host) = account.rsplit_once('@').unwrap_or((account.as_str(), "%"));
    let quoted = |text: &str| text.replace('\'', "''");
    let user = format!("'{}'@'{}'", quoted(name), quoted(host));
    let database = database.replace('`', "``");
    let grant =
        |rights: &str| format!("as the administrator: GRANT {rights} ON `{database}`.* TO {user}");
    if version != Version::Current {
        const NOWHERE: &str = "didtail_no_such_table";
        let mut lacking = Vec::new();
        for (right, statement) in [
            ("CREATE", format!("CREATE TABLE {NOWHERE}_2 LIKE {NOWHERE}")),
            ("ALTER", format!("ALTER TABLE {NOWHERE} ADD x INT")),
            ("INDEX", format!("CREATE INDEX x ON {NOWHERE} (x)")),
            (
                "CREATE VIEW",
                format!("CREATE VIEW {NOWHERE}_3 AS SELECT * FROM {NOWHERE}"),
            ),
        ] {
            if is_denied(&mut tx, &statement).await? {
                lacking.push(right);
            }
        }
        if lacking.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!("{user} lacks {} to make the tables", lacking.join(", "));
        let all =
            "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW";
        return Ok(vec![to_migrate(store, what, &grant(all))]);
    }
    let (mut of, mut rights) = (BTreeSet::new(), BTreeSet::new());
    for (table, key) in TABLES {
        for (right, statement) in [
            ("SELECT", format!("SELECT {key} FROM {table} WHERE 1 = 0")),
            (
                "INSERT",
                format!("INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"),
            ),
            (
                "UPDATE",
                format!("UPDATE {table} SET {key} = {key} WHERE 1 = 0"),
            ),
            ("DELETE", format!("DELETE FROM {table} WHERE 1 = 0")),
        ] {
            if is_denied(&mut tx, &statement).await? {
                of.insert(table.to_owned());
                rights.insert(right.to_owned());
                // The others of this table need it.
                if right == "SELECT" {
                    break;
                }
            }
        }
    }
    if of.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Lacking {
        what: format!("{user} may not {} in {}", in_order(&rights), list(&of)),
        fix: format!("{};", grant(&in_order(&rights))),
        is_needed: true,
    }])
}

/// Tries a statement that finds nothing; true when the server refuses it for want
/// of a privilege.
///
/// # Errors
/// What would keep the daemon from writing as well: a server that is read-only, or
/// that is away.
async fn is_denied(tx: &mut Tx, statement: &str) -> Result<bool, Error> {
    match tx.run(tx.query(statement)).await {
        Ok(_) => Ok(false),
        Err(error) if is_forbidden(&error) => Ok(true),
        Err(error) if is_missing_table(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that a step adds must not be forgotten here.
    #[test]
    fn every_table_of_the_schema_is_asked_for() {
        let sql = migrate::whole_sql("postgres://u@h/d").expect("known");
        let names = sql.split("CREATE TABLE ").skip(1);
        let names = names.filter_map(|rest| rest.split([' ', '(']).next());
        let own = |name: &&str| {
            // Steps are noted by the migrator; the rest is made within functions, or
            // for a while.
            !matches!(*name, "IF" | "%I") && !name.ends_with("_default")
        };
        let schema: BTreeSet<&str> = names.filter(own).collect();
        let asked: BTreeSet<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        assert_eq!(asked, schema);
    }
}
