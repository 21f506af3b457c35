//! The reply to a write that has committed, when whoever planned it is gone.
//!
//! It is planned once more, against what it was made to: that gives the reply's shape. What depends on time and chance
//! is taken from the change itself. Deliberately no guess: a plan that would not have made this change tells nothing.

use super::plan;
use crate::resource::request::{Reply, Request, Stamp, Verb};
use crate::store::{Event, Operation, Past};

/// What a request was answered that made this one change; `None` if that cannot be told any more, because what it
/// depended on beside the changed object (its namespace, say) is gone too.
pub fn retell(past: &Past, request: &Request, stamp: &mut Stamp<'_>) -> Option<Reply> {
    let event = &past.event;
    let mut plan = plan(&past.before, request, stamp).ok()?;
    let [transaction] = &plan.transactions[..] else {
        return None;
    };
    let [operation] = &transaction.operations[..] else {
        return None;
    };
    match (operation, &event.current) {
        (Operation::Put { key, value }, Some(record)) if is_of(request, key, event) => {
            // Its UID, its time and a generated name are drawn anew by every plan.
            if plan.reply.object == *value {
                plan.reply.object = record.value.clone();
            }
        }
        (Operation::Delete { key }, None) if is_of(request, key, event) => {}
        _ => return None,
    }
    Some(plan.reply.finish(event.revision))
}

/// Whether a plan changes what the event changed. A created object may have got its name by chance.
fn is_of(request: &Request, key: &str, event: &Event) -> bool {
    let place = |key: &str| key.rsplit_once('/').map(|(place, _)| place.to_owned());
    let drawn = matches!(request.verb, Verb::Create(_)) && request.name.is_none();
    *key == *event.key || drawn && place(key) == place(&event.key)
}
