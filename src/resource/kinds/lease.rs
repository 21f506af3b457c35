//! Lease: who holds what, renewed by its holder.

use super::{AGE, NAME, VERBS, text};
use crate::resource::registry::{Kind, Rules};
use crate::resource::table::{age, name, or};
use crate::resource::validate_config;

pub(super) const KIND: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: VERBS,
    subresources: &[],
    columns: &[NAME, text("Holder", "Who holds it"), AGE],
    cells: |object, now| {
        let holder = or(&object["spec"]["holderIdentity"], "");
        vec![name(object), holder, age(object, now)]
    },
    fields: &[],
    rules: Rules {
        validate: validate_config::lease,
        ..Rules::NONE
    },
};
