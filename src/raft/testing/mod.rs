//! Tests of the whole core: a tiny cluster in memory, scripts, and the membership plan at production timings. Random
//! faults are the simulation's (`sim/src/core`).

mod cluster;
mod recovery;
mod scripts;
mod show;
