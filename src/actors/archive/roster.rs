//! A roster: everybody who may hold a cluster's log or hear its leader, as an object beside the snapshots.
//!
//! Pure. A snapshot names the nodes that there were when it was taken; a roster is small, so it is written as soon as they
//! change, and whoever would form a cluster of what is kept asks them first. Deliberately no state: it proves nothing but
//! whom to ask.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::registration::{nodes, registered};
use super::super::wire::Contact;
use super::form::Name;
use crate::raft::{Index, PeerId, Term};
use crate::store::View;

/// Where rosters are kept.
pub(super) const FOLDER: &str = "rosters/";
const SUFFIX: &str = ".json";

/// Where those of a cluster are kept.
pub(super) fn folder(cluster: u64) -> String {
    format!("{FOLDER}{cluster:016x}/")
}

/// A roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roster {
    /// The cluster's id.
    pub cluster: u64,
    /// Its generation.
    pub generation: u64,
    /// The term of the entry at `index`.
    pub term: Term,
    /// As of this entry.
    pub index: Index,
    /// The leader that wrote it.
    pub node: String,
    /// The nodes, by incarnation.
    pub nodes: BTreeMap<String, Listed>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its peer address.
    pub address: String,
    /// Its machine; "" if an earlier version wrote this.
    #[serde(default)]
    pub machine_id: String,
    /// The boot of it.
    #[serde(default)]
    pub boot_id: String,
}

impl From<Contact> for Listed {
    fn from(contact: Contact) -> Self {
        let Contact {
            name,
            address,
            machine_id,
            boot_id,
            ..
        } = contact;
        Self {
            name,
            address,
            machine_id,
            boot_id,
        }
    }
}

/// What a roster is called. Ordered by how new it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RosterName(pub Name);

/// Everybody that a state knows: the registered nodes, and the members, who may be registered no more.
pub fn listed<'a>(
    view: &View,
    members: impl Iterator<Item = (&'a PeerId, &'a Bytes)>,
) -> BTreeMap<String, Listed> {
    let members = members.filter_map(|(id, bytes)| Some((*id, Contact::decode(bytes).ok()?)));
    let nodes = nodes(view).filter_map(|node| registered(&node));
    let entry = |(id, contact): (PeerId, Contact)| (id.to_string(), contact.into());
    members.chain(nodes).map(entry).collect()
}

impl Roster {
    /// What it is called.
    pub fn name(&self) -> RosterName {
        RosterName(Name {
            generation: self.generation,
            index: self.index,
            term: self.term,
            cluster: self.cluster,
        })
    }

    /// As it is kept.
    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a roster has only string keys"))
    }

    /// From an object.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl RosterName {
    /// The object's name.
    pub fn path(&self) -> String {
        self.0.path_in(FOLDER, SUFFIX)
    }

    /// From an object's name; `None` for whatever else is kept there.
    pub fn parse(path: &str) -> Option<Self> {
        Name::parse_in(FOLDER, SUFFIX, path).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_is_read_as_it_was_written_and_found_by_its_name() {
        let listed = Listed {
            name: "n1".into(),
            address: "a:1".into(),
            machine_id: "m".into(),
            boot_id: "b".into(),
        };
        let roster = Roster {
            cluster: 0xab,
            generation: 2,
            term: 3,
            index: 40,
            node: "n1".into(),
            nodes: [(PeerId(1).to_string(), listed)].into(),
        };
        assert_eq!(Roster::decode(&roster.encode()).unwrap(), roster);
        let name = roster.name();
        assert_eq!(RosterName::parse(&name.path()), Some(name));
        for other in [
            "rosters/x",
            "snapshots/ab/2/3-40.json",
            "rosters/ab/2/3-40.json",
        ] {
            assert_eq!(RosterName::parse(other), None, "{other}");
        }
        let later = RosterName(Name {
            index: 41,
            term: 1,
            ..name.0
        });
        assert!(name < later, "a later entry is newer");
    }
}
