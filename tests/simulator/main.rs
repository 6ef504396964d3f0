//! Writes realistic VICIdial traffic into a private database.
fn main() {}
