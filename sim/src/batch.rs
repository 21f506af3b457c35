//! Many runs side by side, each whole in a thread of its own: turmoil, tokio and the log are per thread, so runs do not
//! see each other and their results do not depend on how many there are at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::faults::Schedule;
use crate::play::{Played, play_job};
use crate::scenarios::Scenario;

/// One run to be made.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Of what.
    pub scenario: &'static Scenario,
    /// With which seed.
    pub seed: u64,
    /// With these faults instead of the seed's.
    pub schedule: Option<&'a Schedule>,
    /// With a client that writes during outages.
    pub probed: bool,
}

/// Makes all runs, so many at once, without traces; tells `report` of each when it is done, in whatever order, until that
/// says no.
pub fn play_all(
    jobs: &[Job<'_>],
    at_once: usize,
    mut report: impl FnMut(&Job<'_>, Played) -> bool,
) {
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, jobs.len().max(1)) {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = play_job(job);
                    if tell.send((job, played)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for (job, played) in told {
            if !report(job, played) {
                next.store(jobs.len(), Ordering::Relaxed);
                return;
            }
        }
    });
}
