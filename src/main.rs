//! The `didtail` command.
fn main() {}
