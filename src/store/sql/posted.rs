//! `posted_results` and `posted_keys`: written for many clients in one transaction,
//! read and deleted by whoever applies them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::commit;
use super::dialect::Conflict;
use super::insert::Insert;
use super::operator;
use super::session::Tx;
use super::value::Value;
use crate::store::posted::KEY_SECONDS;
use crate::store::{NewPost, POSTED_MAX, PostOutcome, Waiting};

/// Old keys deleted in one go, which is once a minute: more than come.
const KEYS_DELETED_MAX: i64 = 20_000;

/// Writes posts, and says what became of each, and how many wait then.
pub(super) async fn write(
    tx: &mut Tx,
    posts: &[NewPost],
    creates_dids: bool,
) -> Result<(Vec<PostOutcome>, u64), Error> {
    let mut waiting = waiting(tx).await?;
    let mut of_sources = waiting_of_sources(tx, waiting).await?;
    let now = operator::now(tx).await?;
    let mut outcomes = vec![PostOutcome::Full; posts.len()];
    let tenants: BTreeSet<&str> = posts.iter().map(|post| post.tenant.as_str()).collect();
    for tenant in tenants {
        let own = posts.iter().zip(&mut outcomes);
        let own: Vec<_> = own.filter(|(post, _)| post.tenant == tenant).collect();
        let tenant_id = commit::tenant(tx, tenant).await?;
        let before: u64 = of_sources.values().sum();
        write_own(tx, tenant_id, own, (creates_dids, now), &mut of_sources).await?;
        waiting += of_sources.values().sum::<u64>() - before;
    }
    Ok((outcomes, waiting))
}

/// How many wait.
pub(super) async fn waiting(tx: &mut Tx) -> Result<u64, Error> {
    let count = tx.query("SELECT count(*) FROM posted_results");
    let row = tx.fetch_first(count).await?;
    row.ok_or(Error::RowNotFound)?.take()
}

/// How many wait of each source, where they are so many that it matters: one that
/// nobody follows keeps no other from taking its own.
async fn waiting_of_sources(tx: &mut Tx, all: u64) -> Result<BTreeMap<String, u64>, Error> {
    let mut of_sources = BTreeMap::new();
    if all < POSTED_MAX / 2 {
        return Ok(of_sources);
    }
    let count = tx.query("SELECT source, count(*) FROM posted_results GROUP BY source");
    for mut row in tx.fetch(count).await? {
        of_sources.insert(row.take()?, row.take()?);
    }
    Ok(of_sources)
}

async fn write_own(
    tx: &mut Tx,
    tenant_id: i64,
    own: Vec<(&NewPost, &mut PostOutcome)>,
    (creates_dids, now): (bool, i64),
    waiting: &mut BTreeMap<String, u64>,
) -> Result<(), Error> {
    const INSERT: Insert<'_> = Insert {
        table: "posted_results",
        columns: &["tenant_id", "source", "body", "posted_at"],
        fixed: &[],
        key: &["id"],
        then: Conflict::Fail,
    };
    const REMEMBER: Insert<'_> = Insert {
        table: "posted_keys",
        columns: &["tenant_id", "key_hash", "body_hash", "did_id", "created_at"],
        fixed: &[],
        key: &["tenant_id", "key_hash"],
        then: Conflict::Keep,
    };
    let named = own.iter().filter_map(|(post, _)| did(post));
    let creates = creates_dids.then_some(&[("origin", "'reported'")][..]);
    let dids = commit::dids_named(tx, tenant_id, named.collect(), creates).await?;
    let keys = own.iter().filter_map(|(post, _)| post.once.as_ref());
    let mut known = known(tx, tenant_id, keys.map(|(key, _)| key.as_str()).collect()).await?;
    let (mut new, mut remembered) = (Vec::new(), Vec::new());
    for (post, outcome) in own {
        let did_id = did(post).map(|did| dids.get(did).copied());
        let did_id = match did_id {
            Some(None) => {
                *outcome = PostOutcome::UnknownDid;
                continue;
            }
            Some(found) => found,
            None => None,
        };
        if let Some((key, body)) = &post.once
            && let Some((known_body, known_did)) = known.get(key)
        {
            let is_same = known_body == body;
            *outcome = if is_same {
                PostOutcome::Recorded(*known_did)
            } else {
                PostOutcome::OtherBody
            };
            continue;
        }
        let of_source = waiting.entry(post.source.clone()).or_default();
        if *of_source >= POSTED_MAX {
            *outcome = PostOutcome::Full;
            continue;
        }
        *of_source += 1;
        *outcome = PostOutcome::Recorded(did_id);
        let body = serde_json::to_string(&post.posted).map_err(|e| Error::Encode(Box::new(e)))?;
        new.push((post.source.as_str(), body));
        if let Some((key, body)) = &post.once {
            known.insert(key.clone(), (body.clone(), did_id));
            remembered.push((key, body, did_id));
        }
    }
    let values = new.iter().flat_map(|(source, body)| {
        let values: [Value<'_>; 4] = [tenant_id.into(), (*source).into(), body.into(), now.into()];
        values
    });
    tx.insert(&INSERT, values.collect()).await?;
    let values = remembered.iter().flat_map(|(key, body, did_id)| {
        let values: [Value<'_>; 5] = [
            tenant_id.into(),
            (*key).into(),
            (*body).into(),
            (*did_id).into(),
            now.into(),
        ];
        values
    });
    tx.insert(&REMEMBER, values.collect()).await
}

fn did(post: &NewPost) -> Option<&str> {
    let did = post.posted.said.did.as_ref();
    did.map(|(_, did)| did.as_str())
}

/// What came before under some keys: the hash of the body, and the DID's id.
async fn known(
    tx: &mut Tx,
    tenant_id: i64,
    keys: BTreeSet<&str>,
) -> Result<BTreeMap<String, (String, Option<i64>)>, Error> {
    let mut known = BTreeMap::new();
    if keys.is_empty() {
        return Ok(known);
    }
    let find = tx
        .query("SELECT key_hash, body_hash, did_id FROM posted_keys WHERE tenant_id = ")
        .bind(tenant_id)
        .sql(" AND key_hash")
        .among(keys.into_iter().map(Value::from));
    for mut row in tx.fetch(find).await? {
        known.insert(row.take()?, (row.take()?, row.take()?));
    }
    Ok(known)
}

/// Forgets keys that came too long ago.
pub(super) async fn forget(tx: &mut Tx) -> Result<(), Error> {
    let now = operator::now(tx).await?;
    let old = tx
        .query("SELECT tenant_id, key_hash FROM posted_keys WHERE created_at < ")
        .bind(now - KEY_SECONDS)
        .sql(" LIMIT ")
        .bind(KEYS_DELETED_MAX);
    let mut of_tenants: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for mut row in tx.fetch(old).await? {
        let of_tenant = of_tenants.entry(row.take()?).or_default();
        of_tenant.push(row.take()?);
    }
    for (tenant_id, keys) in &of_tenants {
        let delete = tx
            .query("DELETE FROM posted_keys WHERE tenant_id = ")
            .bind(*tenant_id)
            .sql(" AND key_hash")
            .among(keys.iter().map(Value::from));
        tx.run(delete).await?;
    }
    Ok(())
}

/// The oldest that wait of a source.
pub(super) async fn read(tx: &mut Tx, source: &str, rows_max: u32) -> Result<Vec<Waiting>, Error> {
    let find = tx
        .query("SELECT id, body FROM posted_results WHERE source = ")
        .bind(source)
        .sql(" ORDER BY id LIMIT ")
        .bind(rows_max);
    let mut found = Vec::new();
    for mut row in tx.fetch(find).await? {
        let (id, body): (i64, String) = (row.take()?, row.take()?);
        let posted = serde_json::from_str(&body).map_err(|e| Error::Decode(Box::new(e)))?;
        found.push(Waiting { id, posted });
    }
    Ok(found)
}

/// Deletes those that a change has in it.
pub(super) async fn delete(tx: &mut Tx, source: &str, taken: &BTreeSet<i64>) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
    let delete = tx
        .query("DELETE FROM posted_results WHERE source = ")
        .bind(source)
        .sql(" AND id")
        .among(taken.iter().copied().map(Value::from));
    tx.run(delete).await?;
    Ok(())
}
