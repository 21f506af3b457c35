//! actix shells around the pure cores; they carry messages and perform effects, nothing more.
//!
//! Knows nothing of HTTP. Neighbours come in by constructor as `Recipient`s or `Addr`s, never by registry.

pub mod controller_host;
pub mod messages;
pub mod scheduler;

#[cfg(test)]
mod test_leader;
