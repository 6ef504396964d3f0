//! Decoding, held to real binlogs: what didtail reads from the fixtures must be
//! what `mariadb-binlog` printed of the same files, value by value.

mod fixture;
mod golden;
mod groups;
mod properties;
mod render;
mod rows;
mod statements;
