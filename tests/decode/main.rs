//! Decoding, held to real binlogs: what didtail reads from the fixtures must be
//! what `mariadb-binlog` printed of the same files, value by value.

#![expect(unreachable_pub, reason = "a program has no interface to keep small")]
#![expect(clippy::disallowed_methods, reason = "servers run by the real clock")]

#[allow(dead_code, unused_imports, reason = "the live tests use all of it")]
#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod golden;
mod groups;
mod oracle;
mod properties;
mod render;
mod rows;
mod statements;
