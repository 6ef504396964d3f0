//! The progress bar of the commands that take long, on stderr.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of these parts; nothing is drawn where stderr is no terminal.
pub(super) fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // Invariant: the templates are constants; with a wrong one the bar is merely plain.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// For a part of so much, with a message and the time that is left.
pub(super) const WITH_MESSAGE: &str = "{bar:40} {msg}, {eta} left";
