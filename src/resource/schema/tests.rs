//! The table holds what the rest of the room relies on.

use super::*;

#[test]
fn every_type_is_sorted_and_reachable_by_name() {
    assert!(types().len() > 300);
    assert!(types().is_sorted_by_key(|ty| ty.name));
    for ty in types() {
        assert!(
            ty.fields().is_sorted_by_key(|field| field.name),
            "{}",
            ty.name
        );
        assert_eq!(find(ty.name).unwrap().name, ty.name);
    }
}

#[test]
fn roots_are_found_by_api_version_and_kind() {
    for root in roots() {
        let found = super::root(root.api_version(), root.kind).unwrap();
        assert_eq!(found.short_name(), root.kind);
    }
    assert_eq!(
        root("apps/v1", "Deployment").unwrap().name,
        "api.apps.v1.Deployment"
    );
    assert_eq!(
        root("policy/v1", "DeleteOptions").unwrap().short_name(),
        "DeleteOptions"
    );
    assert!(root("v1", "Deployment").is_none());
    assert!(root("apps/v1", "Pod").is_none());
}

#[test]
fn patch_strategies_and_list_keys_are_those_of_kubernetes() {
    let container = find("api.core.v1.Container").unwrap();
    let ports = container.field("ports").unwrap();
    assert_eq!(ports.merge, Merge::Objects("containerPort"));
    assert_eq!(ports.ownership, Ownership::Map("containerPort,protocol"));
    let spec = find("api.core.v1.PodSpec").unwrap();
    let volumes = spec.field("volumes").unwrap();
    assert_eq!(volumes.merge.key(), Some("name"));
    assert!(volumes.retain_keys);
    assert_eq!(spec.field("tolerations").unwrap().merge, Merge::Replace);
    let strategy = find("api.apps.v1.DeploymentSpec")
        .unwrap()
        .field("strategy")
        .unwrap();
    assert!(strategy.retain_keys);
    let finalizers = find("apimachinery.pkg.apis.meta.v1.ObjectMeta")
        .unwrap()
        .field("finalizers")
        .unwrap();
    assert_eq!(finalizers.merge, Merge::Scalars);
    assert_eq!(finalizers.ownership, Ownership::Set);
}

#[test]
fn protobuf_tags_and_pointers_are_those_of_kubernetes() {
    let spec = find("api.apps.v1.DeploymentSpec").unwrap();
    let replicas = spec.field("replicas").unwrap();
    assert_eq!((replicas.tag, replicas.presence), (1, Presence::Pointer));
    assert_eq!(
        spec.field("minReadySeconds").unwrap().presence,
        Presence::Optional
    );
    let volume = find("api.core.v1.Volume")
        .unwrap()
        .field("emptyDir")
        .unwrap();
    assert_eq!(
        (volume.outer_tag, volume.tag, volume.presence),
        (2, 2, Presence::Pointer)
    );
}

#[test]
fn only_type_metadata_has_no_tag() {
    for ty in types() {
        for field in ty.fields() {
            let known = field.tag != 0 || matches!(field.name, "apiVersion" | "kind");
            assert!(known, "{}.{}", ty.name, field.name);
        }
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    assert_eq!(
        Schema::parse("api.T\n f nosuch 1\n").unwrap_err(),
        " f nosuch 1"
    );
    assert_eq!(Schema::parse(" f string 1\n").unwrap_err(), " f string 1");
    assert_eq!(
        Schema::parse("api.T\n f string 1 odd\n").unwrap_err(),
        " f string 1 odd"
    );
}
