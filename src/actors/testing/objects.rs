//! An object store in memory, which can be out of order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::env::objects::{Objects, ObjectsError};

/// A store. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) objects: Rc<RefCell<BTreeMap<String, Bytes>>>,
    pub(crate) broken: Rc<Cell<bool>>,
    /// Nothing can be deleted.
    pub(crate) keeps_all: Rc<Cell<bool>>,
    /// Every operation takes so long.
    pub(crate) delay: Rc<Cell<Duration>>,
    /// What is written is written, and the answer is an error.
    pub(crate) loses_answers: Rc<Cell<bool>>,
    /// What is written is written, and the answer comes so long after.
    pub(crate) answers_after: Rc<Cell<Duration>>,
    /// Nothing can be read.
    pub(crate) unreadable: Rc<Cell<bool>>,
    /// Operations so far.
    pub(crate) asked: Rc<Cell<usize>>,
}

impl Shelf {
    /// As an edge of a node.
    pub(crate) fn edge(&self) -> Rc<dyn Objects> {
        Rc::new(self.clone())
    }

    /// Names of all objects below a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let objects = self.objects.borrow();
        let names = objects.keys().filter(|name| name.starts_with(folder));
        names.cloned().collect()
    }

    /// Flips a bit of an object.
    pub(crate) fn damage(&self, name: &str) {
        let mut objects = self.objects.borrow_mut();
        let content = objects.get_mut(name).unwrap();
        let mut damaged = content.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        *content = damaged.into();
    }

    async fn ask(&self, operation: &'static str, name: &str) -> Result<(), ObjectsError> {
        self.asked.set(self.asked.get() + 1);
        tokio::time::sleep(self.delay.get()).await;
        let broken = match operation {
            "delete" => self.keeps_all.get(),
            "read" => self.unreadable.get(),
            _ => false,
        };
        if !(broken || self.broken.get()) {
            return Ok(());
        }
        Err(self.error(operation, name, "out of order"))
    }

    fn error(&self, operation: &'static str, name: &str, reason: &str) -> ObjectsError {
        ObjectsError {
            operation,
            name: name.to_owned(),
            store: self.url().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

#[async_trait(?Send)]
impl Objects for Shelf {
    fn url(&self) -> &'static str {
        "test://shelf"
    }

    async fn create(&self, name: &str, pieces: Vec<Bytes>) -> Result<bool, ObjectsError> {
        self.ask("write", name).await?;
        if self.objects.borrow().contains_key(name) {
            return Ok(false);
        }
        let content = pieces.concat().into();
        self.objects.borrow_mut().insert(name.to_owned(), content);
        tokio::time::sleep(self.answers_after.get()).await;
        if self.loses_answers.get() {
            return Err(self.error("write", name, "the answer was lost"));
        }
        Ok(true)
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, ObjectsError> {
        self.ask("read", name).await?;
        Ok(self.objects.borrow().get(name).cloned())
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, ObjectsError> {
        self.ask("list", folder).await?;
        Ok(self.names(folder))
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectsError> {
        self.ask("delete", name).await?;
        self.objects.borrow_mut().remove(name);
        Ok(())
    }
}
