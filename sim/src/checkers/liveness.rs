//! Liveness: when faults stop, the cluster is whole again within a stated time.
//!
//! Deliberately one bound for all faults, that of the slowest way back.

use std::time::Duration;

/// From the last fault's end until all nodes are Ready and all voters and standbys are there. A machine that comes back
/// asks its way in for up to 10 s, a member that is silent is replaced after 10 s, one that was removed behind its back
/// finds out after 5 s and asks again, and each step of the membership takes one round and a second of proof. Twice
/// that.
pub const WHOLE_MAX: Duration = Duration::from_secs(60);

/// It took longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster was whole again only {took:?} after the last fault, which is more than {WHOLE_MAX:?}"
)]
pub struct TooSlow {
    /// How long it took.
    pub took: Duration,
}

/// Judges when the cluster was whole, given since when nothing was done to it.
pub fn check(calm_since: Option<Duration>, whole_at: Duration) -> Result<(), TooSlow> {
    let took = whole_at.saturating_sub(calm_since.unwrap_or(whole_at));
    if took <= WHOLE_MAX {
        return Ok(());
    }
    Err(TooSlow { took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_takes_too_long_is_found() {
        let at = Duration::from_secs;
        assert_eq!(check(None, at(500)), Ok(()));
        assert_eq!(check(Some(at(40)), at(100)), Ok(()));
        let took = at(61);
        assert_eq!(check(Some(at(40)), at(101)), Err(TooSlow { took }));
    }
}
