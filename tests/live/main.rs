//! The whole product against real servers: didtail, the simulator and MariaDB
//! run as processes of their own, and the store is compared with the source.
//!
//! A server that cannot be had fails the test: `tests/support/dbserver` says why.

#![expect(unreachable_pub, reason = "a program has no interface to keep small")]
#![expect(clippy::disallowed_methods, reason = "servers run by the real clock")]

#[path = "../support/mod.rs"]
mod support;

// The suite of every store names the crate as if it were part of it.
use didtail::{binlog, checkpoint, landmark, ledger, store, vicidial};

mod api;
mod api_clients;
mod api_tls;
mod backfill;
mod backfill_many;
mod bad_input;
mod bad_place;
mod beyond;
mod client;
mod clients;
mod clocks;
mod commands;
mod committed;
mod connect;
mod doctor;
mod drift;
mod failover;
mod hidden;
mod keep_up;
mod kill;
mod leases;
mod lies;
mod matrix;
mod monitor;
mod numbers;
mod operator;
mod owners;
mod proxy;
mod quarantine;
mod refusals;
mod replay;
mod reset;
mod retention;
mod seeds;
mod serve;
mod servers;
mod service;
mod shutdown;
mod sources;
mod statements;
mod statuses;
mod store_faults;
mod store_faults_file;
mod store_faults_hung;
mod store_faults_limits;
mod store_faults_tls;
mod store_operator;
mod store_outage;
mod store_refusals;
mod stores;
mod stream;
mod trigger;
mod upgrade;
mod values;
mod verify;
