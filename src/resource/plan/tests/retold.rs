//! Replies told again after more has changed. That each is told again as it was, `Cluster::send` sees to.

use super::*;

#[test]
fn a_generated_name_is_the_one_that_was_drawn() {
    let mut cluster = Cluster::new();
    let request = post("pods", {
        let mut pod = pod("");
        pod["metadata"] = json!({ "generateName": "p-" });
        pod
    });
    let reply = cluster.send(&request).unwrap();
    let command = cluster.commands;
    let made = body(&reply);
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    let changed = merge("pods", &name, json!({"metadata": {"labels": {"a": "b"}}}));
    cluster.send(&changed).unwrap();
    assert_eq!(cluster.ask_again(&request, command), Some(reply.clone()));
    let gone = delete("pods", &name, json!({"gracePeriodSeconds": 0}));
    let removed = cluster.send(&gone).unwrap();
    assert_eq!(cluster.ask_again(&request, command), Some(reply));
    let last = cluster.commands;
    cluster.create("pods", pod(&name));
    assert_eq!(cluster.ask_again(&gone, last), Some(removed));
}

#[test]
fn a_write_into_a_namespace_that_is_gone_is_not_told() {
    let mut cluster = Cluster::new();
    let request = post("configmaps", json!({"metadata": {"name": "a"}}));
    cluster.send(&request).unwrap();
    let command = cluster.commands;
    cluster.store.apply(&Command {
        id: ProposalId {
            origin: 2,
            sequence: 1,
        },
        time_ms: 0,
        transaction: crate::store::Transaction {
            compare: Vec::new(),
            operations: vec![crate::store::Operation::Delete {
                key: crate::resource::registry::find("", "v1", "namespaces")
                    .unwrap()
                    .key(None, "default"),
            }],
        },
    });
    assert_eq!(cluster.ask_again(&request, command), None);
}

/// A request that did something else is not answered for it.
#[test]
fn another_requests_change_is_not_told() {
    let mut cluster = Cluster::new();
    let create = post("pods", pod("p"));
    cluster.send(&create).unwrap();
    let command = cluster.commands;
    for other in [
        post("configmaps", json!({"metadata": {"name": "p"}})),
        delete("pods", "p", json!({})),
        merge("pods", "p", json!({"metadata": {"labels": {"a": "b"}}})),
    ] {
        assert_eq!(cluster.ask_again(&other, command), None, "{other:?}");
    }
}
