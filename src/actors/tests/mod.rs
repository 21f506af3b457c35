//! Tests of the actors together.

mod claims;
mod cloud;
mod cluster;
mod recovery;
mod restore;
