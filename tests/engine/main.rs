//! The engine between a source and a store in memory: what it makes of
//! VICIdial's rows, and that no failure of either side changes a number.

mod attribution;
mod bad_rows;
mod day;
mod events;
mod faults;
mod forward;
mod interleaving;
mod loads;
mod model;
mod posts;
mod replay;
mod retention;
mod rows;
mod statements;
mod stories;
mod world;
