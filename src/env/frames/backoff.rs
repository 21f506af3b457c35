//! When to try again.

use std::time::Duration;

use rand::{Rng, RngCore};

/// The first wait, about: a restarted process listens again after so long.
pub const BACKOFF_MS_MIN: u64 = 100;

/// The longest wait: what comes back is found within this.
pub const BACKOFF_MS_MAX: u64 = 5_000;

/// Waits that double from [`BACKOFF_MS_MIN`] to [`BACKOFF_MS_MAX`]. Each is drawn from the upper half of its range, so
/// that those who lost the same peer at once do not come back at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    ceiling_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            ceiling_ms: BACKOFF_MS_MIN,
        }
    }
}

impl Backoff {
    /// The next wait.
    pub fn wait(&mut self, entropy: &mut dyn RngCore) -> Duration {
        let ceiling = self.ceiling_ms;
        self.ceiling_ms = (2 * ceiling).min(BACKOFF_MS_MAX);
        Duration::from_millis(entropy.random_range(ceiling / 2..=ceiling))
    }

    /// It worked: begin anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::entropy::Entropy;

    #[test]
    fn doubles_with_jitter_up_to_the_bound_and_begins_anew() {
        let mut entropy = Entropy::from_seed(1);
        let mut backoff = Backoff::default();
        let mut ceiling = BACKOFF_MS_MIN;
        for _ in 0..20 {
            let wait = backoff.wait(&mut entropy).as_millis() as u64;
            assert!(
                (ceiling / 2..=ceiling).contains(&wait),
                "{wait} of {ceiling}"
            );
            ceiling = (2 * ceiling).min(BACKOFF_MS_MAX);
        }
        assert_eq!(ceiling, BACKOFF_MS_MAX);
        backoff.reset();
        assert!(backoff.wait(&mut entropy) <= Duration::from_millis(BACKOFF_MS_MIN));
    }

    #[test]
    fn two_who_lost_the_same_peer_come_back_apart() {
        let waits = |seed| {
            let mut entropy = Entropy::from_seed(seed);
            let mut backoff = Backoff::default();
            std::array::from_fn::<_, 4, _>(|_| backoff.wait(&mut entropy))
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
