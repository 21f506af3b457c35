//! The commands: `run`, `dev`, `demo`, `status`.
