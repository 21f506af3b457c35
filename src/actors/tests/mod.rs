//! Tests of the actors together.

mod cluster;
mod recovery;
mod restore;
