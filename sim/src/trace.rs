//! The trace of a run: every log event of every host with its simulated time, in order.
//!
//! Two runs of one seed must give equal traces; that is how repeatability is checked. Deliberately plain text, one
//! event a line, so that `diff` shows where two runs part.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Lines of one run.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    /// Runs `f`, recording every event of the program under test at or above `level`.
    pub fn record<T>(level: Level, f: impl FnOnce(&Trace) -> T) -> (T, Vec<String>) {
        let trace = Trace::default();
        let layer = Recorder {
            trace: trace.clone(),
            level,
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        let result = tracing::subscriber::with_default(subscriber, || f(&trace));
        let lines = std::mem::take(&mut *trace.lines());
        (result, lines)
    }

    /// Adds a line of the world's own (a fault, a check).
    pub fn note(&self, what: &str) {
        self.push(
            turmoil::sim_elapsed().unwrap_or_default(),
            &format!("world {what}"),
        );
    }

    /// The same for the driver, which stands outside of the world's time.
    pub fn note_at(&self, at: Duration, what: &str) {
        self.push(at, &format!("world {what}"));
    }

    fn push(&self, at: Duration, text: &str) {
        self.lines()
            .push(format!("{:>10.3} {text}", at.as_secs_f64()));
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A poisoned lock means that a panic is being reported already; the lines so far are what is wanted then.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

struct Recorder {
    trace: Trace,
    level: Level,
}

/// The host's name, kept with the span that turmoil enters around each host's turn.
struct HostName(String);

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "node" {
            return;
        }
        let mut name = Text(String::new());
        attributes.record(&mut name);
        let span = context.span(id).expect("a span that was just made exists");
        span.extensions_mut().insert(HostName(
            name.0
                .trim_start_matches(" name=")
                .trim_matches('"')
                .to_owned(),
        ));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > self.level || !metadata.target().starts_with("kagero") {
            return;
        }
        let mut text = Text(String::from("world"));
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(HostName(name)) = span.extensions().get() {
                text.0.clone_from(name);
            }
        }
        let level = metadata.level();
        write!(text.0, " {level} {}", metadata.target()).expect("writing to a String cannot fail");
        event.record(&mut text);
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.trace.push(at, &text.0);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        written.expect("writing to a String cannot fail");
    }
}
