//! The `didtail` command: parse, dispatch, exit code.

use std::process::ExitCode;

/// Many short-lived strings, made by one thread and given back by another, are what
/// applying a backlog costs beside SQLite: a quarter less processor time than with
/// glibc's allocator, for 10 MB (`cargo bench --bench spine -- apply`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A panic has told on stderr where it happened; what is left is to say what it means.
    std::panic::catch_unwind(didtail::cli::main).unwrap_or_else(|_| didtail::cli::report_bug())
}
