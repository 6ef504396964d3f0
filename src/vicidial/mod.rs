//! PURE: rows of VICIdial's tables in, facts about calls out. No I/O, no clock, no async.
//!
//! Everything that is peculiar to VICIdial is here: its tables and columns, its
//! statuses, its caller codes, its wall clocks and its phone numbers.

#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

pub mod caller_code;
mod cells;
mod fact;
mod interpret;
mod layout;
mod phone;
mod posted;
mod statement;
mod status;
mod tables;
mod text;
mod zone;

pub use cells::WallClock;
pub use fact::{
    CallAssigned, CallBefore, CallName, CallPatch, CallRow, CarrierEnding, Detail, Fact, Origin,
    Pick, Reach, SipAnswer,
};
pub use interpret::{Interpreter, RowError, second};
pub use layout::{Column, Layout, LayoutError};
pub use phone::Phones;
pub use posted::{Posted, Said, Word};
pub use statement::{
    Among, Effect, KeyedRows, Link, SaidRow, Written, WrittenRows, patch, patched, written,
};
pub use status::{StatusBook, StatusChange, StatusFlags, StatusKey};
pub use tables::Table;
pub use zone::Zone;
