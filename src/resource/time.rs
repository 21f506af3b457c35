//! Times as objects carry them: `meta/v1 Time`, whole seconds in UTC (RFC 3339).
//!
//! Deliberately without a clock: whoever has one says what time it is.

use jiff::Timestamp;

/// A time without its fraction of a second.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a time's whole seconds are a time")
}

/// The same as text: `2026-01-01T00:00:00Z`.
pub fn text(time: Timestamp) -> String {
    whole_second(time).to_string()
}
