//! The engine's event stream, as a counter of changes.
//!
//! Deliberately without what an event says: whoever hears of one lists.

use std::rc::Rc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{errors, labels};

/// Wait before the engine's event stream is opened again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that an event waits for the engine to list what it told: one hung container must not silence the others.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// The events after which containers are worth listing.
const EVENTS: [&str; 4] = ["start", "die", "destroy", "oom"];

/// The engine's clock, as its `/info` tells it (RFC 3339); none if it does not: then the stream begins when it opens.
pub(super) fn engine_time(told: Option<&str>) -> Option<Timestamp> {
    match told?.parse() {
        Ok(time) => Some(time),
        Err(error) => {
            warn!(time = told, %error, "the container engine's clock cannot be read");
            None
        }
    }
}

/// Bumps the counter at every event after `since`, by the engine's clock: what happens before the stream is open, at
/// first or again after a break, is sent when it is. While it is broken the counter goes up at each try instead.
pub(super) async fn watch_events(
    docker: Docker,
    scope: String,
    mut since: Option<Timestamp>,
    changed: Rc<watch::Sender<u64>>,
) {
    let label = format!("{}={scope}", labels::SCOPE);
    let filters = [
        ("type", vec!["container".to_owned()]),
        ("label", vec![label]),
        ("event", EVENTS.map(ToOwned::to_owned).to_vec()),
    ];
    // The reason of a break is told once, not at each try.
    let mut broken: Option<String> = None;
    loop {
        let filters = filters
            .clone()
            .map(|(key, values)| (key.to_owned(), values));
        let options = EventsOptions {
            since: since.map(unix_time),
            filters: Some(filters.into_iter().collect()),
            ..EventsOptions::default()
        };
        let mut events = docker.events(Some(options));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    let reason = errors::text(&error);
                    if broken.as_ref() != Some(&reason) {
                        warn!(error = %reason, "the container engine's event stream is broken; containers are listed each second instead");
                        broken = Some(reason);
                    }
                    break;
                }
            };
            if broken.take().is_some() {
                info!("the container engine's event stream is whole again");
            }
            let nanos = event.time_nano.map(i128::from);
            since = nanos
                .and_then(|nanos| Timestamp::from_nanosecond(nanos).ok())
                .or(since);
            if let Some(id) = event.actor.and_then(|actor| actor.id) {
                settle(&docker, &id).await;
            }
            changed.send_modify(|count| *count += 1);
        }
        tokio::time::sleep(RETRY).await;
        changed.send_modify(|count| *count += 1);
    }
}

/// Waits until a listing tells what an event told. The engine says that a container died before it has released what the
/// container had, and lists it as dead after that (moby 20.10, `handleContainerExit`); it answers for that container
/// only then.
async fn settle(docker: &Docker, id: &str) {
    let asked = docker.inspect_container(id, None);
    // It may have gone, and what it is is for the listing: only the wait counts.
    let _ = tokio::time::timeout(SETTLED_WITHIN, asked).await;
}

/// A time as `/events` takes it: seconds of the Unix epoch with nanoseconds (Docker's API 1.41, parameter `since`).
fn unix_time(time: Timestamp) -> String {
    // Before the epoch there was no engine.
    let time = time.max(Timestamp::UNIX_EPOCH);
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_clock_is_read_and_told_as_it_takes_it() {
        let read = engine_time(Some("2026-11-21T23:12:16.000000789Z")).unwrap();
        assert_eq!(unix_time(read), "1795302736.000000789");
        let zoned = engine_time(Some("2026-11-21T23:12:16.5+02:00")).unwrap();
        assert_eq!(unix_time(zoned), "1795295536.500000000");
        assert_eq!(engine_time(Some("yesterday")), None);
        assert_eq!(engine_time(None), None);
        assert_eq!(unix_time(Timestamp::MIN), "0.000000000");
    }
}
