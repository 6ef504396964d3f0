//! didtail: tails the binlog of a VICIdial database and keeps per-DID numbers exact.
//!
//! # The problem
//!
//! A VICIdial call center wants to know of each of its outbound caller IDs (DIDs)
//! how many calls it carried and how they ended. VICIdial does not keep that: the
//! result of a call is in one table, the DID it was dialled from in another, the
//! carrier's refusal in a third, and each is written at another time, changed
//! later, and at last archived. Triggers slow the database down; pollers see
//! rows late, twice or never.
//!
//! The binlog has every change once and in order. So didtail reads that, as a
//! replica does, and writes nothing to VICIdial.
//!
//! # The way of the data
//!
//! One way, and imports go the other way round: nothing knows what comes after it.
//!
//! ```text
//!  VICIdial's MariaDB or MySQL
//!      │  binlog dump
//!  source/      connect, check, stream            the only part that talks to VICIdial
//!      │  RawEvent: header and bytes, checksum verified
//!  binlog/      bytes → groups → rows             pure
//!      │  RowsEvent of a watched table
//!  vicidial/    row → Fact                        pure
//!      │  Fact
//!  ledger/      (states, facts) → ChangeSet       pure; the only place where numbers change
//!      │  ChangeSet, with the position behind it
//!  engine/      read ahead, load, apply, commit, retry, quarantine, shut down
//!      │
//!  store/       rows, numbers and position in one transaction: the truth
//!  state/       position, its history, quarantined rows: for operators and restarts
//!      │
//!  cli/         reads both, moves the position when told to
//!  api/         over HTTP: how the daemon is, results and numbers, a dashboard
//! ```
//!
//! # The modules, and what each must never know
//!
//! | module | does | must never know |
//! |---|---|---|
//! | [`binlog`] | bytes to groups and rows; where the position may stand | VICIdial, networks, clocks, async |
//! | [`vicidial`] | rows to facts: tables, columns, statuses, caller codes, phone numbers, wall clocks | counters, stores, networks, clocks |
//! | [`ledger`] | facts to changed calls, dials and numbers | columns, SQL, networks, clocks |
//! | [`source`] | connections, preflight, streams, places in the binlog | what a row means |
//! | [`checkpoint`] | which of two copies of a position is right | how either is kept |
//! | [`landmark`] | what must be known of a binlog before a position, to read what is behind it | how it is found out |
//! | [`store`] | one atomic commit; reading the numbers | what a disposition means |
//! | [`state`] | the local file and its lock | the numbers |
//! | [`engine`] | the loop, and the one table from failure to action | bytes, columns, SQL |
//! | [`config`] | one checked tree of settings | what they are for |
//! | [`telemetry`] | the log and its field names | values of rows |
//! | [`api`] | HTTP: health and metrics, read from [`engine::Vitals`]; posts, reads and the dashboard by [`engine::Desk`] | how either comes about |
//! | [`cli`] | the commands; nobody imports it | |
//!
//! Traits stand at the two ends only, [`source::Source`] and [`store::Store`], each
//! with a twin in memory ([`source::MemorySource`], [`store::MemoryStore`]) and one
//! suite that every implementation passes. The engine's only clock is
//! [`engine::Clock`].
//!
//! # One word for one thing
//!
//! | word | means | type |
//! |---|---|---|
//! | source | one VICIdial database that is followed; its name is part of every call's identity | [`source::Source`] |
//! | event | one record of the binlog | [`binlog::RawEvent`] |
//! | group | what the source commits together: a transaction, or one MyISAM statement | [`binlog::Reader`] |
//! | position | file and offset of the next event; stands between groups | [`binlog::Position`] |
//! | GTID position | which transactions were read: the last of each domain (MariaDB), or a set (MySQL) | [`binlog::GtidPosition`] |
//! | payload | a whole transaction that MySQL packed into one event | [`binlog::Payload`] |
//! | checkpoint | a position of one server up to which everything is applied, and its epoch | [`checkpoint::Checkpoint`] |
//! | revision | how often a command rewrote the store beside the daemon; whoever sees a new one reads again | [`checkpoint::Checkpoint::revision`] |
//! | epoch | how often an operator, or another server, moved the position; the higher one wins | [`checkpoint::Checkpoint::epoch`] |
//! | landmark | a place behind which a binlog is read in another way: other columns, archived rows | [`landmark::Landmark`] |
//! | lease | the right of one daemon to write a source, until it stops renewing it | [`store::Lease`] |
//! | vitals | how a source is followed at this moment: for metrics, health and the service manager | [`engine::SourceVitals`] |
//! | fencing token | number of a lease, higher with each; a store takes commits of the newest only | [`ledger::ChangeSet::fencing_token`] |
//! | durable | committed together with everything before it; only a store can say so | [`store::Durable`] |
//! | watched table | one of the eight tables of VICIdial that are read | [`vicidial::Table`] |
//! | layout | which cell of a row is which column, in one version of a table | [`vicidial::Layout`] |
//! | era | the part of the binlog in which a table has the same columns: from one ALTER to the next | [`engine`] |
//! | origin | the row image that a fact comes from; the same on every replay | [`vicidial::Origin`] |
//! | fact | what one row says, free of columns and encodings | [`vicidial::Fact`] |
//! | call | what VICIdial has a `vicidial_log` row for | [`ledger::Call`] |
//! | dial | one attempt to reach a number, named by a caller code | [`ledger::Dial`] |
//! | report | the DID that the carrier's dialplan really used, by its own word | [`vicidial::Detail::Reported`] |
//! | change entry | what one row replaced in a call or a dial; behind `didtail explain` | [`ledger::ChangeEntry`] |
//! | lead | VICIdial's row about the person who is called | [`ledger::CallKey::lead_id`] |
//! | caller code | the name VICIdial gives an attempt, e.g. `V1112150007000012345` | [`vicidial::caller_code`] |
//! | DID | the number a call is made from, as the called side sees it | [`ledger::Call::did`] |
//! | attribution | how a call's DID is known | [`ledger::Attribution`] |
//! | disposition | VICIdial's status of a call | [`ledger::Call::disposition`] |
//! | transient | said of a disposition: the call is still going on | [`ledger::Rules::transient`] |
//! | outcome | one of eight classes of how a call ended | [`ledger::Outcome`] |
//! | counted | said of a call with a disposition that is neither empty nor transient | [`ledger::Call::counted`] |
//! | contribution | what one call or dial adds to the numbers of one DID, by its present state | [`ledger::Contribution`] |
//! | change set | everything one batch changes, and the position behind it | [`ledger::ChangeSet`] |
//! | pruned | said of calls and dials that retention deleted: their numbers stay, and what is older than them is not made anew | [`ledger::Pruned`] |
//! | quarantined | said of a row that cannot be understood: kept with its bytes, not counted | [`state::QuarantinedRow`] |
//! | missing | what was seen and cannot be counted | [`engine::Missing`] |
//!
//! # Guarantees
//!
//! - **Nothing is lost, nothing is counted twice**, however the process, the
//!   machine or the connection ends. Rows, numbers and position are one
//!   transaction ([`store::Store::commit`]), and only [`store::Durable`] moves the
//!   position that is reported.
//! - **Replays change nothing.** A call's numbers follow from its state
//!   ([`ledger::Call::contribution`]): a change takes the old contribution away and
//!   adds the new one. No event bumps a counter.
//! - **The numbers add up.** At every commit each counter equals the count over the
//!   kept calls and dials, and the sum over the days.
//! - **Retention takes rows, and no numbers.** What is older than the deleted rows and
//!   not kept is passed over, and told of ([`ledger::Pruned`]); where rows were
//!   deleted the counters are not less than the count over those that are left.
//! - **A position stands between groups**, so that a restart sees whole groups.
//! - **One daemon writes a source.** Of several one has its lease and the others
//!   stand by. A commit names the lease's fencing token, and one by whoever lost the
//!   lease changes nothing ([`store::StoreError::LeaseLost`]); nor does one from
//!   another position than the store's ([`store::StoreError::OtherWriter`]).
//! - **Memory is bounded** by constants, not by the size of a group, a backlog or
//!   a table.
//! - **Rows and statements give the same numbers.** Rows are states: read again by
//!   their keys, they are what a statement made of them, or something newer that the
//!   stream comes to as well.
//! - **Loading by SELECT merges.** Rows of `backfill` and `verify --repair` count as
//!   if their INSERT had been seen, before everything that the stream brings.
//! - **Nothing is left out in silence.** What cannot be read is counted in
//!   [`engine::Missing`] and logged; a row that cannot be understood is kept.
//! - **VICIdial is only read.**
//!
//! # Non-guarantees
//!
//! - Where the binlog has a statement instead of rows, a row that is archived or
//!   wiped before it is read again is known only from the statement's literals.
//! - Which rows had a status when a statement asked for it (`WHERE status='…' ORDER BY
//!   … LIMIT 1`) is judged by what is there later; a row that was renamed or deleted
//!   in between may be taken for another.
//! - What triggers, functions and views write is in a statement's text nowhere;
//!   `doctor` tells of those that it may see. With rows in the binlog all of it is.
//! - The rows of a statement that does not name them (in a stored procedure, with
//!   variables) are looked for by time, and one outside of it is not found.
//! - A change whose binlog was deleted before it was read, and whose row is in no
//!   table any more, is lost to didtail.
//! - An archive's disposition is the one at the first archiving; `backfill` takes it
//!   only where nothing newer is known.
//! - A DID that the carrier's dialplan sets after VICIdial's own is nowhere in the
//!   database: such calls are counted for VICIdial's.
//! - After a power cut the newest commits may be gone, rows and position together;
//!   they are read again, as long as the source still has them.
//! - A call or a dial that is first seen when it is older than those that retention
//!   has deleted is not counted: it may have been.
//! - Success and outcome follow the settings and flags at the time a call is
//!   judged; a later change of them does not go back over old calls.
//!
//! # Assumptions about the source
//!
//! - `log_bin` is on. With `binlog_format = ROW` and full row images nothing else is
//!   asked of the source; what is written as a statement or a part of a row is read
//!   again by SELECT, session by session, whatever the global settings are.
//! - MariaDB 10.5 or MySQL 8.0, or newer. Compressed events and
//!   transactions are read.
//! - A server with another identity is the same source if it has the transactions
//!   that were read (GTIDs); else the daemon stops.
//! - VICIdial's daemons write UNIX seconds into `start_epoch`, and wall clocks of
//!   one time zone elsewhere.
//! - A `uniqueid` and a lead together name one call.
//!
//! # One hang-up, from binlog byte to committed row
//!
//! A customer hangs up. VICIdial runs `UPDATE vicidial_log SET status = 'SALE',
//! length_in_sec = 83 …`, and MariaDB writes a group of four events: GTID, table
//! map, row update, COMMIT.
//!
//! 1. [`source::MySqlSource`] has a connection that looks like a replica's. Its
//!    stream reads a packet, takes it apart into header and body, verifies the
//!    checksum, and [`source::EventStream::next`] hands out a [`binlog::RawEvent`].
//! 2. [`binlog::Reader::event`] opens the group at the GTID event. In the table map
//!    it compares the table's name as bytes with the [`binlog::Watch`] list: over
//!    95 % of the stream ends here as [`binlog::Step::Nothing`]. This one is
//!    `vicidial_log`, and the row event behind it becomes [`binlog::Step::Rows`].
//! 3. The engine's intake finds the [`vicidial::Layout`] of the table map and calls
//!    [`binlog::RowsEvent::decode`]: one [`binlog::RowChange::Update`] with the row
//!    before and after. What cannot be decoded is quarantined here, and the stream
//!    goes on.
//! 4. [`vicidial::Interpreter::fact`] reads the cells by column name, turns
//!    `start_epoch` into `started_at` and the phone number into E.164, and makes a
//!    [`vicidial::Detail::Call`] of them, with its [`vicidial::Origin`].
//! 5. The COMMIT ends the group: [`binlog::Reader::position`] moves behind it. The
//!    stream is idle and the store is free, so the batch is sent at once; under
//!    load it would grow to some thousand facts first.
//! 6. The applying half asks [`ledger::keys`] which states these facts are about,
//!    loads them ([`store::Store::load`], or the cache of recent calls), then the
//!    states that those lead to ([`ledger::further_keys`]).
//! 7. [`ledger::Working::apply`] changes the [`ledger::Call`]: disposition, duration.
//!    [`ledger::Rules::judge`] makes it counted, successful, and
//!    [`ledger::Outcome::Answered`]. Its DID is known from its dial, by the caller code.
//! 8. [`ledger::Working::finish`] compares with what was loaded. Before, the call was
//!    INCALL and contributed nothing; now it contributes a [`ledger::Contribution`]:
//!    one call, one success, one answered, 83 talk seconds. The difference is a
//!    [`ledger::ChangeSet`], which carries the [`checkpoint::Checkpoint`] behind it.
//! 9. [`store::SqlStore`] writes it in one transaction: the call's row, `did_stats`,
//!    `did_daily_stats`, `audit_log`, `replication_progress`. It returns a
//!    [`store::Durable`] checkpoint, and [`state::StateFile::save_checkpoint`] notes it.
//! 10. `didtail stats` reads `did_summary`, and the sale is there.

pub mod api;
pub mod binlog;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod engine;
mod folder;
pub mod landmark;
pub mod ledger;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod vicidial;
