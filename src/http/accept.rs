//! Content negotiation: which of the forms a client accepts it is served.
//!
//! JSON only: a client that accepts nothing but protobuf, CBOR or YAML gets 406. Weights (`q=`) are ignored, as in
//! Kubernetes; the first clause that can be served wins.

use super::failure;
use crate::resource::Status;

/// The form of an object or a list in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As stored.
    Whole,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata[List]`.
    Partial,
}

/// The form of a reply at `/api` and `/apis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    /// `APIVersions` and `APIGroupList`.
    Legacy,
    /// `APIGroupDiscoveryList` of this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
}

/// One clause of an `Accept` header.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Self {
            media_type,
            parameters,
        }
    }

    fn is_json(&self) -> bool {
        ["application/json", "application/*", "*/*"].contains(&self.media_type)
    }

    fn parameter(&self, name: &str) -> &'a str {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    }
}

fn clauses(accept: &str) -> impl Iterator<Item = Clause<'_>> {
    accept.split(',').map(Clause::parse)
}

/// The form of an object, list or watch.
pub(super) fn form(accept: &str) -> Result<Form, Status> {
    if accept.trim().is_empty() {
        return Ok(Form::Whole);
    }
    clauses(accept)
        .filter(Clause::is_json)
        .find_map(|clause| match clause.parameter("as") {
            "" => Some(Form::Whole),
            "Table" if is_meta(&clause) => Some(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if is_meta(&clause) => {
                Some(Form::Partial)
            }
            _ => None,
        })
        .ok_or_else(failure::not_acceptable)
}

fn is_meta(clause: &Clause<'_>) -> bool {
    clause.parameter("g") == "meta.k8s.io" && clause.parameter("v") == "v1"
}

/// The form of `/api` and `/apis`.
pub(super) fn discovery(accept: &str) -> Result<Discovery, Status> {
    if accept.trim().is_empty() {
        return Ok(Discovery::Legacy);
    }
    clauses(accept)
        .filter(Clause::is_json)
        .find_map(
            |clause| match (clause.parameter("as"), clause.parameter("v")) {
                ("", _) => Some(Discovery::Legacy),
                ("APIGroupDiscoveryList", "v2") => Some(Discovery::Aggregated("v2")),
                ("APIGroupDiscoveryList", "v2beta1") => Some(Discovery::Aggregated("v2beta1")),
                _ => None,
            },
        )
        .ok_or_else(failure::not_acceptable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl).unwrap(), Form::Table);
        assert_eq!(
            form("application/vnd.kubernetes.protobuf, */*").unwrap(),
            Form::Whole
        );
        assert_eq!(
            form("application/json;as=Table;v=v9;g=meta.k8s.io,application/json").unwrap(),
            Form::Whole
        );
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(partial).unwrap(), Form::Partial);
        assert_eq!(form("").unwrap(), Form::Whole);
    }

    #[test]
    fn what_cannot_be_served_is_not_acceptable() {
        assert_eq!(form("application/cbor").unwrap_err().code, 406);
        assert_eq!(discovery("application/yaml").unwrap_err().code, 406);
    }

    #[test]
    fn discovery_is_aggregated_only_when_asked() {
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery(old).unwrap(), Discovery::Aggregated("v2beta1"));
        assert_eq!(discovery("application/json").unwrap(), Discovery::Legacy);
    }
}
