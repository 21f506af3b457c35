//! Bounded memory and queues: the log kept, what is in flight to a member, what is uncommitted, what one step sends.
//!
//! The bounds are those of `Config`; what is added to them here is said beside each.

use kagero::raft::Role;

use super::{Step, Verdict, Why, ensure};

/// A leader keeps so many times the usual bytes for members that lag, beside the size of the snapshot under way.
const KEPT_FOR_LAGGARDS: usize = 4;
/// What the log charges an entry beside its payload; the cap on uncommitted bytes counts payloads alone.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// No payload of a client or configuration of nine members is larger.
const ENTRY_BYTES_MAX: usize = 1_200;
/// Beside what the window allows, a step sends a member at most: an empty append, a heartbeat, an answer, an order.
const ODD_MESSAGES_MAX: usize = 4;

/// Looks at one peer.
pub fn check(step: &Step<'_>) -> Verdict {
    let (raft, log, config) = (step.raft, step.raft.log(), step.config);
    let (peer, usage) = (step.peer.0, raft.usage());
    let leads = raft.role() == Role::Leader;
    let kept = if leads || step.before.role == Role::Leader {
        config.log_bytes_kept * KEPT_FOR_LAGGARDS + usage.snapshot_bytes
    } else {
        config.log_bytes_kept
    };
    ensure(log.committed_bytes() <= kept, || {
        format!("n{peer} keeps {} committed bytes", log.committed_bytes())
    })?;
    let followed = !leads && step.before.role != Role::Leader;
    ensure(log.base() <= log.commit(), || {
        format!("n{peer} compacted what is not committed: {}", log.base())
    })?;
    let entries = (log.commit() - log.base()) as usize;
    ensure(!followed || entries <= config.log_entries_kept, || {
        format!("n{peer} keeps {entries} committed entries")
    })?;
    if let Why::Propose(payloads) = step.cause.why {
        let accepted = step.ready.proposed.iter().any(|(_, answer)| answer.is_ok());
        // A batch above the cap passes alone.
        let cap = config.uncommitted_bytes_max.max(payloads * ENTRY_BYTES_MAX);
        let cap = cap + payloads * ENTRY_OVERHEAD_BYTES;
        let uncommitted = log.uncommitted_bytes();
        ensure(!accepted || uncommitted <= cap, || {
            format!("n{peer} accepted a proposal and has {uncommitted} uncommitted bytes")
        })?;
    }
    ensure(
        usage.inflight_messages <= config.inflight_messages_max,
        || format!("n{peer} has {} messages in flight", usage.inflight_messages),
    )?;
    let bytes = config.inflight_bytes_max + ENTRY_BYTES_MAX;
    ensure(usage.inflight_bytes <= bytes, || {
        format!("n{peer} has {} bytes in flight", usage.inflight_bytes)
    })?;
    let members = log.configuration().contacts.len() + 1;
    let sent = step.ready.messages.len();
    let most = (members + 1) * (config.inflight_messages_max + ODD_MESSAGES_MAX);
    ensure(sent <= most, || {
        format!("n{peer} sent {sent} messages in one step")
    })
}

#[cfg(test)]
mod tests {
    use kagero::raft::Message;

    use super::super::made::{Made, entry, follower, refusal};
    use super::*;

    fn made() -> Made {
        let entries = [entry(2, 2, "a"), entry(3, 2, "b"), entry(4, 2, "c")];
        Made::of(follower(1, &entries, 3))
    }

    #[test]
    fn a_log_within_its_bounds_is_accepted() {
        let mut made = made();
        assert_eq!(check(&made.step()), Ok(()));
        made.config.log_entries_kept = 2;
        assert_eq!(check(&made.step()), Ok(()), "two are committed and kept");
    }

    #[test]
    fn a_log_beyond_its_bounds_is_refused() {
        let mut many = made();
        many.config.log_entries_kept = 1;
        assert!(refusal(check(&many.step())).contains("keeps 2 committed entries"));
        let mut big = made();
        big.config.log_bytes_kept = 1;
        assert!(refusal(check(&big.step())).contains("committed bytes"));
    }

    #[test]
    fn a_proposal_accepted_beyond_the_cap_is_refused() {
        let entries: Vec<_> = (2..100)
            .map(|at| entry(at, 2, "0123456789 0123456789"))
            .collect();
        let mut made = Made::of(follower(1, &entries, 1));
        made.cause.why = Why::Propose(1);
        made.config.uncommitted_bytes_max = 100;
        assert_eq!(check(&made.step()), Ok(()), "refused");
        made.ready.proposed.push((1, Ok((99, 2))));
        assert!(refusal(check(&made.step())).contains("uncommitted bytes"));
    }

    #[test]
    fn more_messages_than_windows_allow_are_refused() {
        let mut made = made();
        made.config.inflight_messages_max = 1;
        let one = Made::sent(made.raft.clone(), 2, Message::TimeoutNow);
        // Four members it has contacts of, itself counted once more, and as many windows of five.
        made.ready.messages = vec![one.ready.messages[0].clone(); 25];
        assert_eq!(check(&made.step()), Ok(()));
        made.ready.messages.push(one.ready.messages[0].clone());
        assert!(refusal(check(&made.step())).contains("sent 26 messages"));
    }
}
