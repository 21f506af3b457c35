//! The node's side: the pod machine, a pure function from (desired pods, inventory, now) to actions and statuses.
