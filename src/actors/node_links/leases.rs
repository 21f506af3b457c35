//! What a leader knows of its nodes' leases: whom it may give another, and whose silence has lasted long enough.
//!
//! Pure. It knows of the leases that were given while this node leads; whatever an earlier leader gave was confirmed
//! before this one was elected, and counts as given when this table was made.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::actors::lease::WAIT;
use crate::store::Revision;

/// The table. Times are the leader's monotonic clock's.
///
/// Invariant: while a pod of a node is being let go, and until the node has been told so, the node is given no lease.
pub(super) struct Leases {
    began: Duration,
    nodes: BTreeMap<String, OfNode>,
}

#[derive(Default)]
struct OfNode {
    /// When one was last given, and to which home.
    given: Option<(Duration, String)>,
    /// Deletions of its pods of which it is not known what has become of them.
    releasing: usize,
    /// What has become of others, the node knows once it has been told the state at this revision.
    released_at: Revision,
}

/// A lease that may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Nobody else can run unique pods that are bound to this node: it may start them.
    pub(super) start: bool,
}

impl Leases {
    /// This node leads from now on, and has heard nothing.
    pub(super) fn new(now: Duration) -> Self {
        let nodes = BTreeMap::new();
        Self { began: now, nodes }
    }

    /// A lease for a node, if it may have one: not while the process that had its name before, in another home, may still
    /// have one, nor before it was told what it has lost. `told` is the revision that it has been told.
    pub(super) fn grant(
        &mut self,
        node: &str,
        home: &str,
        told: Revision,
        now: Duration,
    ) -> Option<Grant> {
        let of = self.nodes.entry(node.to_owned()).or_default();
        let other = of.given.as_ref().filter(|(_, before)| before != home);
        let waits = other.is_some_and(|(at, _)| now.saturating_sub(*at) <= WAIT);
        if waits || of.releasing > 0 || of.released_at > told {
            return None;
        }
        of.given = Some((now, home.to_owned()));
        let start = now.saturating_sub(self.began) > WAIT;
        Some(Grant { start })
    }

    /// Begins to let go of a pod of a node; if that is too early, says how much too early.
    pub(super) fn begin_release(&mut self, node: &str, now: Duration) -> Result<(), Duration> {
        let of = self.nodes.get(node).and_then(|of| of.given.as_ref());
        let since = of.map_or(self.began, |(at, _)| *at);
        let waited = now.saturating_sub(since);
        if waited <= WAIT {
            return Err(WAIT.saturating_sub(waited));
        }
        self.nodes.entry(node.to_owned()).or_default().releasing += 1;
        Ok(())
    }

    /// What was begun has ended; the node must know what stands at this revision before it gets another lease.
    pub(super) fn end_release(&mut self, node: &str, at: Revision) {
        let of = self.nodes.entry(node.to_owned()).or_default();
        assert!(of.releasing > 0, "what ends was begun");
        of.releasing -= 1;
        of.released_at = of.released_at.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const START: Option<Grant> = Some(Grant { start: true });
    const KEEP: Option<Grant> = Some(Grant { start: false });
    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_new_leader_lets_nobody_start_and_lets_nothing_go_before_its_wait_is_over() {
        let mut leases = Leases::new(LONG);
        assert_eq!(leases.grant("n1", "b", 0, LONG), KEEP);
        assert_eq!(leases.begin_release("n2", LONG + WAIT), Err(ms(0)));
        assert_eq!(leases.begin_release("n2", LONG + WAIT + ms(1)), Ok(()));
        assert_eq!(leases.grant("n1", "b", 0, LONG + WAIT), KEEP);
        assert_eq!(leases.grant("n1", "b", 0, LONG + WAIT + ms(1)), START);
    }

    #[test]
    fn a_node_is_waited_for_from_its_last_lease() {
        let mut leases = Leases::new(ms(0));
        assert_eq!(leases.grant("n1", "b", 0, LONG), START);
        let then = LONG + ms(4_000);
        assert_eq!(
            leases.begin_release("n1", then),
            Err(WAIT.saturating_sub(ms(4_000)))
        );
        assert_eq!(leases.begin_release("n1", LONG + WAIT + ms(1)), Ok(()));
    }

    #[test]
    fn what_is_let_go_gets_no_lease_before_its_node_knows() {
        let mut leases = Leases::new(ms(0));
        leases.begin_release("n1", LONG).unwrap();
        leases.begin_release("n1", LONG).unwrap();
        leases.end_release("n1", 7);
        assert_eq!(leases.grant("n1", "b", 9, LONG), None);
        leases.end_release("n1", 6);
        assert_eq!(leases.grant("n1", "b", 6, LONG), None);
        assert_eq!(leases.grant("n1", "b", 7, LONG), START);
    }

    #[test]
    fn another_machine_of_the_same_name_waits_for_the_one_before() {
        let mut leases = Leases::new(ms(0));
        leases.grant("n1", "old", 0, LONG).unwrap();
        assert_eq!(leases.grant("n1", "new", 0, LONG + WAIT), None);
        assert_eq!(leases.grant("n1", "new", 0, LONG + WAIT + ms(1)), START);
    }
}
