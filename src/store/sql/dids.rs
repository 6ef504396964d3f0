//! The outbound caller IDs, as operators list, import and export them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::SqlStore;
use super::commit;
use super::dialect::Conflict;
use super::insert::Insert;
use super::operator;
use super::session::Tx;
use super::value::Value;
use crate::store::StoreError;

/// A row of `dids`, with what says whether it is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DidRecord {
    /// The tenant's name.
    pub tenant: String,
    /// The DID: E.164 where valid, else digits.
    pub phone_number: String,
    /// `active`, or what an import said.
    pub status: String,
    /// How it came to be known: `observed`, `imported` or `reported`.
    pub origin: String,
    /// When; seconds since 1970 (UTC).
    pub created_at: i64,
    /// Dials from it, of all time.
    pub dials: i64,
    /// Counted calls from it, of all time.
    pub total_calls: i64,
}

/// What is said of a DID that is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DidEntry {
    /// `None`: `active` where it is new, else as it is.
    pub status: Option<String>,
    /// Of a new one; `None`: `imported`.
    pub origin: Option<String>,
    /// Of a new one, in seconds since 1970 (UTC); `None`: now.
    pub created_at: Option<i64>,
}

/// DIDs to import, by tenant and number as the store writes it.
pub type DidEntries = BTreeMap<(String, String), DidEntry>;

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DidImport {
    /// DIDs that were not known.
    pub new: u64,
    /// Those that were, and have another status now.
    pub changed: u64,
    /// Those that are as they were.
    pub unchanged: u64,
}

/// The status of a new DID.
const ACTIVE: &str = "active";

/// The origin of one that an operator brings.
const IMPORTED: &str = "imported";

impl SqlStore {
    /// All DIDs by tenant and number; of one tenant or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dids(&self, tenant: Option<&str>) -> Result<Vec<DidRecord>, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = tx.query(
                "SELECT t.name, d.phone_number, d.status, d.origin, d.created_at, \
                 coalesce(s.dials, 0), coalesce(s.total_calls, 0) FROM dids d \
                 JOIN tenants t ON t.id = d.tenant_id LEFT JOIN did_stats s ON s.did_id = d.id",
            );
            let query = match tenant {
                Some(tenant) => query.sql(" WHERE t.name = ").bind(tenant),
                None => query,
            };
            let query = query.sql(" ORDER BY t.name, d.phone_number");
            let mut found = Vec::new();
            for mut row in tx.fetch(query).await? {
                found.push(DidRecord {
                    tenant: row.take()?,
                    phone_number: row.take()?,
                    status: row.take()?,
                    origin: row.take()?,
                    created_at: row.take()?,
                    dials: row.take()?,
                    total_calls: row.take()?,
                });
            }
            tx.finish(found).await
        };
        read.await.map_err(|e| self.error("reading the DIDs", e))
    }

    /// What [`SqlStore::import_dids`] would do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan_dids(&self, entries: &DidEntries) -> Result<DidImport, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let mut total = DidImport::default();
            for (tenant, entries) in by_tenant(entries) {
                let tenant_id = commit::find_tenant(&mut tx, tenant).await?;
                total.add(&plan(&mut tx, tenant_id, &entries).await?);
            }
            tx.finish(total).await
        };
        read.await.map_err(|e| self.error("reading the DIDs", e))
    }

    /// Makes the DIDs that are new, and gives the others the statuses that are said:
    /// all of them or, where something fails, none. Once more changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn import_dids(&self, entries: &DidEntries) -> Result<DidImport, StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_lasting().await?;
            let mut total = DidImport::default();
            for (tenant, entries) in by_tenant(entries) {
                let tenant_id = commit::tenant(&mut tx, tenant).await?;
                let plan = plan(&mut tx, Some(tenant_id), &entries).await?;
                write(&mut tx, tenant_id, &plan).await?;
                total.add(&plan);
            }
            tx.finish(total).await
        };
        write.await.map_err(|e| self.error("importing DIDs", e))
    }
}

/// What is to be done for one tenant.
#[derive(Default)]
struct Plan<'a> {
    new: Vec<(&'a str, &'a DidEntry)>,
    /// Numbers by the status that they get.
    changed: BTreeMap<&'a str, BTreeSet<&'a str>>,
    unchanged: usize,
}

impl DidImport {
    fn add(&mut self, plan: &Plan<'_>) {
        let changed = plan.changed.values().map(BTreeSet::len).sum::<usize>();
        self.new += plan.new.len() as u64;
        self.changed += changed as u64;
        self.unchanged += plan.unchanged as u64;
    }
}

type OfTenant<'a> = BTreeMap<&'a str, &'a DidEntry>;

fn by_tenant(entries: &DidEntries) -> BTreeMap<&str, OfTenant<'_>> {
    let mut tenants: BTreeMap<&str, OfTenant<'_>> = BTreeMap::new();
    for ((tenant, number), entry) in entries {
        tenants.entry(tenant).or_default().insert(number, entry);
    }
    tenants
}

async fn plan<'a>(
    tx: &mut Tx,
    tenant_id: Option<i64>,
    entries: &OfTenant<'a>,
) -> Result<Plan<'a>, Error> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    if let Some(tenant_id) = tenant_id {
        let read = tx
            .query("SELECT phone_number, status FROM dids WHERE tenant_id = ")
            .bind(tenant_id);
        for mut row in tx.fetch(read).await? {
            known.insert(row.take()?, row.take()?);
        }
    }
    let mut plan = Plan::default();
    for (number, entry) in entries {
        match (known.get(*number), &entry.status) {
            (None, _) => plan.new.push((number, entry)),
            (Some(status), Some(wanted)) if status != wanted => {
                plan.changed.entry(wanted).or_default().insert(number);
            }
            (Some(_), _) => plan.unchanged += 1,
        }
    }
    Ok(plan)
}

async fn write(tx: &mut Tx, tenant_id: i64, plan: &Plan<'_>) -> Result<(), Error> {
    const CREATE: Insert<'_> = Insert {
        table: "dids",
        columns: &[
            "tenant_id",
            "phone_number",
            "status",
            "origin",
            "created_at",
        ],
        fixed: &[],
        key: &["tenant_id", "phone_number"],
        // The daemon may have seen it at this moment.
        then: Conflict::Keep,
    };
    if plan.new.is_empty() && plan.changed.is_empty() {
        return Ok(());
    }
    let now = operator::now(tx).await?;
    let mut values: Vec<Value<'_>> = Vec::new();
    for (number, entry) in &plan.new {
        values.push(tenant_id.into());
        values.push(Value::from(*number));
        values.push(Value::from(entry.status.as_deref().unwrap_or(ACTIVE)));
        values.push(Value::from(entry.origin.as_deref().unwrap_or(IMPORTED)));
        values.push(entry.created_at.unwrap_or(now).into());
    }
    tx.insert(&CREATE, values).await?;
    for (status, numbers) in &plan.changed {
        let update = tx
            .query("UPDATE dids SET status = ")
            .bind(*status)
            .sql(" WHERE tenant_id = ")
            .bind(tenant_id)
            .sql(" AND phone_number")
            .among(numbers.iter().map(|number| Value::Text(Some(number))));
        tx.run(update).await?;
    }
    let changed = plan.changed.values().map(BTreeSet::len).sum::<usize>();
    let details = serde_json::json!({ "new": plan.new.len(), "changed": changed });
    operator::audit(tx, tenant_id, "DIDS_IMPORTED", &details).await
}
