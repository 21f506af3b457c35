//! What a generation begins with besides its state: a record for people of how it came to be, a restore or a recovery.
//!
//! Pure. It is a ConfigMap in `kube-system`, because Events are forgotten after a while and this must not be. What is in
//! it, those say who began the generation.

use rand::RngCore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::resource::{codec, names, registry};
use crate::store::{Operation, View};

/// Where records are kept.
const NAMESPACE: &str = "kube-system";
/// The key of the record as JSON.
const RECORD: &str = "record.json";

/// One way for a generation to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) &'static str);

impl Kind {
    /// The writes that the generation begins with; `data` is for people to read.
    pub(super) fn operations(
        self,
        generation: u64,
        record: &impl Serialize,
        mut data: Value,
        entropy: &mut dyn RngCore,
    ) -> Vec<Operation> {
        let text = serde_json::to_string_pretty(record).expect("a record has only string keys");
        let time = data["time"].clone();
        data[RECORD] = text.into();
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name(generation),
                "namespace": NAMESPACE,
                "uid": names::uid(entropy),
                "creationTimestamp": time,
                "labels": { (format!("kagero.dev/{}", self.0)): generation.to_string() },
            },
            "data": data,
        });
        vec![Operation::Put {
            key: self.key(generation),
            value: codec::encode(&object),
        }]
    }

    /// The record of a generation's beginning, if it began this way and it is still there.
    pub(super) fn find<R: DeserializeOwned>(self, view: &View, generation: u64) -> Option<R> {
        let value = &view.get(&self.key(generation))?.value;
        let object: Value = serde_json::from_slice(value).ok()?;
        serde_json::from_str(object["data"][RECORD].as_str()?).ok()
    }

    fn name(self, generation: u64) -> String {
        format!("kagero-{}-{generation}", self.0)
    }

    fn key(self, generation: u64) -> String {
        let config_maps = registry::find("", "v1", "configmaps").expect("it is in the registry");
        config_maps.key(Some(NAMESPACE), &self.name(generation))
    }
}
