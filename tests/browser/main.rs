//! What people see: the dashboard of a running daemon in a real Chromium.
//!
//! Chromium and ChromeDriver must be there: `tests/run` installs them.

#![expect(unreachable_pub, reason = "a program has no interface to keep small")]

#[expect(dead_code, unused_imports, reason = "most of it is for the live tests")]
#[path = "../support/mod.rs"]
mod support;

mod dashboard;
mod window;
