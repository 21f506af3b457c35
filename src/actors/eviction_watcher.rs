//! Asks the cloud every second whether this machine's end is announced, and tells those whom it concerns here: the
//! leader's link, which tells the leader, and this node's own membership keeper, which leads no more.
//!
//! Deliberately without a judgement on what follows: that stands in the Node object, and controllers act on it. An
//! operator's word (`kagero evict`) is written there without this actor.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::hand_over::{Leave, Leaving};
use super::link_end::Announced;
use crate::env::cloud::{Cloud, CloudError, Notice};

/// How often the cloud is asked. Azure, AWS and GCP all answer locally and ask for no less.
const POLL_MS: u64 = 1_000;
/// A deadline that moved by less is the same: "so long from now" is never said twice at the same moment.
const MOVED_MS_MIN: u64 = 2_000;

/// The cloud answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Polled(Result<Option<Notice>, CloudError>);

/// The actor. Invariant: `told` is what the link and the membership keeper were last told.
pub struct EvictionWatcher {
    cloud: Rc<dyn Cloud>,
    link: Recipient<Announced>,
    membership: Recipient<Leave>,
    /// The deadline.
    told: Option<Instant>,
    asking: bool,
    /// The last question was not answered.
    failing: bool,
}

impl EvictionWatcher {
    /// A watcher that begins when it is started.
    pub fn new(
        cloud: Rc<dyn Cloud>,
        link: Recipient<Announced>,
        membership: Recipient<Leave>,
    ) -> Self {
        Self {
            cloud,
            link,
            membership,
            told: None,
            asking: false,
            failing: false,
        }
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        if self.asking {
            return;
        }
        self.asking = true;
        let (cloud, me) = (self.cloud.clone(), ctx.address());
        let asking = async move { me.do_send(Polled(cloud.notice().await)) };
        ctx.spawn(asking.into_actor(self));
    }

    fn tell(&mut self, deadline: Option<Instant>) {
        self.told = deadline;
        let leaving = deadline.map_or(Leaving::No, |_| Leaving::Announced);
        self.membership.do_send(Leave(leaving));
        self.link.do_send(Announced(deadline));
    }
}

impl Actor for EvictionWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.poll(ctx);
        ctx.run_interval(Duration::from_millis(POLL_MS), Self::poll);
    }
}

impl Handler<Polled> for EvictionWatcher {
    type Result = ();

    fn handle(&mut self, Polled(answer): Polled, _: &mut Self::Context) {
        self.asking = false;
        let notice = match answer {
            Ok(notice) => notice,
            Err(error) => {
                // What was announced stays so. Said once, not every second.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot ask whether this machine is going to be evicted");
                }
                return;
            }
        };
        self.failing = false;
        let deadline = notice.map(|Notice { within }| (within, Instant::now() + within));
        match (self.told, deadline) {
            (None, None) => {}
            (Some(_), None) => {
                tracing::warn!("this machine is not going to be evicted any more");
                self.tell(None);
            }
            (Some(before), Some((_, now))) if distance(before, now) < MOVED_MS_MIN => {}
            (_, Some((within, deadline))) => {
                tracing::warn!(?within, "this machine is going to be evicted");
                self.tell(Some(deadline));
            }
        }
    }
}

/// Milliseconds between two moments.
fn distance(a: Instant, b: Instant) -> u64 {
    let between = a.max(b).duration_since(a.min(b));
    u64::try_from(between.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::env::cloud::Fate;

    /// Says what the test wants.
    struct Said(Rc<RefCell<Result<Option<Instant>, CloudError>>>);

    #[async_trait(?Send)]
    impl Cloud for Said {
        async fn notice(&self) -> Result<Option<Notice>, CloudError> {
            let deadline = self.0.borrow().clone()?;
            let within = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
            Ok(deadline.map(|deadline| Notice {
                within: within(deadline),
            }))
        }

        async fn fate(&self, _: &str, _: &str) -> Result<Fate, CloudError> {
            Ok(Fate::Unknown)
        }
    }

    /// Collects what the watcher tells.
    struct Ears(mpsc::UnboundedSender<Option<Instant>>);

    impl Actor for Ears {
        type Context = Context<Self>;
    }

    impl Handler<Announced> for Ears {
        type Result = ();

        fn handle(&mut self, Announced(deadline): Announced, _: &mut Self::Context) {
            self.0.send(deadline).unwrap();
        }
    }

    impl Handler<Leave> for Ears {
        type Result = ();

        fn handle(&mut self, _: Leave, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn tells_once_what_is_announced_and_once_that_it_is_not_any_more() {
        tokio::time::pause();
        let (sender, mut heard) = mpsc::unbounded_channel();
        let ears = Ears(sender).start();
        let said = Rc::new(RefCell::new(Ok(None)));
        let cloud = Rc::new(Said(said.clone()));
        EvictionWatcher::new(cloud, ears.clone().recipient(), ears.recipient()).start();
        let sleep = || tokio::time::sleep(Duration::from_secs(5));
        sleep().await;
        assert!(heard.try_recv().is_err(), "nothing is announced");
        let deadline = Instant::now() + Duration::from_secs(30);
        *said.borrow_mut() = Ok(Some(deadline));
        let before = Instant::now();
        assert_eq!(heard.recv().await, Some(Some(deadline)));
        assert!(before.elapsed() <= Duration::from_millis(POLL_MS));
        sleep().await;
        *said.borrow_mut() = Err(CloudError("busy".into()));
        sleep().await;
        assert!(heard.try_recv().is_err(), "it was told");
        *said.borrow_mut() = Ok(None);
        assert_eq!(heard.recv().await, Some(None));
        sleep().await;
        assert!(heard.try_recv().is_err(), "so was that");
    }
}
