//! Keeps the leader's one cache of decoded objects, and tells the leader's other actors of it.
//!
//! Every object is decoded once and shared: a clone of the cache costs nothing and never changes, so each reader works
//! on the state that it was last told. Deliberately without any idea of what a change means, and idle on every node
//! that does not lead.

use std::sync::Arc;

use actix::prelude::*;

use super::messages::{Applied, BecameLeader, LostLeadership};
use crate::raft::Term;
use crate::resource::Cache;
use crate::resource::cache::Change;
use crate::store::{Event, View};

/// To a reader: this node leads from now on, and this is what it leads.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct CacheBegan {
    /// The term won.
    pub term: Term,
    /// Every object of the cached kinds.
    pub cache: Cache,
    /// The state that it was made of, for kinds that are not cached.
    pub view: View,
}

/// To the same, while leading: these changes were committed and are in the cache. No change is left out between two.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct CacheChanged {
    /// The objects after them.
    pub cache: Cache,
    /// What changed, in order.
    pub changes: Arc<Vec<Change>>,
    /// The same as the store has it, kinds that are not cached included.
    pub events: Arc<Vec<Event>>,
}

/// To the same: this node no longer leads; forget everything.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct CacheEnded;

/// One of the leader's actors that read the cache.
pub struct CacheReader {
    began: Recipient<CacheBegan>,
    changed: Recipient<CacheChanged>,
    ended: Recipient<CacheEnded>,
}

impl CacheReader {
    /// From an actor that handles all three.
    pub fn of<A>(address: &Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>>
            + Handler<CacheBegan>
            + Handler<CacheChanged>
            + Handler<CacheEnded>,
    {
        Self {
            began: address.clone().recipient(),
            changed: address.clone().recipient(),
            ended: address.clone().recipient(),
        }
    }
}

/// The actor. Invariant: there is a cache only while this node leads, and it equals the one last told.
pub struct Informer {
    readers: Vec<CacheReader>,
    cache: Option<Cache>,
}

impl Informer {
    /// An informer of these readers, told in this order.
    pub fn new(readers: Vec<CacheReader>) -> Self {
        Self {
            readers,
            cache: None,
        }
    }
}

/// Objects that the program wrote itself but cannot read: said here, once for all readers.
fn complain(unreadable: Vec<(String, serde_json::Error)>) {
    for (key, error) in unreadable {
        tracing::error!(key, %error, "a stored object cannot be read and is ignored");
    }
}

impl Actor for Informer {
    type Context = Context<Self>;
}

impl Handler<BecameLeader> for Informer {
    type Result = ();

    fn handle(&mut self, BecameLeader { term, view }: BecameLeader, _: &mut Self::Context) {
        let (cache, unreadable) = Cache::fill(&view);
        complain(unreadable);
        for reader in &self.readers {
            let (cache, view) = (cache.clone(), view.clone());
            reader.began.do_send(CacheBegan { term, cache, view });
        }
        self.cache = Some(cache);
    }
}

impl Handler<Applied> for Informer {
    type Result = ();

    fn handle(&mut self, Applied { view, events }: Applied, _: &mut Self::Context) {
        let Some(cache) = &mut self.cache else { return };
        let (changes, unreadable) = cache.apply(&events);
        assert_eq!(cache.revision(), view.revision(), "no event is missing");
        complain(unreadable);
        let changes = Arc::new(changes);
        for reader in &self.readers {
            reader.changed.do_send(CacheChanged {
                cache: cache.clone(),
                changes: changes.clone(),
                events: events.clone(),
            });
        }
    }
}

impl Handler<LostLeadership> for Informer {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, _: &mut Self::Context) {
        self.cache = None;
        for reader in &self.readers {
            reader.ended.do_send(CacheEnded);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::sync::mpsc;

    use super::*;
    use crate::resource::ObjectKey;
    use crate::store::{Command, Operation, ProposalId, Store, Transaction};

    /// What one reader was told, in order: the caches it was given, `None` at the end.
    struct Reader(mpsc::UnboundedSender<(Option<Cache>, usize)>);

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<CacheBegan> for Reader {
        type Result = ();
        fn handle(&mut self, CacheBegan { cache, view, .. }: CacheBegan, _: &mut Self::Context) {
            assert_eq!(cache.revision(), view.revision());
            self.0.send((Some(cache), 0)).unwrap();
        }
    }

    impl Handler<CacheChanged> for Reader {
        type Result = ();
        fn handle(&mut self, message: CacheChanged, _: &mut Self::Context) {
            let told = (Some(message.cache), message.changes.len());
            self.0.send(told).unwrap();
        }
    }

    impl Handler<CacheEnded> for Reader {
        type Result = ();
        fn handle(&mut self, _: CacheEnded, _: &mut Self::Context) {
            self.0.send((None, 0)).unwrap();
        }
    }

    fn put(store: &mut Store, name: &str, value: &'static str) -> Applied {
        let operation = Operation::Put {
            key: format!("configmaps/default/{name}"),
            value: Bytes::from_static(value.as_bytes()),
        };
        let id = ProposalId {
            origin: 1,
            sequence: store.revision() + 1,
        };
        let transaction = Transaction {
            compare: Vec::new(),
            operations: vec![operation],
        };
        let command = Command {
            id,
            time_ms: 0,
            transaction,
        };
        let events = Arc::new(store.apply(&command).events);
        Applied {
            view: store.view(),
            events,
        }
    }

    #[actix::test]
    async fn readers_share_what_was_decoded_once_and_keep_what_they_were_told() {
        let mut store = Store::new();
        put(&mut store, "a", r#"{"metadata":{"name":"a"}}"#);
        let (tell, mut told) = mpsc::unbounded_channel();
        let (tell_other, mut told_other) = mpsc::unbounded_channel();
        let readers = [tell, tell_other].map(|tell| CacheReader::of(&Reader(tell).start()));
        let informer = Informer::new(readers.into()).start();

        let early = put(&mut store, "b", r#"{"metadata":{"name":"b"}}"#);
        informer.send(early).await.unwrap();
        let view = store.view();
        informer.send(BecameLeader { term: 1, view }).await.unwrap();
        let began = told.recv().await.unwrap().0.unwrap();
        let began_other = told_other.recv().await.unwrap().0.unwrap();
        let key = ObjectKey::new("default", "a");
        let object = began.get::<ConfigMap>(&key).unwrap();
        assert!(Arc::ptr_eq(object, began_other.get(&key).unwrap()));
        assert_eq!(
            began.list::<ConfigMap>().count(),
            2,
            "not told before it leads"
        );

        let changed = put(&mut store, "c", r#"{"metadata":{"name":"c"}}"#);
        informer.send(changed).await.unwrap();
        let unreadable = put(&mut store, "d", r#"{"metadata":1}"#);
        informer.send(unreadable).await.unwrap();
        informer.send(LostLeadership).await.unwrap();
        let (cache, changes) = told.recv().await.unwrap();
        let cache = cache.unwrap();
        assert_eq!((cache.list::<ConfigMap>().count(), changes), (3, 1));
        assert!(Arc::ptr_eq(object, cache.get(&key).unwrap()));
        assert_eq!(
            began.list::<ConfigMap>().count(),
            2,
            "a clone never changes"
        );
        let (cache, changes) = told.recv().await.unwrap();
        let cache = cache.unwrap();
        assert_eq!((cache.list::<ConfigMap>().count(), changes), (3, 0));
        assert_eq!(cache.revision(), store.revision());
        assert!(told.recv().await.unwrap().0.is_none());
    }
}
