//! Placement: a pure function from (cache, pending pods, now) to bindings and reasons why not.
