//! Tests of the actors together.

mod answers;
mod claims;
mod cloud;
mod cluster;
mod recovery;
mod restore;
