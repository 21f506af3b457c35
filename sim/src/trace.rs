//! The trace of a run: every log event of every host with its simulated time, in order.
//!
//! Two runs of one seed must give equal traces; that is how repeatability is checked. Deliberately plain text, one
//! event a line, so that `diff` shows where two runs part. The columns are: simulated seconds, host, role, term,
//! commit/applied index as of the step before, and what happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kagero::actors::raft_peer::Standing;
use kagero::raft::Role;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Lines of one run, if it is recorded.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<Lines>>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// What a host's lines say of it, beside its name: role, term, commit and applied index.
    columns: BTreeMap<String, String>,
}

/// What stands in the columns of a host that holds no replica, or of none.
const NO_COLUMNS: &str = "-            -       -/-     ";

impl Trace {
    /// Runs `f`, recording every event of the program under test at or above `level`.
    pub fn record<T>(level: Level, f: impl FnOnce(&Trace) -> T) -> (T, Vec<String>) {
        let trace = Trace(Some(Arc::default()));
        let layer = Recorder {
            trace: trace.clone(),
            level,
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        let result = tracing::subscriber::with_default(subscriber, || f(&trace));
        let lines = trace.with(|lines| std::mem::take(&mut lines.lines));
        (result, lines.unwrap_or_default())
    }

    /// A trace that keeps nothing, for runs of which only the result is wanted.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether anything is kept.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line of the world's own (a fault, a check).
    pub fn note(&self, what: &str) {
        self.push(turmoil::sim_elapsed().unwrap_or_default(), "world", what);
    }

    /// The same for the driver, which stands outside of the world's time.
    pub fn note_at(&self, at: Duration, what: &str) {
        self.push(at, "world", what);
    }

    /// Where a host's peer stands from now on; `None` if it holds no replica.
    pub fn stands(&self, host: &str, standing: Option<(&Standing, (u64, u64))>) {
        self.with(|lines| {
            let Some((standing, (commit, applied))) = standing else {
                lines.columns.remove(host);
                return;
            };
            let role = match standing.role {
                Role::Leader => "leader",
                Role::Candidate => "candidate",
                Role::PreCandidate => "pre-cand",
                Role::Follower if standing.configuration.learners.contains(&standing.id) => {
                    "learner"
                }
                Role::Follower => "voter",
            };
            let columns = format!("{role:<9} {:>4} {commit:>7}/{applied:<6}", standing.term);
            lines.columns.insert(host.to_owned(), columns);
        });
    }

    fn push(&self, at: Duration, host: &str, text: &str) {
        self.with(|lines| {
            let columns = lines.columns.get(host).map_or(NO_COLUMNS, String::as_str);
            let line = format!("{:>10.3} {host:<6} {columns} {text}", at.as_secs_f64());
            lines.lines.push(line);
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Lines) -> T) -> Option<T> {
        // A poisoned lock means that a panic is being reported already; the lines so far are what is wanted then.
        let lines = self.0.as_ref()?.lock();
        Some(f(
            &mut lines.unwrap_or_else(std::sync::PoisonError::into_inner)
        ))
    }
}

struct Recorder {
    trace: Trace,
    level: Level,
}

impl Recorder {
    /// The program's own events, and turmoil's span around each host's turn.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return metadata.name() == "node";
        }
        *metadata.level() <= self.level && metadata.target().starts_with("kagero")
    }
}

/// The host's name, kept with the span that turmoil enters around each host's turn.
struct HostName(String);

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // What nobody keeps is not even put together: turmoil, tokio and hyper say far more than the program under test.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
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
        let mut host = String::from("world");
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(HostName(name)) = span.extensions().get() {
                host.clone_from(name);
            }
        }
        let level = metadata.level();
        let mut text = Text(format!("{level} {}", metadata.target()));
        event.record(&mut text);
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.trace.push(at, &host, &text.0);
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
