//! didtail: tails the binlog of a VICIdial database.
