//! Tests of the whole core: a tiny cluster in memory, what must always hold of it, scripts and random faults.

mod cluster;
mod faults;
mod invariants;
mod recovery;
mod scripts;
mod show;
