//! Tests of the store as a whole: readable scripts, and random commands against a model.

mod model;
mod scripts;
