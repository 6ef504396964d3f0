//! The row of `source_leases` of one source, which is also where its writers meet:
//! it can be made and locked in one step, before there is any progress.

use sqlx::Error;

use super::dialect::{Change, Conflict, Dialect};
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::{Field, Value};
use crate::store::lease::{Claim, Grant, LEASE_SECONDS, Lease, LeaseState};

/// Whether a change may be written.
pub(super) enum Turn {
    /// It may, and nobody else writes the source until the transaction ends.
    Ours,
    /// The lease that it was begun under is over, and this one has it now.
    Lost(String),
}

/// Waits until no other transaction writes the source, and keeps others waiting.
pub(super) async fn take_turn(tx: &mut Tx, source: &str) -> Result<(), Error> {
    match tx.dialect() {
        // Its transaction is the only one that writes.
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres | Dialect::MySql => lock(tx, source).await,
    }
}

/// The same for whoever has this lease, which is renewed by it.
pub(super) async fn take_turn_under(tx: &mut Tx, source: &str, token: u64) -> Result<Turn, Error> {
    if renew(tx, source, token).await? {
        return Ok(Turn::Ours);
    }
    let state = read(tx, source).await?;
    Ok(Turn::Lost(
        state.map_or_else(String::new, |state| state.holder),
    ))
}

/// Makes the row where it is missing, and locks it.
async fn lock(tx: &mut Tx, source: &str) -> Result<(), Error> {
    const LOCK: Insert<'_> = Insert {
        table: "source_leases",
        columns: &["source"],
        fixed: &[("holder", "''"), ("acquired_at", "0"), ("expires_at", "0")],
        key: &["source"],
        then: Conflict::Change(&[("source", Change::Replace)]),
    };
    let put = |row: &mut Vec<_>, source| row.push(Value::Text(Some(source)));
    tx.insert(&LOCK, rows([source], put)).await
}

/// The lease of a source; `None` where there never was one.
pub(super) async fn read(tx: &mut Tx, source: &str) -> Result<Option<LeaseState>, Error> {
    let now = tx.dialect().now();
    let read = tx
        .query(&format!(
            "SELECT holder, fencing_token, acquired_at, expires_at, {now} FROM source_leases"
        ))
        .sql(" WHERE source = ")
        .bind(source);
    let Some(mut row) = tx.fetch_first(read).await? else {
        return Ok(None);
    };
    Ok(Some(LeaseState {
        holder: row.take()?,
        fencing_token: row.take()?,
        acquired_at: row.take()?,
        expires_at: row.take()?,
        now: row.take()?,
    }))
}

/// Gives the lease to who claims it, if it is free.
pub(super) async fn claim(tx: &mut Tx, source: &str, claim: &Claim<'_>) -> Result<Grant, Error> {
    lock(tx, source).await?;
    let state = read(tx, source).await?.ok_or(Error::RowNotFound)?;
    let grant = state.answer(claim);
    if let Grant::Held(lease) = &grant {
        let now = tx.dialect().now();
        let give = tx
            .query("UPDATE source_leases SET holder = ")
            .bind(&lease.holder)
            .sql(", fencing_token = ")
            .bind(lease.fencing_token.value())
            .sql(&format!(", acquired_at = {now}, expires_at = {now} + "))
            .bind(claim.seconds)
            .sql(" WHERE source = ")
            .bind(source);
        tx.run(give).await?;
    }
    Ok(grant)
}

/// Makes the lease with this token last again; false when another one was given.
pub(super) async fn renew(tx: &mut Tx, source: &str, token: u64) -> Result<bool, Error> {
    let now = tx.dialect().now();
    let renew = tx
        .query(&format!("UPDATE source_leases SET expires_at = {now} + "))
        .bind(LEASE_SECONDS)
        .sql(" WHERE source = ")
        .bind(source)
        .sql(" AND fencing_token = ")
        .bind(token.value());
    Ok(tx.run(renew).await? > 0)
}

/// Gives the lease back, unless another one was given since.
pub(super) async fn release(tx: &mut Tx, source: &str, lease: &Lease) -> Result<(), Error> {
    let release = tx
        .query("UPDATE source_leases SET holder = '', expires_at = 0 WHERE source = ")
        .bind(source)
        .sql(" AND fencing_token = ")
        .bind(lease.fencing_token.value());
    tx.run(release).await.map(drop)
}
