//! didtail: tails the binlog of a VICIdial database and keeps per-DID numbers exact.

pub mod binlog;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod engine;
pub mod ledger;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod vicidial;
