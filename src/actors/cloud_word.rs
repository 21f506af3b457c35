//! The cloud's word on silent members: whether the boot that their process ran in is over, which proves it dead.
//!
//! Deliberately never asked of a member that speaks: it refutes any word about it. A cloud that does not answer, or not
//! in time, has said nothing.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::archive::Listed;
use super::wire::Contact;
use crate::env::cloud::{Cloud, Fate};
use crate::raft::{PeerId, Status};

/// The cloud gets so long for an answer: its API takes tenths of a second, and somebody waits.
const ANSWER_MS_MAX: u64 = 2_000;
/// Silence after which a leader asks: twice an election timeout, so that a lost packet is no question.
const SILENT_MS: u64 = 1_000;
/// How often a leader asks again. Clouds throttle those who ask some thousand times an hour.
const AGAIN_MS: u64 = 2_000;

/// Asks of all of them at once; returns those that the cloud says are gone.
pub(super) async fn gone<Id: Ord + Display>(
    cloud: &dyn Cloud,
    silent: impl IntoIterator<Item = (Id, Listed)>,
) -> BTreeSet<Id> {
    let asked = silent.into_iter().map(async |(id, contact)| {
        let fate = cloud.fate(&contact.machine_id, &contact.boot_id);
        match timeout(Duration::from_millis(ANSWER_MS_MAX), fate).await {
            Ok(Ok(fate)) => {
                tracing::info!(node = contact.name, %id, ?fate, "the cloud was asked what became of a member");
                (fate == Fate::Gone).then_some(id)
            }
            Ok(Err(error)) => {
                tracing::warn!(node = contact.name, %error, "cannot ask what became of a member");
                None
            }
            Err(_) => {
                tracing::warn!(node = contact.name, "the cloud does not say in time what became of a member");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What a leader's membership keeper knows from the cloud.
pub(super) struct CloudWord {
    cloud: Rc<dyn Cloud>,
    /// Members that are gone.
    gone: BTreeSet<PeerId>,
    /// When it was last asked.
    asked: Option<Instant>,
}

impl CloudWord {
    /// Nothing is known.
    pub(super) fn new(cloud: Rc<dyn Cloud>) -> Self {
        Self {
            cloud,
            gone: BTreeSet::new(),
            asked: None,
        }
    }

    /// Whether the cloud said that the member is gone.
    pub(super) fn is_gone(&self, id: PeerId) -> bool {
        self.gone.contains(&id)
    }

    /// The cloud has answered.
    pub(super) fn hear(&mut self, gone: BTreeSet<PeerId>) {
        self.gone.extend(gone);
    }

    /// Forgets who can be no member any more.
    pub(super) fn retain(&mut self, is_candidate: impl Fn(PeerId) -> bool) {
        self.gone.retain(|id| is_candidate(*id));
    }

    /// What to ask now, if anything: of the members that are silent and of which nothing is known.
    pub(super) fn question(
        &mut self,
        status: &Status,
    ) -> Option<impl Future<Output = BTreeSet<PeerId>> + use<>> {
        let silent = |id: &PeerId| {
            let progress = status.progress.get(id);
            progress.is_some_and(|progress| progress.silent >= Duration::from_millis(SILENT_MS))
        };
        let contacts = status.configuration.contacts.iter();
        let unknown: Vec<(PeerId, Listed)> = contacts
            .filter(|(id, _)| silent(id) && !self.is_gone(**id))
            .filter_map(|(id, bytes)| Some((*id, Contact::decode(bytes).ok()?.into())))
            .collect();
        let again = Duration::from_millis(AGAIN_MS);
        if unknown.is_empty() || self.asked.is_some_and(|at| at.elapsed() < again) {
            return None;
        }
        self.asked = Some(Instant::now());
        let cloud = Rc::clone(&self.cloud);
        Some(async move { gone(&*cloud, unknown).await })
    }
}
