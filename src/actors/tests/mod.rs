//! Tests of the actors together.

mod claims;
mod cluster;
mod recovery;
mod restore;
