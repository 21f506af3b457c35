//! Bounded memory: what a node keeps beside the objects, its log and its watch history, stays within the bounds that the
//! product names.
//!
//! Deliberately without mailboxes: their length is no figure that the product has.

use kagero::raft::Config;
use kagero::store::HISTORY_BYTES_MAX;

/// A leader keeps up to four times as much as it would for itself for members that lag (`raft::Config`), and what is
/// not committed yet.
fn log_bytes_max(config: &Config) -> u64 {
    (4 * config.log_bytes_kept + config.uncommitted_bytes_max) as u64
}

/// A node keeps more than it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} keeps {bytes} bytes of {what}, which is more than {max}")]
pub struct TooMuch {
    /// Which.
    pub node: String,
    /// Of what.
    pub what: &'static str,
    /// How much.
    pub bytes: u64,
    /// How much it may.
    pub max: u64,
}

/// Judges one node's history and log, in bytes.
pub fn check(node: &str, (history, log): (u64, u64)) -> Result<(), TooMuch> {
    let bounds = [
        ("watch history", history, HISTORY_BYTES_MAX as u64),
        ("log", log, log_bytes_max(&Config::default())),
    ];
    match bounds.into_iter().find(|(_, bytes, max)| bytes > max) {
        None => Ok(()),
        Some((what, bytes, max)) => Err(TooMuch {
            node: node.to_owned(),
            what,
            bytes,
            max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_bound_is_found() {
        let log_max = log_bytes_max(&Config::default());
        assert_eq!(check("n1", (HISTORY_BYTES_MAX as u64, log_max)), Ok(()));
        assert!(check("n1", (HISTORY_BYTES_MAX as u64 + 1, 0)).is_err());
        assert!(check("n1", (0, log_max + 1)).is_err());
    }
}
