//! Which answers allow a recovery, and every reason that forbids one.

use bytes::Bytes;

use super::*;

const CLUSTER: u64 = 7;

fn id(number: u64) -> PeerId {
    PeerId(number)
}

fn place(number: u64) -> Place {
    Place {
        name: format!("n{number}"),
        machine: format!("machine-{number}"),
        address: format!("n{number}:7443"),
    }
}

/// Voters 1 to 3 and the learners given.
fn configuration(learners: &[u64]) -> Configuration {
    let voters = (1..=3).map(id).collect::<BTreeSet<_>>();
    let learners = learners.iter().copied().map(id).collect::<BTreeSet<_>>();
    let members = voters.iter().chain(&learners);
    Configuration {
        contacts: members.map(|id| (*id, Bytes::new())).collect(),
        voters,
        outgoing: BTreeSet::new(),
        learners,
    }
}

/// What the survivors say, and what the operator says.
struct Case {
    testimonies: BTreeMap<String, Testimony>,
    places: BTreeMap<PeerId, Place>,
    gone: BTreeSet<PeerId>,
    dead: BTreeSet<String>,
}

impl Case {
    /// Only these answer, each with a log that ends at this (term, index).
    fn of(learners: &[u64], answers: &[(u64, Term, Index)]) -> Self {
        let configuration = configuration(learners);
        let mut case = Self {
            testimonies: BTreeMap::new(),
            places: configuration.members().map(|m| (m, place(m.0))).collect(),
            gone: BTreeSet::new(),
            dead: BTreeSet::new(),
        };
        for (number, term, index) in answers {
            let account = Account {
                cluster: ClusterId {
                    id: CLUSTER,
                    generation: 0,
                },
                promised: 0,
                frozen: false,
                hears_leader: false,
                term: 9,
                position: Position {
                    generation: 0,
                    term: *term,
                    index: *index,
                },
                commit: 5,
                configuration: configuration.clone(),
            };
            case.answers(*number, place(*number), Some(account));
        }
        case
    }

    fn answers(&mut self, number: u64, place: Place, account: Option<Account>) {
        let said = Testimony {
            id: id(number),
            contact: place.name.clone().into(),
            place: place.clone(),
            recovers: false,
            account,
        };
        self.testimonies.insert(place.address, said);
    }

    fn dead(mut self, names: &[&str]) -> Self {
        self.dead = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn said(&mut self, number: u64) -> &mut Testimony {
        self.testimonies
            .get_mut(&place(number).address)
            .expect("it answers")
    }

    fn account(&mut self, number: u64) -> &mut Account {
        self.said(number).account.as_mut().expect("it has a part")
    }

    fn plan(&self) -> Result<RecoveryPlan, RecoveryRefused> {
        self.plan_of(id(1))
    }

    fn plan_of(&self, own: PeerId) -> Result<RecoveryPlan, RecoveryRefused> {
        let (said, places) = (&self.testimonies, &self.places);
        plan_recovery(own, said, places, &self.gone, &self.dead)
    }

    fn refused(&self) -> String {
        self.plan().unwrap_err().to_string()
    }
}

fn evidence(plan: &RecoveryPlan, number: u64) -> Option<Evidence> {
    match plan.members[&id(number)].fate {
        Fate::Dead(evidence) => Some(evidence),
        Fate::Survives(_) => None,
    }
}

#[test]
fn a_lone_survivor_wins_when_the_operator_vouches_for_the_rest() {
    let plan = Case::of(&[], &[(1, 4, 8)]).dead(&["n2", "n3"]).plan();
    let plan = plan.unwrap();
    assert_eq!((plan.winner, plan.generation, plan.term), (id(1), 1, 9));
    assert_eq!((plan.position.term, plan.position.index), (4, 8));
    assert_eq!(evidence(&plan, 1), None);
    assert_eq!(evidence(&plan, 2), Some(Evidence::Operator));
    assert_eq!(evidence(&plan, 3), Some(Evidence::Operator));
}

#[test]
fn a_newer_process_at_the_same_place_proves_the_older_dead() {
    let mut case = Case::of(&[], &[(1, 4, 8)]).dead(&["n3"]);
    case.answers(22, place(2), None);
    let plan = case.plan().unwrap();
    let superseded = Evidence::Superseded { by: id(22) };
    assert_eq!(evidence(&plan, 2), Some(superseded));
    assert!(!plan.members.contains_key(&id(22)), "it is no member");
}

#[test]
fn neither_the_name_nor_the_machine_nor_the_address_alone_proves_anything() {
    let [mut name, mut machine, mut address] = [place(2), place(2), place(2)];
    (name.machine, name.address) = ("other".into(), "other:7443".into());
    (machine.name, machine.address) = ("other".into(), "other:7443".into());
    (address.name, address.machine) = ("other".into(), "other".into());
    let moved = Place {
        address: "other:7443".into(),
        ..place(2)
    };
    for elsewhere in [name, machine, address, moved] {
        let mut case = Case::of(&[], &[(1, 4, 8)]).dead(&["n3"]);
        case.answers(22, elsewhere.clone(), None);
        let refused = case.refused();
        assert!(refused.contains("n2 (voter)"), "{elsewhere:?}: {refused}");
    }
}

#[test]
fn the_greatest_last_term_wins_then_the_greatest_index_and_learners_count() {
    let winner = |two: (Term, Index), learner: (Term, Index)| {
        let answers = [(1, 4, 8), (4, two.0, two.1), (5, learner.0, learner.1)];
        let case = Case::of(&[4, 5], &answers).dead(&["n2", "n3"]);
        case.plan().unwrap().winner
    };
    assert_eq!(winner((3, 99), (4, 7)), id(1), "terms before lengths");
    assert_eq!(winner((4, 9), (4, 8)), id(4));
    assert_eq!(winner((4, 9), (5, 2)), id(5));
    assert_eq!(winner((4, 8), (4, 8)), id(1), "among equals one that voted");
}

#[test]
fn a_later_generations_log_wins_however_short() {
    let answers = [(1, 9, 99), (4, 2, 3)];
    let mut case = Case::of(&[4], &answers).dead(&["n2", "n3"]);
    case.account(4).position.generation = 1;
    case.account(4).cluster.generation = 1;
    let plan = case.plan().unwrap();
    assert_eq!((plan.winner, plan.from.generation), (id(4), 1));
    assert_eq!(plan.generation, 2);
}

#[test]
fn what_was_promised_is_passed_over() {
    let mut case = Case::of(&[4], &[(1, 4, 8), (4, 4, 8)]).dead(&["n2", "n3"]);
    (case.account(4).promised, case.account(4).frozen) = (3, true);
    let plan = case.plan().unwrap();
    assert_eq!((plan.from.generation, plan.generation), (0, 4));
}

#[test]
fn the_clouds_word_proves_a_death_but_not_of_one_that_answers() {
    let mut case = Case::of(&[], &[(1, 4, 8)]);
    case.gone = BTreeSet::from([id(2)]);
    let refused = case.refused();
    assert!(refused.starts_with("n3 (voter) does not"), "{refused}");
    case.gone.insert(id(3));
    let plan = case.plan().unwrap();
    assert_eq!(evidence(&plan, 2), Some(Evidence::Cloud));
    assert_eq!(evidence(&plan, 3), Some(Evidence::Cloud));
    let mut lives = Case::of(&[4], &[(1, 4, 8), (4, 4, 9)]);
    lives.gone = [2, 3, 4].map(id).into();
    let plan = lives.plan().unwrap();
    assert_eq!((plan.winner, evidence(&plan, 4)), (id(4), None));
}

#[test]
fn silence_is_no_death() {
    let refused = Case::of(&[], &[(1, 4, 8)]).refused();
    assert!(
        refused.starts_with("n2 (voter), n3 (voter) do not answer and are not proven dead"),
        "{refused}"
    );
    assert!(refused.contains("--dead n2,n3"), "{refused}");
    let refused = Case::of(&[], &[(1, 4, 8)]).dead(&["n2"]).refused();
    assert!(
        refused.starts_with("n3 (voter) does not answer and is not proven dead"),
        "{refused}"
    );
}

/// A standby has no vote, but it may win: two recoveries that do not hear each other's standbys could both begin.
#[test]
fn a_silent_standby_must_be_proven_dead_too() {
    let case = Case::of(&[4], &[(1, 4, 8)]).dead(&["n2", "n3"]);
    let members = vec![("n4".to_owned(), "standby")];
    assert_eq!(case.plan(), Err(RecoveryRefused::Silent { members }));
    assert!(case.dead(&["n2", "n3", "n4"]).plan().is_ok());
}

#[test]
fn who_is_called_dead_and_answers_is_not_dead() {
    let answers = [(1, 4, 8), (4, 4, 8)];
    let case = Case::of(&[4], &answers).dead(&["n2", "n3", "n4"]);
    let name = "n4".to_owned();
    assert_eq!(case.plan(), Err(RecoveryRefused::SaidDeadAnswers { name }));
}

#[test]
fn a_name_that_nobody_has_is_an_error() {
    let case = Case::of(&[], &[(1, 4, 8)]).dead(&["n2", "n3", "n33"]);
    let name = "n33".to_owned();
    assert_eq!(case.plan(), Err(RecoveryRefused::UnknownName { name }));
}

/// Another version wrote its contact: nobody knows its name, and it can still be vouched for.
#[test]
fn a_member_whose_place_is_not_known_goes_by_its_incarnation() {
    let incarnation = id(3).to_string();
    let case = |dead: &[&str]| {
        let mut case = Case::of(&[], &[(1, 4, 8)]).dead(dead);
        case.places.remove(&id(3));
        case
    };
    let refused = case(&["n2"]).refused();
    assert!(
        refused.contains(&format!("--dead {incarnation}")),
        "{refused}"
    );
    let plan = case(&["n2", &incarnation]).plan().unwrap();
    assert_eq!(evidence(&plan, 3), Some(Evidence::Operator));
    assert_eq!(plan.members[&id(3)].place.name, incarnation);
}

#[test]
fn a_living_majority_needs_no_recovery() {
    let case = Case::of(&[], &[(1, 4, 8), (2, 4, 8)]).dead(&["n3"]);
    let lives = RecoveryRefused::MajorityLives {
        answering: 2,
        voters: 3,
    };
    assert_eq!(case.plan(), Err(lives));
}

#[test]
fn a_majority_that_promised_cannot_elect_and_may_be_recovered() {
    let mut case = Case::of(&[], &[(1, 4, 8), (2, 4, 9)]).dead(&["n3"]);
    for number in [1, 2] {
        let account = case.account(number);
        (account.promised, account.frozen) = (1, true);
    }
    let plan = case.plan().unwrap();
    assert_eq!((plan.winner, plan.generation), (id(2), 2));
}

#[test]
fn while_joint_either_half_is_enough_to_lose() {
    let mut case = Case::of(&[], &[(1, 4, 8), (2, 4, 8)]).dead(&["n3", "n4", "n5"]);
    let joint = Configuration {
        voters: [1, 4, 5].map(id).into(),
        outgoing: [1, 2, 3].map(id).into(),
        learners: BTreeSet::new(),
        contacts: (1..=5).map(|n| (id(n), Bytes::new())).collect(),
    };
    case.places = (1..=5).map(|n| (id(n), place(n))).collect();
    for number in [1, 2] {
        case.account(number).configuration = joint.clone();
    }
    let plan = case.plan().unwrap();
    assert_eq!(plan.members.len(), 5);
    assert!(plan.members.values().all(|member| member.votes));
}

/// The cluster went on with others: a node that was removed meanwhile must not begin a second one.
#[test]
fn a_leader_that_anybody_hears_ends_the_attempt() {
    let mut case = Case::of(&[], &[(1, 4, 8)]).dead(&["n3"]);
    let mut account = case.account(1).clone();
    account.hears_leader = true;
    case.answers(22, place(2), Some(account));
    let lives = RecoveryRefused::LeaderLives {
        name: "n2".into(),
        generation: 0,
    };
    assert_eq!(case.plan(), Err(lives));
}

#[test]
fn another_clusters_leader_does_not_matter() {
    let mut case = Case::of(&[], &[(1, 4, 8)]).dead(&["n3"]);
    let mut account = case.account(1).clone();
    (account.hears_leader, account.cluster.id) = (true, CLUSTER + 1);
    case.answers(22, place(2), Some(account));
    assert!(case.plan().is_ok());
}

#[test]
fn two_recoveries_at_once_are_one_too_many() {
    let mut case = Case::of(&[4], &[(1, 4, 8), (4, 4, 8)]).dead(&["n2", "n3"]);
    case.said(4).recovers = true;
    let name = "n4".to_owned();
    assert_eq!(case.plan(), Err(RecoveryRefused::UnderWay { name }));
}

#[test]
fn who_has_nothing_cannot_recover() {
    let mut empty = Case::of(&[], &[(1, 0, 0)]).dead(&["n2", "n3"]);
    assert_eq!(empty.plan(), Err(RecoveryRefused::NoState));
    empty.said(1).account = None;
    assert_eq!(empty.plan(), Err(RecoveryRefused::NoReplica));
    empty.testimonies.clear();
    assert_eq!(empty.plan(), Err(RecoveryRefused::NoReplica));
}

#[test]
fn a_removed_member_asks_in_vain() {
    let mut case = Case::of(&[4], &[(1, 4, 8), (4, 4, 9)]).dead(&["n2", "n3"]);
    let mut without = case.account(4).configuration.clone();
    without.voters.remove(&id(1));
    without.contacts.remove(&id(1));
    case.account(4).configuration = without;
    let name = "n1".to_owned();
    assert_eq!(case.plan(), Err(RecoveryRefused::NotMember { name }));
}

/// It led, committed a configuration without itself, and stepped down; of those who had its last entries the others died.
#[test]
fn a_leader_that_was_left_out_wins_if_nobody_else_has_its_last_entries() {
    let case = |left_out: (Term, Index), member: (Term, Index)| {
        let answers = [(1, member.0, member.1), (9, left_out.0, left_out.1)];
        let mut case = Case::of(&[], &answers).dead(&["n2", "n3"]);
        case.places.insert(id(9), place(9));
        case.plan().unwrap()
    };
    let plan = case((4, 9), (4, 8));
    assert_eq!((plan.winner, plan.position.index), (id(9), 9));
    let survivors: Vec<_> = plan.survivors().map(|(id, _, _)| id).collect();
    assert_eq!(survivors, [id(1), id(9)], "both promise");
    let winner = &plan.members[&id(9)];
    assert_eq!((winner.votes, &winner.contact[..]), (false, &b"n9"[..]));
    let mut alone = Case::of(&[], &[(9, 4, 9)]).dead(&["n1", "n2", "n3"]);
    alone.places.insert(id(9), place(9));
    assert_eq!(
        alone.plan_of(id(9)),
        Err(RecoveryRefused::NotMember { name: "n9".into() })
    );
    for (left_out, member) in [((4, 8), (4, 8)), ((3, 9), (4, 8))] {
        let plan = case(left_out, member);
        assert_eq!(plan.winner, id(1));
        assert!(!plan.members.contains_key(&id(9)));
    }
}

#[test]
fn a_token_names_the_plan() {
    let plan = |dead: &[&str], index| Case::of(&[], &[(1, 4, index)]).dead(dead).plan();
    let token = plan(&["n2", "n3"], 8).unwrap().token();
    assert_eq!(plan(&["n2", "n3"], 8).unwrap().token(), token);
    assert_ne!(plan(&["n2", "n3"], 9).unwrap().token(), token);
    let mut promised = Case::of(&[], &[(1, 4, 8)]).dead(&["n2", "n3"]);
    promised.account(1).promised = 1;
    assert_ne!(promised.plan().unwrap().token(), token);
}
