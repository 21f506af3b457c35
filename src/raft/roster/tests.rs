//! The plan for each situation that DESIGN.md names, one a test.

use super::*;
use crate::raft::{Configuration, PeerProgress};

/// A situation: peer 1 leads; every peer is in zone `z<number>` unless told otherwise.
#[derive(Debug)]
struct Scene {
    status: Status,
    candidates: BTreeMap<PeerId, Candidate>,
    wanted: usize,
}

fn set(peers: &[u64]) -> BTreeSet<PeerId> {
    peers.iter().map(|peer| PeerId(*peer)).collect()
}

impl Scene {
    fn new(wanted: usize, voters: &[u64], learners: &[u64]) -> Self {
        let mut scene = Self {
            status: Status {
                id: PeerId(1),
                role: Role::Leader,
                term: 2,
                leader: Some(PeerId(1)),
                last: 9,
                commit: 9,
                applied: 9,
                configuration: Configuration {
                    voters: set(voters),
                    learners: set(learners),
                    ..Configuration::default()
                },
                progress: BTreeMap::new(),
            },
            candidates: BTreeMap::new(),
            wanted,
        };
        for peer in voters.iter().chain(learners) {
            scene.member(*peer);
        }
        scene
    }

    fn member(&mut self, peer: u64) {
        let contact = Bytes::from(format!("c{peer}"));
        let contacts = &mut self.status.configuration.contacts;
        contacts.insert(PeerId(peer), contact);
        self.known(peer);
        if peer != 1 {
            let progress = PeerProgress {
                matched: 9,
                silent: Duration::ZERO,
                gone: false,
                caught_up: true,
                snapshot: None,
            };
            self.status.progress.insert(PeerId(peer), progress);
        }
    }

    fn known(&mut self, peer: u64) -> &mut Candidate {
        self.candidates
            .entry(PeerId(peer))
            .or_insert_with(|| Candidate {
                may_vote: true,
                zone: format!("z{peer}"),
                name: format!("n{peer}"),
                contact: Bytes::from(format!("c{peer}")),
                ..Candidate::default()
            })
    }

    fn progress(&mut self, peer: u64) -> &mut PeerProgress {
        self.status
            .progress
            .get_mut(&PeerId(peer))
            .expect("a member other than the leader")
    }

    fn dead(mut self, peers: &[u64]) -> Self {
        for peer in peers {
            self.known(*peer).proven_dead = true;
        }
        self
    }

    fn plan(&self) -> Option<Change> {
        let limits = Limits::default();
        plan_membership(&self.status, &self.candidates, self.wanted, &limits)
    }
}

fn voters(peers: &[u64]) -> Change {
    Change::SetVoters(set(peers))
}

fn learner(peer: u64) -> Change {
    let contact = Bytes::from(format!("c{peer}"));
    Change::AddLearner(PeerId(peer), contact)
}

#[test]
fn a_whole_cluster_is_left_alone() {
    assert_eq!(Scene::new(3, &[1, 2, 3], &[4]).plan(), None);
}

#[test]
fn only_a_leader_outside_a_joint_change_plans() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]).dead(&[3]);
    assert_eq!(scene.plan(), Some(voters(&[1, 2, 4])));
    scene.status.configuration.outgoing = set(&[1, 2]);
    assert_eq!(scene.plan(), None);
    scene.status.configuration.outgoing.clear();
    scene.status.role = Role::Follower;
    assert_eq!(scene.plan(), None);
}

#[test]
fn a_proven_dead_voter_is_swapped_at_once_and_a_silent_one_after_ten_seconds() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
    scene.progress(3).silent = Duration::from_millis(9_999);
    assert_eq!(scene.plan(), None);
    scene.progress(3).silent = Duration::from_secs(10);
    assert_eq!(scene.plan(), Some(voters(&[1, 2, 4])));
    assert_eq!(
        Scene::new(3, &[1, 2, 3], &[4]).dead(&[2]).plan(),
        Some(voters(&[1, 3, 4]))
    );
}

#[test]
fn two_dead_of_five_are_swapped_in_one_change() {
    let scene = Scene::new(5, &[1, 2, 3, 4, 5], &[6, 7]).dead(&[4, 5]);
    assert_eq!(scene.plan(), Some(voters(&[1, 2, 3, 6, 7])));
}

#[test]
fn three_of_three_never_shrink() {
    assert_eq!(Scene::new(3, &[1, 2, 3], &[]).dead(&[3]).plan(), None);
}

#[test]
fn an_even_number_that_lives_does_not_shrink_either() {
    assert_eq!(Scene::new(3, &[1, 2], &[]).plan(), None);
    assert_eq!(Scene::new(5, &[1, 2, 3, 4], &[]).plan(), None);
    assert_eq!(
        Scene::new(3, &[1, 2], &[3]).plan(),
        Some(voters(&[1, 2, 3]))
    );
}

#[test]
fn five_with_two_dead_shrink_to_three_and_with_one_dead_do_not() {
    let scene = Scene::new(5, &[1, 2, 3, 4, 5], &[]);
    assert_eq!(scene.dead(&[4, 5]).plan(), Some(voters(&[1, 2, 3])));
    assert_eq!(Scene::new(5, &[1, 2, 3, 4, 5], &[]).dead(&[5]).plan(), None);
}

#[test]
fn voters_grow_by_odd_steps() {
    assert_eq!(Scene::new(3, &[1], &[2]).plan(), None);
    assert_eq!(
        Scene::new(3, &[1], &[2, 3]).plan(),
        Some(voters(&[1, 2, 3]))
    );
    assert_eq!(Scene::new(5, &[1, 2, 3], &[4]).plan(), None);
    let grown = Scene::new(5, &[1, 2, 3], &[4, 5]).plan();
    assert_eq!(grown, Some(voters(&[1, 2, 3, 4, 5])));
}

#[test]
fn fewer_wanted_voters_keep_the_leader() {
    assert_eq!(Scene::new(1, &[1, 2, 3], &[]).plan(), Some(voters(&[1])));
}

#[test]
fn a_learner_must_be_caught_up_allowed_and_staying() {
    let scene = || Scene::new(3, &[1, 2, 3], &[4]).dead(&[3]);
    let mut behind = scene();
    behind.progress(4).caught_up = false;
    assert_eq!(behind.plan(), None);
    let mut never = scene();
    never.known(4).may_vote = false;
    assert_eq!(never.plan(), None);
    let mut evicting = scene();
    evicting.known(4).evicting = true;
    assert_eq!(evicting.plan(), None);
}

#[test]
fn an_evicting_voter_makes_room_for_a_standby() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
    scene.known(2).evicting = true;
    assert_eq!(scene.plan(), Some(voters(&[1, 3, 4])));
    let mut alone = Scene::new(3, &[1, 2, 3], &[]);
    alone.known(2).evicting = true;
    assert_eq!(alone.plan(), None, "nobody to replace it");
}

/// Of three voters one is dead and one leaves. Two standbys took their places at once; they had just died together.
#[test]
fn those_who_stay_are_a_quorum() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5]).dead(&[3]);
    scene.known(2).evicting = true;
    assert_eq!(
        scene.plan(),
        Some(voters(&[1, 2, 4])),
        "one after the other"
    );
    let mut later = Scene::new(3, &[1, 2, 4], &[5]);
    later.known(2).evicting = true;
    assert_eq!(later.plan(), Some(voters(&[1, 4, 5])));
    let mut two = Scene::new(3, &[1, 2, 3], &[4, 5]);
    for leaves in [2, 3] {
        two.known(leaves).evicting = true;
    }
    assert_eq!(two.plan(), Some(voters(&[1, 2, 4])));
    let mut five = Scene::new(5, &[1, 2, 3, 4, 5], &[6, 7]);
    for leaves in [4, 5] {
        five.known(leaves).evicting = true;
    }
    assert_eq!(five.plan(), Some(voters(&[1, 2, 3, 6, 7])), "two of five");
}

/// Two machines died, and the standby on one of them took the place of a voter that lived: nobody was left.
#[test]
fn an_evicting_voter_stays_while_those_after_it_may_have_died() {
    for silent in [3, 4] {
        let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
        scene.known(2).evicting = true;
        scene.progress(silent).silent = Duration::from_millis(205);
        assert_eq!(scene.plan(), None, "{silent} is silent");
        scene.progress(2).silent = Duration::from_secs(11);
        assert_eq!(scene.plan(), Some(voters(&[1, 3, 4])), "2 is dead");
    }
}

/// One of three voters vanished without a word, then another one got notice: as long as the first did not count as dead
/// by its silence, nothing was done, and the second died with two standbys idle.
#[test]
fn a_notice_does_not_wait_for_a_silent_voter_to_count_as_dead() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5]);
    scene.known(2).evicting = true;
    scene.progress(3).silent = Duration::from_millis(999);
    assert_eq!(scene.plan(), None, "it may come back");
    scene.progress(3).silent = Duration::from_secs(1);
    assert_eq!(scene.plan(), Some(voters(&[1, 2, 4])), "the silent first");
    let mut then = Scene::new(3, &[1, 2, 4], &[5]);
    then.known(2).evicting = true;
    assert_eq!(then.plan(), Some(voters(&[1, 4, 5])));
    scene.progress(2).silent = Duration::from_secs(1);
    assert_eq!(scene.plan(), None, "no quorum is heard");
}

#[test]
fn without_a_voters_notice_a_silent_voter_has_its_ten_seconds() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5]);
    scene.progress(3).silent = Duration::from_secs(9);
    assert_eq!(scene.plan(), None);
    scene.known(5).evicting = true;
    assert_eq!(scene.plan(), None, "a standby's notice");
    scene.known(2).zone = "z1".into();
    assert_eq!(scene.plan(), None, "a better zone");
}

/// The standby that is to come must have been heard, and so must the voter with the notice: it has to agree.
#[test]
fn a_silent_voter_is_not_swapped_for_one_that_may_have_died_with_another() {
    for silent in [2, 4] {
        let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
        scene.known(2).evicting = true;
        scene.progress(3).silent = Duration::from_secs(2);
        scene.progress(silent).silent = Duration::from_millis(205);
        assert_eq!(scene.plan(), None, "{silent} is silent");
    }
}

#[test]
fn two_silent_of_five_and_a_notice() {
    let scene = |learners: &[u64]| {
        let mut scene = Scene::new(5, &[1, 2, 3, 4, 5], learners);
        scene.known(2).evicting = true;
        for silent in [4, 5] {
            scene.progress(silent).silent = Duration::from_secs(1);
        }
        scene
    };
    assert_eq!(scene(&[]).plan(), Some(voters(&[1, 2, 3])));
    assert_eq!(scene(&[6]).plan(), Some(voters(&[1, 2, 3, 4, 6])));
    assert_eq!(scene(&[6, 7]).plan(), Some(voters(&[1, 2, 3, 6, 7])));
    let mut lost = scene(&[6, 7]);
    lost.progress(3).silent = Duration::from_secs(1);
    assert_eq!(lost.plan(), None, "no quorum is heard");
}

/// What a member can look like: heard now, lately, not for a second, not for ten; with or without notice.
const LOOKS: [(u64, bool); 6] = [
    (0, false),
    (0, true),
    (205, false),
    (1_000, false),
    (1_000, true),
    (10_000, false),
];

/// All that was not heard a moment ago may be dead, and all newcomers may have died since: where today's voters still
/// have a quorum then, so have the next ones.
#[test]
fn no_step_loses_a_quorum_that_today_has_whoever_has_died_unnoticed() {
    let scenes: [(&[u64], &[u64]); 2] = [(&[1, 2, 3], &[4, 5]), (&[1, 2, 3, 4, 5], &[6])];
    let mut steps = 0;
    for (today, learners) in scenes {
        let others = || today.iter().chain(learners).filter(|peer| **peer != 1);
        let looks = u32::try_from(LOOKS.len().pow(others().count() as u32)).unwrap();
        for number in 0..looks {
            let mut scene = Scene::new(today.len(), today, learners);
            let mut rest = number as usize;
            for peer in others() {
                let (millis, evicting) = LOOKS[rest % LOOKS.len()];
                rest /= LOOKS.len();
                scene.known(*peer).evicting = evicting;
                let progress = scene.progress(*peer);
                progress.silent = Duration::from_millis(millis);
                progress.caught_up = millis < 500;
            }
            let Some(Change::SetVoters(next)) = scene.plan() else {
                continue;
            };
            let heard = |peer: &&PeerId| {
                today.contains(&peer.0)
                    && (peer.0 == 1 || scene.status.progress[peer].silent.is_zero())
            };
            let decided =
                |all: &BTreeSet<PeerId>| all.iter().filter(heard).count() >= majority(all.len());
            if decided(&scene.status.configuration.voters) {
                steps += 1;
                assert!(decided(&next), "{scene:?} makes {next:?}");
            }
        }
    }
    assert!(steps > 500, "{steps} steps were looked at");
}

#[test]
fn zones_are_spread_and_then_left_alone() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
    scene.known(2).zone = "z1".into();
    assert_eq!(scene.plan(), Some(voters(&[1, 3, 4])));
    let mut spread = Scene::new(3, &[1, 3, 4], &[2]);
    spread.known(2).zone = "z1".into();
    assert_eq!(spread.plan(), None);
}

#[test]
fn of_five_voters_in_three_zones_no_zone_has_three() {
    let zones = ["", "a", "a", "a", "b", "b", "c", "c"];
    let mut scene = Scene::new(5, &[1, 2, 3, 4, 6], &[5, 7]);
    for peer in 1..=7 {
        scene.known(peer).zone = zones[peer as usize].into();
    }
    assert_eq!(scene.plan(), Some(voters(&[1, 2, 4, 5, 6])));
    let mut spread = Scene::new(5, &[1, 2, 4, 5, 6], &[3, 7]);
    for peer in 1..=7 {
        spread.known(peer).zone = zones[peer as usize].into();
    }
    assert_eq!(spread.plan(), None);
}

#[test]
fn a_standby_is_sought_where_fewest_are() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[]);
    for (peer, zone) in [(1, "a"), (2, "a"), (3, "b"), (7, "a"), (8, "b")] {
        scene.known(peer).zone = zone.into();
    }
    assert_eq!(scene.plan(), Some(learner(8)));
}

#[test]
fn a_standby_of_a_crowded_zone_makes_room() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5]);
    for peer in 1..=5 {
        scene.known(peer).zone = if peer % 2 == 0 { "a" } else { "b" }.into();
    }
    assert_eq!(scene.plan(), None);
    scene.known(7).zone = "c".into();
    let room = Change::RemoveLearners(set(&[5]));
    assert_eq!(scene.plan(), Some(room), "b has three");
    scene.progress(4).caught_up = false;
    assert_eq!(scene.plan(), None, "the other one does not stand by yet");
    scene.progress(4).caught_up = true;
    scene.progress(2).silent = Duration::from_millis(300);
    assert_eq!(scene.plan(), None, "somebody may have died");
    scene.progress(2).silent = Duration::ZERO;
    scene.known(7).zone = "a".into();
    assert_eq!(scene.plan(), None, "two of five would be no worse");
}

#[test]
fn a_standby_too_many_goes() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5, 6]);
    scene.known(5).zone = "z1".into();
    let one = Change::RemoveLearners(set(&[5]));
    assert_eq!(scene.plan(), Some(one.clone()), "z1 has two");
    scene.progress(3).silent = Duration::from_millis(76);
    assert_eq!(scene.plan(), None, "somebody may have died");
    scene.progress(3).silent = Duration::from_millis(75);
    assert_eq!(scene.plan(), Some(one));
    scene.known(6).evicting = true;
    assert_eq!(scene.plan(), None, "one of them leaves anyway");
    scene.known(6).evicting = false;
    scene.progress(6).caught_up = false;
    assert_eq!(scene.plan(), None, "one of them does not stand by yet");
    scene.known(6).may_vote = false;
    assert_eq!(scene.plan(), None, "one of them is nobody's standby");
    scene.known(7);
    scene.known(4).may_vote = false;
    assert_eq!(scene.plan(), Some(learner(7)), "two of them");
}

/// A voter and the standby that is to take the place of one with notice ended together a moment ago; their connections
/// were seen to end, what they had said before still counts as heard.
#[test]
fn nobody_who_lives_is_swapped_while_somebodys_process_was_seen_gone() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
    scene.known(2).evicting = true;
    assert_eq!(scene.plan(), Some(voters(&[1, 3, 4])));
    scene.progress(3).gone = true;
    assert_eq!(scene.plan(), None, "one that stays");
    scene.progress(3).gone = false;
    scene.progress(4).gone = true;
    assert_eq!(scene.plan(), None, "one that comes");
    scene.member(5);
    scene.status.configuration.learners.insert(PeerId(5));
    assert_eq!(scene.plan(), Some(voters(&[1, 3, 5])), "another comes");
}

#[test]
fn dead_learners_go() {
    let scene = Scene::new(3, &[1, 2, 3], &[4, 5]).dead(&[5]);
    let gone = Change::RemoveLearners(set(&[5]));
    assert_eq!(scene.plan(), Some(gone));
}

#[test]
fn candidates_become_learners_up_to_the_standbys() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4]);
    scene.known(7);
    scene.known(6).zone = "z1".into();
    assert_eq!(scene.plan(), Some(learner(7)), "a new zone comes first");
    let mut full = Scene::new(3, &[1, 2, 3], &[4, 5]);
    full.known(7);
    assert_eq!(full.plan(), None);
}

#[test]
fn a_dead_member_takes_no_standbys_place() {
    let mut scene = Scene::new(3, &[1, 2, 3], &[4, 5]).dead(&[3]);
    for peer in [4, 5] {
        scene.progress(peer).caught_up = false;
    }
    scene.known(7);
    assert_eq!(scene.plan(), Some(learner(7)));
}

#[test]
fn whoever_is_silent_leaving_dead_or_unwilling_is_not_added() {
    let unfit: [fn(&mut Candidate); 4] = [
        |c| c.silent = Duration::from_secs(6),
        |c| c.evicting = true,
        |c| c.proven_dead = true,
        |c| c.may_vote = false,
    ];
    for spoil in unfit {
        let mut scene = Scene::new(3, &[1], &[]);
        spoil(scene.known(7));
        assert_eq!(scene.plan(), None);
    }
}
