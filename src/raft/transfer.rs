//! Handing leadership to a chosen voter (dissertation 3.10).
//!
//! The leader stops taking proposals, waits until the target has its whole log, and tells it to stand at once. If no
//! election has deposed it within an election timeout it goes on leading. Whom to choose, the shell decides.

use super::leadership::Handover;
use super::message::Message;
use super::node::{Part, Raft};
use super::types::PeerId;

impl Raft {
    /// Begins to hand over. Ignored unless this peer leads and the target is another voter of the newest
    /// configuration; the caller sees in its status whether it came to pass.
    pub(super) fn on_transfer(&mut self, target: PeerId) {
        let until = self.now + self.config.election_timeout;
        let eligible = self.log.configuration().voters.contains(&target) && target != self.id();
        if let Some(leadership) = self.leadership()
            && eligible
        {
            leadership.transfer = Some(Handover {
                target,
                until,
                told: false,
            });
        }
    }

    /// Tells the target once it has the whole log; again at every heartbeat.
    pub(super) fn advance_transfer(&mut self) {
        let last = self.log.last();
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        let Some(transfer) = &mut leadership.transfer else {
            return;
        };
        let target = leadership.progress.get(&transfer.target);
        if !transfer.told && target.is_some_and(|progress| progress.matched == last) {
            transfer.told = true;
            self.out.send(transfer.target, Message::TimeoutNow);
        }
    }

    /// Gives up a transfer that took too long.
    pub(super) fn expire_transfer(&mut self) {
        let now = self.now;
        if let Some(leadership) = self.leadership() {
            leadership
                .transfer
                .take_if(|transfer| now >= transfer.until);
        }
    }

    pub(super) fn on_timeout_now(&mut self, from: PeerId) {
        let named = self.leader == Some(from) || self.leader.is_none();
        if named && self.may_stand() && !matches!(self.part, Part::Leader(_)) {
            self.stand(true);
        }
    }
}
