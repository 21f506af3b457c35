//! The models within the normal suite, up to a number of steps that a slow build makes in seconds: nothing is broken
//! there, and what they are about comes to pass. To their ends they are explored by `sim model`.

use std::num::NonZeroUsize;

use sim::model::{MODELS, explore};

/// Enough for a leader, a command, a read and a joiner's vote to be among the states, breadth first.
const STEPS: NonZeroUsize = NonZeroUsize::new(40_000).unwrap();

#[test]
fn the_first_states_of_every_model_hold() {
    for model in &MODELS {
        let explored = explore(model, Some(STEPS), 1);
        assert_eq!(explored.broken, [], "{}", model.name);
        assert!(explored.states > 1_000, "{}: {explored:?}", model.name);
    }
}

#[test]
fn a_small_model_is_explored_to_its_end() {
    let mut model = MODELS[0];
    model.bounds.losses = 0;
    model.bounds.expiries = 1;
    let explored = explore(&model, None, 1);
    assert!(explored.complete && explored.holds(), "{explored:?}");
    assert!(explored.depth > 5, "{explored:?}");
}
