//! A client of a measured member: frames, many questions outstanding on one connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use kagero::env::frames::{self, Inbox, Outbox};
use kagero::env::network::Network;
use kagero::env::tcp::Tcp;
use tokio::sync::oneshot;

use super::load::{Local, Store};
use super::member::{Answer, Ask, Question, Reply};

/// One connection.
pub struct Frames {
    outbox: Outbox<Question>,
    asked: Rc<RefCell<Asked>>,
}

/// What is outstanding.
#[derive(Default)]
struct Asked {
    next_id: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    watched: Option<Rc<Cell<u64>>>,
}

impl Frames {
    /// Connects to a member's door.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = Tcp.connect(address).await?;
        let (outbox, inbox) = frames::open(stream);
        let asked = Rc::new(RefCell::new(Asked::default()));
        tokio::task::spawn_local(listen(inbox, asked.clone()));
        Ok(Self { outbox, asked })
    }

    async fn ask(&self, ask: Ask) -> Result<Answer> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut asked = self.asked.borrow_mut();
            asked.next_id += 1;
            let id = asked.next_id;
            asked.waiting.insert(id, sender);
            id
        };
        self.outbox.send(&Question { id, ask })?;
        match answer.await.context("the member went away")? {
            Answer::Failed(reason) => Err(anyhow!(reason)),
            answer => Ok(answer),
        }
    }

    /// Whether this member leads.
    pub async fn leads(&self) -> Result<bool> {
        match self.ask(Ask::Leads).await? {
            Answer::Leads(leads) => Ok(leads),
            other => bail!("unexpected {other:?}"),
        }
    }
}

async fn listen(mut inbox: Inbox<Reply>, asked: Rc<RefCell<Asked>>) {
    while let Some(Ok(Reply { id, answer })) = inbox.next().await {
        if matches!(answer, Answer::Changed(..)) {
            if let Some(seen) = &asked.borrow().watched {
                seen.set(seen.get() + 1);
            }
        } else if let Some(waiting) = asked.borrow_mut().waiting.remove(&id) {
            // The round may be over.
            drop(waiting.send(answer));
        }
    }
    // Whoever still waits learns that there will be no answer.
    asked.borrow_mut().waiting.clear();
}

impl Store for Frames {
    fn put(&self, key: String, value: Bytes) -> Local<'_, ()> {
        Box::pin(async move {
            match self.ask(Ask::Put(key, value)).await? {
                Answer::Put(_) => Ok(()),
                other => bail!("unexpected {other:?}"),
            }
        })
    }

    fn get(&self, key: String) -> Local<'_, usize> {
        Box::pin(async move {
            match self.ask(Ask::Get(key)).await? {
                Answer::Found(value) => Ok(value.map_or(0, |value| value.len())),
                other => bail!("unexpected {other:?}"),
            }
        })
    }

    fn watch(&self, watches: usize, seen: Rc<Cell<u64>>) -> Local<'_, ()> {
        Box::pin(async move {
            self.asked.borrow_mut().watched = Some(seen);
            for _ in 0..watches {
                match self.ask(Ask::Watch).await? {
                    Answer::Watching => {}
                    other => bail!("unexpected {other:?}"),
                }
            }
            Ok(())
        })
    }
}
