//! Tests of the actors together.

mod cloud;
mod cluster;
mod recovery;
mod restore;
