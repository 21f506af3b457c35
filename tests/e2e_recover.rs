//! A majority of real processes is killed for good: refusals, the plan, the word of an operator, and the cluster after.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;
#[path = "machines/mod.rs"]
mod machines;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use dev::{FORMED_WITHIN, KAGERO, SOON, ask, client, is_running, status_of, until};
use machines::{Door, Machines, free_addresses, pids_of, processes};

/// A lost node's pods run elsewhere by then: 15 s of silence, then a start.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Waits until so many vote, and says who leads.
fn voters(machines: &Machines, through: &str, wanted: usize) -> String {
    until("enough voters", FORMED_WITHIN, || {
        let status = status_of(&machines.get(through).line())
            .map_err(|error| format!("{error}\n{}", machines.log(through)))?;
        let votes = status.members.iter().filter(|m| m.role != "learner");
        if votes.count() == wanted {
            Ok(status.leader)
        } else {
            Err(format!("{:?}", status.members))
        }
    })
}

fn running(machines: &Machines, through: &str, wanted: usize) -> Vec<Value> {
    until("pods run", REPLACED_WITHIN, || {
        let pods = machines.list(through, &["pods"]);
        let count = pods.iter().filter(|pod| is_running(pod)).count();
        if count == wanted && pods.len() == wanted {
            Ok(pods)
        } else {
            Err(format!("{count} of {wanted} run, {} in all", pods.len()))
        }
    })
}

/// A web server's pod on a node.
fn run_on(machines: &Machines, through: &str, name: &str, node: &str) -> Value {
    // A pod that is bound to a node nobody knows is soon removed.
    until("the node is ready", SOON, || {
        let ready = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let output = machines.kubectl(through, &["get", "node", node, ready]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (said == "True").then_some(()).ok_or(said)
    });
    let overrides = json!({"spec": {"nodeName": node}}).to_string();
    let overrides = format!("--overrides={overrides}");
    let image = "--image=kagero.dev/web:built-in";
    machines.must(through, &["run", name, image, "--env=PORT=0", &overrides]);
    until("the pod runs", SOON, || {
        let pod = machines.must(through, &["get", "pod", name, "-o", "json"]);
        let pod: Value = serde_json::from_str(&pod).unwrap();
        let runs = is_running(&pod) && pids_of(&pod).len() == 1;
        runs.then(|| pod.clone())
            .ok_or_else(|| pod["status"].to_string())
    })
}

/// What `kagero recover` refuses with, once the survivor has noticed that nobody leads.
fn refusal(machines: &Machines, api: &str, more: &[&str]) -> String {
    until("no leader is heard", SOON, || {
        let arguments = [&["recover", "--api", api], more].concat();
        let (code, out, err) = machines.kagero(&arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        if err.contains("hears a leader") {
            Err(err)
        } else {
            Ok(err)
        }
    })
}

/// Answers the question on a terminal; the exit code and all that was shown.
fn on_a_terminal(arguments: &str, answer: &str) -> (i32, String) {
    let mut child = Command::new("script")
        .args(["-qec", &format!("{KAGERO} {arguments}"), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(answer.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), shown)
}

/// Three nodes that all vote, with a ConfigMap `before` and three web servers.
fn three() -> Machines {
    let seeds: [String; 3] = free_addresses();
    let mut machines = Machines::new(&seeds);
    for (name, listen) in ["n1", "n2", "n3"].into_iter().zip(&seeds) {
        machines.start(name, listen, &[]);
    }
    voters(&machines, "n1", 3);
    machines.must(
        "n1",
        &["create", "configmap", "before", "--from-literal=k=v"],
    );
    machines.must("n1", &["apply", "-f", "deploy/manifests/web.yaml"]);
    running(&machines, "n1", 3);
    machines
}

fn refuses_until_all_is_proven(machines: &Machines, api: &str) {
    let refused = refusal(machines, api, &["--dry-run"]);
    let silent = "n2 (voter), n3 (voter) do not answer and are not proven dead";
    assert!(refused.contains(silent), "{refused}");
    assert!(refused.contains("--dead n2,n3"), "{refused}");
    let refused = refusal(machines, api, &["--dead", "n2", "--yes"]);
    let silent = "n3 (voter) does not answer and is not proven dead";
    assert!(refused.contains(silent), "{refused}");
    let refused = refusal(machines, api, &["--dead", "n1,n2,n3", "--yes"]);
    assert!(
        refused.contains("n1 was said to be dead, but it answers"),
        "{refused}"
    );
    let (code, _, err) = machines.kagero(&["recover", "--api", api, "--dead", "n2,n3"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--yes"), "{err}");
}

fn shows_its_plan(machines: &Machines, api: &str) {
    let dead = ["recover", "--api", api, "--dead", "n2,n3", "--dry-run"];
    let (code, plan, err) = machines.kagero(&dead);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in [
        "survives; its log wins",
        "dead: the operator's word",
        "generation 0 ends, generation 1 begins",
        "may be lost: every write that was acknowledged after entry",
        "2 of 3 voters are dead",
    ] {
        assert!(plan.contains(part), "{part} is missing in:\n{plan}");
    }
    let (code, json, _) = machines.kagero(&[&dead[..], &["-o", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["record"]["winner"]), (0, &json!("n1")));
    let (code, shown) = on_a_terminal(&format!("recover --api {api} --dead n2,n3"), "n\n");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("Recover? [y/N]"), "{shown}");
    assert!(shown.contains("nothing was changed"), "{shown}");
}

/// Recovers while a watch is open: it ends, and one from before is told to list anew.
fn recovers_under_a_watch(api: &str) {
    ask(async {
        let client = client(api);
        let list = client
            .get(&format!("{CONFIG_MAPS}?resourceVersion=0"))
            .await
            .unwrap();
        let before = list["metadata"]["resourceVersion"].as_str().unwrap();
        let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={before}");
        let mut watch = client.watch(&path).await.unwrap();
        let (code, shown) = on_a_terminal(&format!("recover --api {api} --dead n2,n3"), "y\n");
        assert_eq!(code, 0, "{shown}");
        assert!(
            shown.contains("recovered: generation 1 began with the log of n1; n1 leads"),
            "{shown}"
        );
        assert!(shown.contains("may be lost: every write"), "{shown}");
        assert_eq!(
            watch.next(SOON).await.unwrap(),
            None,
            "nothing, then the end"
        );
        let mut again = client.watch(&path).await.unwrap();
        let event = again.next(SOON).await.unwrap().unwrap();
        assert_eq!(event["object"]["code"], 410, "{event}");
    });
}

/// What was there is there, more can be written, and everybody can see what happened.
fn serves_again(machines: &Machines, api: &str) {
    assert_eq!(
        machines.must(
            "n1",
            &["get", "configmap", "before", "-o", "jsonpath={.data.k}"]
        ),
        "v"
    );
    machines.must(
        "n1",
        &["create", "configmap", "after", "--from-literal=k=v"],
    );
    let (code, shown, _) = machines.kagero(&["status", "--server", &format!("http://{api}")]);
    assert!(code == 0 && shown.contains("generation 1"), "{shown}");
    assert!(
        shown.contains("from generation 0 with the log of n1; may be lost: every write"),
        "{shown}"
    );
    let metrics = ask(client(api).text("/metrics")).unwrap();
    assert!(
        metrics.contains("\nkagero_cluster_generation 1\n"),
        "{metrics}"
    );
    let record = ["get", "-n", "kube-system", "configmap", "kagero-recovery-1"];
    machines.must("n1", &record);
}

#[test]
fn two_of_three_are_killed_for_good_and_an_operator_recovers() {
    let mut machines = three();
    let pods = machines.list("n1", &["pods"]);
    let here = |pod: &&Value| pod["spec"]["nodeName"] == "n1";
    let kept: Vec<Value> = pods.iter().filter(here).cloned().collect();
    let alive = processes(&kept);
    assert!(
        !kept.is_empty() && alive.values().all(|pids| pids.len() == 1),
        "{alive:?}"
    );
    let refused = machines.kagero(&["recover", "--api", &machines.get("n1").api, "--dry-run"]);
    assert!(
        refused.0 == 1 && refused.2.contains("nothing to recover"),
        "{refused:?}"
    );
    for name in ["n2", "n3"] {
        machines.lose(name, &pods);
    }
    let api = machines.get("n1").api.clone();
    refuses_until_all_is_proven(&machines, &api);
    shows_its_plan(&machines, &api);
    recovers_under_a_watch(&api);

    serves_again(&machines, &api);
    let fresh: [String; 2] = free_addresses();
    for (name, listen) in ["n4", "n5"].into_iter().zip(&fresh) {
        machines.start(name, listen, &[]);
    }
    voters(&machines, "n4", 3);
    let pods = running(&machines, "n5", 3);
    assert_eq!(
        processes(&kept),
        alive,
        "the survivor's containers were left alone"
    );
    for pod in &kept {
        let uid = |pod: &Value| pod["metadata"]["uid"].clone();
        let same = pods.iter().find(|other| uid(other) == uid(pod));
        let status = &same.expect("it is still the same pod")["status"];
        assert_eq!(
            status["containerStatuses"],
            pod["status"]["containerStatuses"]
        );
    }
    machines.must("n5", &["get", "configmap", "after"]);
    let refused = machines.kagero(&["recover", "--api", &api, "--dead", "n4", "--yes"]);
    assert!(
        refused.0 == 1 && refused.2.contains("nothing to recover"),
        "{refused:?}"
    );
    machines.must("n4", &["delete", "deployment", "web"]);
    running(&machines, "n4", 0);
}

/// The same pod runs again by the API, and an Event tells why.
fn is_adopted(machines: &Machines, orphan: &Value) {
    let adopted = until("the pod is adopted", SOON, || {
        let pod = machines.kubectl("n1", &["get", "pod", "orphan", "-o", "json"]);
        let pod: Value = serde_json::from_slice(&pod.stdout).map_err(|e| e.to_string())?;
        is_running(&pod)
            .then(|| pod.clone())
            .ok_or_else(|| pod["status"].to_string())
    });
    assert_eq!(adopted["metadata"]["uid"], orphan["metadata"]["uid"]);
    until("an event says so", SOON, || {
        let events = machines.must("n1", &["get", "events"]);
        let said = events
            .lines()
            .any(|line| line.contains("Adopted") && line.contains("orphan"));
        said.then_some(()).ok_or(events)
    });
}

#[test]
fn what_only_the_dead_knew_is_lost_and_what_runs_is_adopted() {
    let listens: [String; 4] = free_addresses();
    let door = Door::before(&listens[0]);
    let seeds = [door.address.clone(), listens[1].clone(), listens[2].clone()];
    let mut machines = Machines::new(&seeds);
    machines.start("n1", &listens[0], &["--advertise", &door.address]);
    machines.start("n2", &listens[1], &[]);
    machines.start("n3", &listens[2], &[]);
    machines.start("n4", &listens[3], &["--voter", "never"]);
    voters(&machines, "n1", 3);
    let before = run_on(&machines, "n1", "before", "n4");
    door.cut();
    until("n1 does not lead", SOON, || {
        match status_of(&machines.get("n2").line()) {
            Ok(status) if status.leader != "n1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    machines.must("n2", &["create", "configmap", "lost", "--from-literal=k=v"]);
    let orphan = run_on(&machines, "n2", "orphan", "n4");
    let alive = [pids_of(&before), pids_of(&orphan)];
    for name in ["n2", "n3"] {
        machines.lose(name, &[]);
    }
    door.open();
    let api = machines.get("n1").api.clone();
    let refused = refusal(&machines, &api, &["--dry-run"]);
    assert!(refused.contains("n2 (voter), n3 (voter)"), "{refused}");
    let (code, out, err) = machines.kagero(&["recover", "--api", &api, "--dead", "n2,n3", "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("may be lost: every write"), "{out}");

    let gone = machines.kubectl("n1", &["get", "configmap", "lost"]);
    assert!(
        String::from_utf8_lossy(&gone.stderr).contains("NotFound"),
        "{gone:?}"
    );
    is_adopted(&machines, &orphan);
    // What the node is told next comes after everything that it must run: by then it has killed what it would kill.
    run_on(&machines, "n1", "next", "n4");
    assert_eq!(
        [pids_of(&before), pids_of(&orphan)],
        alive,
        "nothing was killed"
    );
    machines.must(
        "n1",
        &[
            "delete",
            "pod",
            "before",
            "orphan",
            "next",
            "--grace-period=1",
        ],
    );
}
