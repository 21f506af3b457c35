//! Measures, in every run, how long the cluster takes to come back: it is told of deaths, starts and acknowledged writes,
//! and looks after each step whether what it waits for is there.
//!
//! Deliberately passive: it asks nothing and changes nothing. In `sim measure` a client of its own writes during outages
//! (`clients/probe.rs`), since the usual clients mostly wait for a dead machine then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kagero::actors::raft_peer::Standing;
use kagero::raft::{PeerId, Term};
use kagero::store::Revision;

use crate::figures::{Figure, Figures};

/// A reign, in order: generation, then term.
type Reign = (u64, Term);

/// Measures one run.
///
/// Invariant: at most one outage of each figure is under way.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    figures: Figures,
    outages: Vec<Outage>,
    /// Since when not all wanted voters live.
    degraded: Option<Duration>,
    started: BTreeMap<PeerId, Duration>,
    acknowledged: BTreeMap<Revision, Duration>,
    /// The newest reign that anybody who died knew.
    newest: Reign,
    disaster: Option<Duration>,
}

/// Nobody serves writes.
#[derive(Debug)]
struct Outage {
    figure: Figure,
    since: Duration,
    /// Only a later reign ends it.
    past: Reign,
    /// A leader of such a reign began with what was written up to here.
    leads_after: Option<Revision>,
}

/// What the meter is shown of a living process: where its peer stands, and the revision of its view.
pub(crate) type Seen<'a> = (&'a Standing, Revision);

fn reign(standing: &Standing) -> Reign {
    (standing.cluster.generation, standing.term)
}

/// The leader of the newest reign, if it leads already.
fn leader<'a>(seen: &[Seen<'a>]) -> Option<Seen<'a>> {
    let leading = seen.iter().filter(|(standing, _)| standing.leads);
    leading.max_by_key(|(standing, _)| reign(standing)).copied()
}

impl Meter {
    /// What was measured so far.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Whether [`Meter::look`] is to be called.
    pub(crate) fn is_waiting(&self) -> bool {
        self.degraded.is_some() || !self.outages.is_empty()
    }

    /// Whether a served write would end something that is measured.
    pub(crate) fn has_outage(&self) -> bool {
        !self.outages.is_empty()
    }

    /// A process started.
    pub(crate) fn on_start(&mut self, now: Duration, id: PeerId) {
        self.started.insert(id, now);
    }

    /// A process dies; `seen` is everybody, itself included.
    pub(crate) fn on_death(&mut self, now: Duration, id: PeerId, seen: &[Seen<'_>]) {
        let newest = seen.iter().max_by_key(|(standing, _)| reign(standing));
        let Some((newest, _)) = leader(seen).or(newest.copied()) else {
            return;
        };
        self.newest = self.newest.max(reign(newest));
        if newest.configuration.voters.contains(&id) {
            self.degraded.get_or_insert(now);
        }
        if newest.leads && newest.id == id {
            self.begin(Figure::Failover, now, reign(newest));
        }
    }

    /// Disaster strikes: what is lost of the writes acknowledged so far counts as its work.
    pub(crate) fn on_disaster(&mut self, now: Duration) {
        self.disaster.get_or_insert(now);
    }

    /// Everything is there that a recovery takes; from now on its time counts.
    pub(crate) fn on_recovery(&mut self, now: Duration, seen: &[Seen<'_>]) {
        let known = seen.iter().map(|(standing, _)| reign(standing)).max();
        let (generation, _) = self.newest.max(known.unwrap_or_default());
        self.begin(Figure::RecoveryTime, now, (generation, Term::MAX));
    }

    fn begin(&mut self, figure: Figure, since: Duration, past: Reign) {
        self.outages.retain(|outage| outage.figure != figure);
        self.outages.push(Outage {
            figure,
            since,
            past,
            leads_after: None,
        });
    }

    /// A client was acknowledged a write.
    pub(crate) fn on_acknowledged(&mut self, now: Duration, revision: Revision) {
        self.acknowledged.insert(revision, now);
        let figures = &mut self.figures;
        self.outages.retain(|outage| {
            let served = outage.leads_after.is_some_and(|after| revision > after);
            if served {
                figures.time(outage.figure, now.saturating_sub(outage.since));
            }
            !served
        });
    }

    /// A step is done. `alive` are the incarnations that run.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        seen: &[Seen<'_>],
        alive: &BTreeSet<PeerId>,
        voters_wanted: usize,
    ) {
        let Some((standing, revision)) = leader(seen) else {
            return;
        };
        for outage in &mut self.outages {
            if reign(standing) > outage.past {
                outage.leads_after.get_or_insert(revision);
            }
        }
        let configuration = &standing.configuration;
        let voters = &configuration.voters;
        let full = voters.len() == voters_wanted
            && configuration.outgoing.is_empty()
            && voters.is_subset(alive);
        let Some(since) = self.degraded.filter(|_| full) else {
            return;
        };
        self.degraded = None;
        let starts = voters.iter().filter_map(|id| self.started.get(id));
        let complete = starts.copied().fold(since, Duration::max);
        let took = |from: Duration| now.saturating_sub(from);
        self.figures.time(Figure::FullRedundancy, took(since));
        self.figures.time(Figure::Replacement, took(complete));
    }

    /// After a disaster, these acknowledged writes are lost in the end.
    pub(crate) fn on_loss(&mut self, lost: &[Revision]) {
        let Some(disaster) = self.disaster else {
            return;
        };
        let acknowledged = lost.iter().filter_map(|lost| self.acknowledged.get(lost));
        let oldest = acknowledged.min().copied().unwrap_or(disaster);
        let age = disaster.saturating_sub(oldest);
        self.figures.time(Figure::RecoveryPoint, age);
        self.figures.count(Figure::LostWrites, lost.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kagero::raft::{ClusterId, Configuration, Role};

    use super::*;

    fn standing(id: u64, term: Term, leads: bool, voters: &[u64]) -> Standing {
        Standing {
            cluster: ClusterId {
                id: 7,
                generation: 0,
            },
            id: PeerId(id),
            role: if leads { Role::Leader } else { Role::Follower },
            term,
            leader: None,
            configuration: Arc::new(Configuration {
                voters: voters.iter().copied().map(PeerId).collect(),
                ..Configuration::default()
            }),
            leads,
        }
    }

    fn alive(ids: &[u64]) -> BTreeSet<PeerId> {
        ids.iter().copied().map(PeerId).collect()
    }

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn measured(meter: &Meter) -> Vec<(Figure, u64)> {
        let all = meter.figures().distributions();
        all.map(|(figure, of)| (figure, of.max)).collect()
    }

    #[test]
    fn a_failover_ends_with_a_write_that_the_next_leader_took() {
        let mut meter = Meter::default();
        let (old, new) = (
            standing(1, 3, true, &[1, 2, 3]),
            standing(2, 3, false, &[1, 2, 3]),
        );
        meter.on_death(at(100), PeerId(2), &[(&old, 9), (&new, 9)]);
        meter.on_death(at(1_000), PeerId(1), &[(&old, 9), (&new, 9)]);
        meter.on_acknowledged(at(1_010), 9);
        let new = standing(2, 4, true, &[1, 2, 3]);
        meter.look(at(1_600), &[(&new, 10)], &alive(&[2, 3]), 3);
        meter.on_acknowledged(at(1_610), 10);
        assert_eq!(measured(&meter), [], "the last of the old leader's");
        meter.on_acknowledged(at(1_640), 11);
        meter.on_acknowledged(at(1_700), 12);
        assert_eq!(measured(&meter), [(Figure::Failover, 640)]);
    }

    #[test]
    fn redundancy_counts_from_the_death_and_a_replacement_from_its_last_start() {
        let mut meter = Meter::default();
        let leader = standing(1, 3, true, &[1, 2, 3]);
        meter.on_death(at(1_000), PeerId(3), &[(&leader, 9)]);
        meter.on_start(at(5_000), PeerId(4));
        meter.look(at(5_100), &[(&leader, 9)], &alive(&[1, 2, 4]), 3);
        assert_eq!(measured(&meter), []);
        let leader = standing(1, 3, true, &[1, 2, 4]);
        meter.look(at(5_300), &[(&leader, 9)], &alive(&[1, 2, 4]), 3);
        let wanted = [(Figure::FullRedundancy, 4_300), (Figure::Replacement, 300)];
        assert_eq!(measured(&meter), wanted);
        assert!(!meter.is_waiting());
    }

    #[test]
    fn a_recovery_ends_in_the_next_generation_and_its_losses_have_an_age() {
        let mut meter = Meter::default();
        let before = standing(1, 3, true, &[1, 2, 3]);
        meter.on_acknowledged(at(900), 8);
        meter.on_acknowledged(at(950), 9);
        meter.on_disaster(at(1_000));
        meter.on_recovery(at(2_000), &[(&before, 9)]);
        let mut after = standing(1, 3, true, &[1]);
        after.term = 9;
        meter.look(at(2_100), &[(&after, 9)], &alive(&[1]), 3);
        meter.on_acknowledged(at(2_150), 10);
        assert_eq!(measured(&meter), [], "the same generation");
        after.cluster.generation = 1;
        meter.look(at(2_200), &[(&after, 1 << 40)], &alive(&[1]), 3);
        meter.on_acknowledged(at(2_250), (1 << 40) + 1);
        meter.on_loss(&[9]);
        let wanted = [
            (Figure::RecoveryTime, 250),
            (Figure::RecoveryPoint, 50),
            (Figure::LostWrites, 1),
        ];
        assert_eq!(measured(&meter), wanted);
    }
}
