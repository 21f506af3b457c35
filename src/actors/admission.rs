//! Who may have a node's name: one process at a time, which its incarnation tells from all others.
//!
//! Pure. That another process has come by a name, on its machine, is taken for proof that the one before is dead
//! (DESIGN.md, Consensus without a disk): its vote is given away at once, and a lost majority may be recovered on the
//! strength of it. So the rule has to make it true, as far as two processes can be told apart from here:
//!
//! - Who listens where the holder did has outlived it: two processes do not share an address. So a restart in place
//!   waits for nobody.
//! - On the holder's machine, at another address, the newcomer is refused while the holder answers there, or was heard
//!   lately: it may only be slow. It lives, and was first: it may lead, and its pods run; the newcomer has nothing yet,
//!   and was given the name by mistake. Kubernetes lets two kubelets of one name overwrite each other's Node; Consul
//!   refuses the second, as here.
//! - On another machine it is refused until the holder was silent for long enough.
//! - A process that comes back after another has its name (it was suspended, or cut off) is superseded and has to end:
//!   what was concluded from its death holds already. Its next incarnation asks as any newcomer does.
//!
//! Deliberately takes silence that lasts for death: nothing else can be had, and the last rule mends what was wrong about
//! it.

use super::membership::Admit;
use super::refusals::superseded;
use super::wire::Contact;
use crate::raft::PeerId;
use crate::resource::Status;

/// The process that has a name that another one wants.
pub(super) struct Holder {
    pub(super) id: PeerId,
    pub(super) contact: Contact,
    /// It was heard of lately.
    pub(super) heard: bool,
    /// It is the leader, who is being asked.
    pub(super) leads: bool,
}

impl Holder {
    /// Whether what answers at its address decides.
    pub(super) fn is_to_be_asked(&self, asking: &Admit) -> bool {
        self.is_on_machine_of(asking) && (asking.again || !self.is_at_address_of(asking))
    }

    /// Whether it gives way, given which process answers at its address, if it was to be asked and one does.
    pub(super) fn yields(&self, asking: &Admit, occupant: Option<PeerId>) -> Result<(), Status> {
        let Contact { address, .. } = &self.contact;
        let name = &asking.contact.name;
        if asking.again && occupant != Some(asking.id) {
            if occupant.is_none() && self.is_at_address_of(asking) {
                return Err(self.undecided(asking));
            }
            return Err(superseded(format!(
                "node name {name:?} was taken over by a later process, {} at {address}: this one is superseded",
                self.id
            )));
        }
        if self.is_on_machine_of(asking) {
            let shares = self.is_at_address_of(asking);
            let answers = occupant.map_or(self.heard, |occupant| occupant == self.id);
            let lives = self.leads || (!shares && answers);
            return if lives {
                Err(self.refuse(asking, "process of this machine"))
            } else {
                Ok(())
            };
        }
        if self.heard {
            return Err(self.refuse(asking, "machine"));
        }
        Ok(())
    }

    fn is_on_machine_of(&self, asking: &Admit) -> bool {
        self.contact.machine_id == asking.contact.machine_id
    }

    fn is_at_address_of(&self, asking: &Admit) -> bool {
        self.contact.address == asking.contact.address
    }

    /// Who asks lives where the holder did, so that one of the two must have answered there.
    fn undecided(&self, asking: &Admit) -> Status {
        let reason = format!(
            "nobody answers at {}, where node {:?} is: it cannot be said which process has the name",
            self.contact.address, asking.contact.name
        );
        Status::new(503, "ServiceUnavailable", reason)
    }

    fn refuse(&self, asking: &Admit, what: &str) -> Status {
        let (name, address) = (&asking.contact.name, &self.contact.address);
        let reason = format!(
            "node name {name:?} is held by another live {what}, {} at {address}; choose another --name",
            self.id
        );
        Status::new(403, "Forbidden", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::host::contact;

    const HOLDER: PeerId = PeerId(1);
    const NEWCOMER: PeerId = PeerId(2);

    #[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
    #[derive(Clone, Copy)]
    struct Case {
        same_machine: bool,
        same_address: bool,
        again: bool,
        leads: bool,
        heard: bool,
        occupant: Option<PeerId>,
    }

    /// 0 if it is admitted, else the code of the refusal; and whether the holder's address is asked.
    fn judged(case: Case) -> (u16, bool) {
        let mut asking = contact(2);
        asking.name = contact(1).name;
        if case.same_machine {
            asking.machine_id = contact(1).machine_id;
        }
        if case.same_address {
            asking.address = contact(1).address;
        }
        let holder = Holder {
            id: HOLDER,
            contact: contact(1),
            heard: case.heard,
            leads: case.leads,
        };
        let asking = Admit {
            id: NEWCOMER,
            contact: asking,
            again: case.again,
        };
        let code = holder.yields(&asking, case.occupant).err();
        let code = code.map_or(0, |status| status.code);
        (code, holder.is_to_be_asked(&asking))
    }

    const RESTART: Case = Case {
        same_machine: true,
        same_address: true,
        again: false,
        leads: false,
        heard: true,
        occupant: None,
    };
    /// On its machine, at another address, where the one before is silent.
    const BESIDE: Case = Case {
        same_address: false,
        heard: false,
        ..RESTART
    };
    const ELSEWHERE: Case = Case {
        same_machine: false,
        heard: true,
        ..BESIDE
    };
    /// One that was admitted before.
    const BACK: Case = Case {
        again: true,
        ..RESTART
    };

    /// This, where another process answers at the holder's address.
    fn answers(case: Case, id: PeerId) -> Case {
        let occupant = Some(id);
        Case { occupant, ..case }
    }

    #[test]
    fn a_living_holder_keeps_its_name() {
        let leader = Case {
            leads: true,
            ..RESTART
        };
        let silent = Case {
            heard: false,
            ..ELSEWHERE
        };
        let slow = Case {
            heard: true,
            ..BESIDE
        };
        let cases = [
            ("a restart in place asks nobody", RESTART, (0, false)),
            ("the leader's name is its own", leader, (403, false)),
            ("a restart at another address", BESIDE, (0, true)),
            ("a second process", answers(BESIDE, HOLDER), (403, true)),
            ("a second one beside a slow one", slow, (403, true)),
            (
                "a third in its place",
                answers(BESIDE, PeerId(3)),
                (0, true),
            ),
            ("another machine", ELSEWHERE, (403, false)),
            ("a machine in its place", silent, (0, false)),
        ];
        for (what, case, expected) in cases {
            assert_eq!(judged(case), expected, "{what}");
        }
    }

    #[test]
    fn whoever_comes_back_to_a_name_that_was_taken_over_is_superseded() {
        let elsewhere = Case {
            again: true,
            ..ELSEWHERE
        };
        let moved = Case {
            again: true,
            ..BESIDE
        };
        let cases = [
            ("the holder lives", answers(BACK, HOLDER), (410, true)),
            ("nobody answers where it lives", BACK, (503, true)),
            ("the later one is elsewhere, and died", moved, (410, true)),
            ("on another machine", elsewhere, (410, false)),
            ("it lives in its place", answers(BACK, NEWCOMER), (0, true)),
        ];
        for (what, case, expected) in cases {
            assert_eq!(judged(case), expected, "{what}");
        }
    }
}
