//! The `didtail` command: parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic has told on stderr where it happened; what is left is to say what it means.
    std::panic::catch_unwind(didtail::cli::main).unwrap_or_else(|_| didtail::cli::report_bug())
}
