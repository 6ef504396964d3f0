//! Asking on the terminal before something is changed that cannot be undone.

use std::io::{IsTerminal, Write};

use super::failure::Failure;

/// Shows what would happen and asks for a yes; `yes`: it was given already.
///
/// # Errors
/// When there is nobody to ask, or the answer is no.
pub(super) fn confirm(yes: bool, plan: &str, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::operator(
            "there is no terminal to ask for confirmation",
            "look at it with --dry-run, then pass --yes",
        ));
    }
    let mut terminal = std::io::stderr();
    write!(terminal, "{plan}{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::operator(
        "nothing was changed",
        "answer `y`, or pass --yes",
    ))
}
