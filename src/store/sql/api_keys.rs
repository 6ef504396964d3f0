//! Keys of the HTTP API: made, listed, looked up and revoked.

use super::SqlStore;
use super::commit;
use super::dialect::Conflict;
use super::insert::Insert;
use super::operator;
use super::session::Tx;
use super::value::Value;
use crate::store::StoreError;

/// A row of `api_keys`, without its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ApiKeyRecord {
    /// Names the key in commands; the key itself is not stored.
    pub id: i64,
    /// The tenant whose numbers it is for.
    pub tenant: String,
    /// What it is for.
    pub label: String,
    /// Seconds since 1970 (UTC).
    pub created_at: i64,
    /// `None`: never.
    pub last_used_at: Option<i64>,
    /// `None`: it is valid.
    pub revoked_at: Option<i64>,
}

/// Whoever sent a key that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The key's id.
    pub key: i64,
    /// The tenant whose numbers it is for.
    pub tenant: String,
}

/// Seconds between two notes of when a key was used last.
const USE_NOTED_SECONDS: i64 = 60;

impl SqlStore {
    /// Whether anybody was ever given a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_keys(&self) -> Result<bool, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let find = tx.query("SELECT id FROM api_keys LIMIT 1");
            let found = tx.fetch_first(find).await?.is_some();
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("looking for API keys", e))
    }

    /// Who has the key with this hash ([`crate::store::ApiKey::hash_of`]); `None` where
    /// there is no such key, or it is revoked. A look-up by the hash of 256 random bits
    /// tells nobody anything by the time that it takes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_holder(&self, hash: &str) -> Result<Option<KeyHolder>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let find = tx
                .query(
                    "SELECT k.id, t.name FROM api_keys k JOIN tenants t ON t.id = k.tenant_id \
                     WHERE k.revoked_at IS NULL AND k.key_hash = ",
                )
                .bind(hash);
            let found = match tx.fetch_first(find).await? {
                Some(mut row) => Some(KeyHolder {
                    key: row.take()?,
                    tenant: row.take()?,
                }),
                None => None,
            };
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("looking an API key up", e))
    }

    /// Notes that a key is used now, unless that was noted within a minute.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_key_used(&self, key: i64) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_writing().await?;
            let now = operator::now(&mut tx).await?;
            let note = tx
                .query("UPDATE api_keys SET last_used_at = ")
                .bind(now)
                .sql(" WHERE id = ")
                .bind(key)
                .sql(" AND coalesce(last_used_at, 0) <= ")
                .bind(now - USE_NOTED_SECONDS);
            tx.run(note).await?;
            tx.commit().await
        };
        write
            .await
            .map_err(|e| self.error("noting that an API key was used", e))
    }

    /// Keeps the hash of a new key ([`crate::store::ApiKey::hash`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_api_key(
        &self,
        tenant: &str,
        label: &str,
        hash: &str,
    ) -> Result<ApiKeyRecord, StoreError> {
        const CREATE: Insert<'_> = Insert {
            table: "api_keys",
            columns: &["tenant_id", "label", "key_hash", "created_at"],
            fixed: &[],
            key: &["key_hash"],
            then: Conflict::Fail,
        };
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_lasting().await?;
            let tenant_id = commit::tenant(&mut tx, tenant).await?;
            let now = operator::now(&mut tx).await?;
            let mut values: Vec<Value<'_>> = vec![tenant_id.into()];
            values.extend([Value::from(label), Value::from(hash), now.into()]);
            tx.insert(&CREATE, values).await?;
            let find = tx
                .query("SELECT id FROM api_keys WHERE key_hash = ")
                .bind(hash);
            let row = tx.fetch_first(find).await?;
            let id: i64 = row.ok_or(sqlx::Error::RowNotFound)?.take()?;
            let details = serde_json::json!({ "id": id, "label": label });
            operator::audit(&mut tx, tenant_id, "API_KEY_CREATED", &details).await?;
            tx.finish(ApiKeyRecord {
                id,
                tenant: tenant.to_owned(),
                label: label.to_owned(),
                created_at: now,
                last_used_at: None,
                revoked_at: None,
            })
            .await
        };
        write.await.map_err(|e| self.error("making an API key", e))
    }

    /// All keys, the oldest first, also revoked ones; of one tenant or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn api_keys(&self, tenant: Option<&str>) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let found = find(&mut tx, tenant, None).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading the API keys", e))
    }

    /// Revokes a key, and says what it was before; `None` where there is none.
    /// One that is revoked already stays so, from the time when it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_api_key(&self, id: i64) -> Result<Option<ApiKeyRecord>, StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_lasting().await?;
            let found = find(&mut tx, None, Some(id)).await?.into_iter().next();
            if let Some(key) = found.as_ref().filter(|key| key.revoked_at.is_none()) {
                let now = operator::now(&mut tx).await?;
                let revoke = tx
                    .query("UPDATE api_keys SET revoked_at = ")
                    .bind(now)
                    .sql(" WHERE revoked_at IS NULL AND id = ")
                    .bind(id);
                tx.run(revoke).await?;
                let tenant_id = commit::tenant(&mut tx, &key.tenant).await?;
                let details = serde_json::json!({ "id": id, "label": key.label });
                operator::audit(&mut tx, tenant_id, "API_KEY_REVOKED", &details).await?;
            }
            tx.finish(found).await
        };
        write
            .await
            .map_err(|e| self.error("revoking an API key", e))
    }
}

async fn find(
    tx: &mut Tx,
    tenant: Option<&str>,
    id: Option<i64>,
) -> Result<Vec<ApiKeyRecord>, sqlx::Error> {
    let query = tx.query(
        "SELECT k.id, t.name, k.label, k.created_at, k.last_used_at, k.revoked_at \
         FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE 1 = 1",
    );
    let query = match tenant {
        Some(tenant) => query.sql(" AND t.name = ").bind(tenant),
        None => query,
    };
    let query = match id {
        Some(id) => query.sql(" AND k.id = ").bind(id),
        None => query,
    };
    let mut found = Vec::new();
    for mut row in tx.fetch(query.sql(" ORDER BY k.id")).await? {
        found.push(ApiKeyRecord {
            id: row.take()?,
            tenant: row.take()?,
            label: row.take()?,
            created_at: row.take()?,
            last_used_at: row.take()?,
            revoked_at: row.take()?,
        });
    }
    Ok(found)
}
