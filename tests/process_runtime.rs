//! The process runtime against real processes: start, log, stop, adopt, remove.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use kagero::agent::{
    ContainerRecord, ContainerSpec, ContainerState, EXIT_CODE_UNKNOWN, Exit, File, Limits, Mount,
    MountSource, PodRef, SandboxSpec, Volume, VolumeContent,
};
use kagero::env::clock::SystemClock;
use kagero::env::process::ProcessRuntime;
use kagero::env::runtime::{ContainerRuntime, LogQuery, StartError};

use common::Home;

/// How long a test waits for a process to do what it was made for.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime(dir: &Path) -> ProcessRuntime {
    ProcessRuntime::new(
        &dir.join("run"),
        &dir.join("data"),
        Rc::new(SystemClock::new()),
    )
    .unwrap()
}

fn pod(uid: &str) -> PodRef {
    PodRef {
        namespace: "default".to_owned(),
        name: format!("pod-{uid}"),
        uid: uid.to_owned(),
        unique: false,
    }
}

fn sandbox(uid: &str) -> SandboxSpec {
    SandboxSpec {
        pod: pod(uid),
        attempt: 0,
        hostname: "h".to_owned(),
        host_network: false,
        host_pid: false,
        ports: Vec::new(),
        host_aliases: Vec::new(),
        grace_seconds: 5,
    }
}

/// A container that runs a shell script.
fn container(uid: &str, sandbox_id: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        pod: pod(uid),
        sandbox_id: sandbox_id.to_owned(),
        name: "c".to_owned(),
        attempt: 0,
        spec_hash: "hash".to_owned(),
        image: "any".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned()],
        args: vec![script.to_owned()],
        working_dir: None,
        env: vec![("GREETING".to_owned(), "hello".to_owned())],
        mounts: Vec::new(),
        limits: Limits {
            cpu_shares: 2,
            ..Limits::default()
        },
        user: None,
        groups: Vec::new(),
        privileged: false,
        read_only_root: false,
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        host_pid: false,
        stdin: false,
        tty: false,
        grace_seconds: 5,
    }
}

async fn only(runtime: &ProcessRuntime) -> ContainerRecord {
    let mut inventory = runtime.list().await.unwrap();
    assert_eq!(inventory.containers.len(), 1);
    inventory.containers.remove(0)
}

/// Waits for the end as the agent does: by the runtime's word that something changed.
async fn ended(runtime: &ProcessRuntime) -> Exit {
    let mut changed = runtime.changed();
    let wait = async {
        loop {
            if let ContainerState::Exited(exit) = only(runtime).await.state {
                return exit;
            }
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

async fn log(runtime: &ProcessRuntime, id: &str, query: LogQuery) -> String {
    let mut pieces = runtime.open_log(id, &query).await.unwrap();
    let mut text = Vec::new();
    let read = async {
        while let Some(piece) = pieces.recv().await {
            text.extend(piece.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[actix_web::test]
async fn runs_to_its_end_and_is_removed_without_a_trace() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let sandbox_id = runtime.start_sandbox(&sandbox("u1")).await.unwrap().id;
    let spec = container(
        "u1",
        &sandbox_id,
        "echo $GREETING; echo $HOSTNAME >&2; exit 3",
    );
    let id = runtime.start_container(&spec).await.unwrap().id;
    let exit = ended(&runtime).await;
    assert_eq!((exit.code, exit.reason), (3, None));
    let record = only(&runtime).await;
    assert_eq!(
        (record.id.as_str(), record.spec_hash.as_str()),
        (id.as_str(), "hash")
    );
    assert_eq!(
        log(&runtime, &id, LogQuery::default()).await,
        "hello\npod-u1\n"
    );
    let tail = LogQuery {
        tail_lines: Some(1),
        ..LogQuery::default()
    };
    assert_eq!(log(&runtime, &id, tail).await, "pod-u1\n");
    runtime.remove_container(&id).await.unwrap();
    runtime.remove_sandbox(&sandbox_id).await.unwrap();
    runtime.remove_pod("u1").await.unwrap();
    let left = runtime.list().await.unwrap();
    assert!(left.containers.is_empty() && left.sandboxes.is_empty());
    assert!(!dir.path().join("run/pods/u1").exists());
}

#[actix_web::test]
async fn follows_a_log_to_its_end() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let script = "echo one; sleep 0.3; echo two";
    let id = runtime
        .start_container(&container("follow", "follow.0", script))
        .await
        .unwrap()
        .id;
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    assert_eq!(log(&runtime, &id, follow).await, "one\ntwo\n");
}

#[actix_web::test]
async fn stops_politely_then_by_force_with_all_it_started() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let id = runtime
        .start_container(&container("stop", "stop.0", script))
        .await
        .unwrap()
        .id;
    await_line(&runtime, &id, "ready").await;
    runtime.stop_container(&id, PATIENCE).await.unwrap();
    assert_eq!(ended(&runtime).await.code, 7);
    runtime.remove_container(&id).await.unwrap();

    let stubborn = "trap '' TERM; sleep 1000 & echo ready; wait";
    let id = runtime
        .start_container(&container("stop", "stop.0", stubborn))
        .await
        .unwrap()
        .id;
    await_line(&runtime, &id, "ready").await;
    runtime
        .stop_container(&id, Duration::from_millis(100))
        .await
        .unwrap();
    assert_eq!(ended(&runtime).await.code, 137);
    runtime.stop_container(&id, PATIENCE).await.unwrap();
}

/// Waits until a process is gone, or is a zombie that its new parent has not waited for yet.
async fn gone(pid: &str) {
    let wait = async {
        while std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, wait).await;
    assert!(gone.is_ok(), "process {pid} goes on");
}

#[actix_web::test]
async fn what_a_container_left_running_ends_with_it() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let spec = container("left", "left.0", "sleep 3600 & echo $!; exit 4");
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(ended(&runtime).await.code, 4);
    gone(log(&runtime, &id, LogQuery::default()).await.trim()).await;
    runtime.remove_container(&id).await.unwrap();
}

#[actix_web::test]
async fn a_log_without_end_takes_little_memory() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    // Paced, or else how much comes between two looks is the machine's to say.
    let script = "i=0; while [ $i -lt 200 ]; do head -c 1000000 /dev/zero | tr '\\0' x; echo; \
        i=$((i+1)); sleep 0.01; done; echo last";
    let spec = container("long", "long.0", script);
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(ended(&runtime).await.code, 0);
    let files = std::fs::read_dir(dir.path().join("run/pods/long/containers/c.0")).unwrap();
    let blocks = |file: std::io::Result<std::fs::DirEntry>| {
        std::os::unix::fs::MetadataExt::blocks(&file.unwrap().metadata().unwrap())
    };
    let taken = files.map(blocks).sum::<u64>() * 512;
    assert!(taken <= 9 << 20, "{taken} bytes");
    let tail = LogQuery {
        tail_lines: Some(1),
        ..LogQuery::default()
    };
    assert_eq!(log(&runtime, &id, tail).await, "last\n");
    let text = log(&runtime, &id, LogQuery::default()).await;
    assert!(text.len() > 2_000_000 && text.ends_with("x\nlast\n"));
    runtime.remove_container(&id).await.unwrap();
}

#[actix_web::test]
async fn a_stop_reaches_what_outlives_the_first_process() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let script = "(trap '' TERM; sleep 3600) & echo $!; trap 'exit 0' TERM; echo ready; wait";
    let spec = container("outlive", "outlive.0", script);
    let id = runtime.start_container(&spec).await.unwrap().id;
    await_line(&runtime, &id, "ready").await;
    runtime.stop_container(&id, PATIENCE).await.unwrap();
    let text = log(&runtime, &id, LogQuery::default()).await;
    gone(text.lines().next().unwrap()).await;
    runtime.remove_container(&id).await.unwrap();
}

async fn await_line(runtime: &ProcessRuntime, id: &str, line: &str) {
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut pieces = runtime.open_log(id, &follow).await.unwrap();
    let mut text = String::new();
    let read = async {
        while !text.contains(line) {
            let piece = pieces.recv().await.expect("the line comes").unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

#[actix_web::test]
async fn a_second_runtime_adopts_and_notices_the_end() {
    let dir = Home::new();
    let first = runtime(dir.path());
    let sandbox_id = first.start_sandbox(&sandbox("adopt")).await.unwrap().id;
    let spec = container("adopt", &sandbox_id, "exec sleep 1000");
    let id = first.start_container(&spec).await.unwrap().id;

    let second = runtime(dir.path());
    let adopted = only(&second).await;
    assert!(matches!(adopted.state, ContainerState::Running { .. }));
    assert_eq!(adopted.id, id);
    assert_eq!(second.list().await.unwrap().sandboxes[0].id, sandbox_id);
    assert!(!second.usage().await.unwrap().is_empty());
    let mut changed = second.changed();
    second.stop_container(&id, Duration::ZERO).await.unwrap();
    tokio::time::timeout(PATIENCE, changed.changed())
        .await
        .unwrap()
        .unwrap();
    // The first runtime, its parent, has waited for it; whichever of the two was quicker wrote the exit.
    assert_eq!(ended(&second).await.code, EXIT_CODE_UNKNOWN);
    second.remove_container(&id).await.unwrap();
}

#[actix_web::test]
async fn says_what_it_cannot_run() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let mut spec = container("refuse", "refuse.0", "");
    spec.command = vec!["/does/not/exist".to_owned()];
    let refused = runtime.start_container(&spec).await;
    assert!(
        matches!(refused, Err(StartError::Command(_))),
        "{refused:?}"
    );
    spec.command.clear();
    spec.args.clear();
    let refused = runtime.start_container(&spec).await;
    assert!(matches!(refused, Err(StartError::Config(_))), "{refused:?}");
    assert!(runtime.list().await.unwrap().containers.is_empty());
}

#[actix_web::test]
async fn arguments_without_a_command_are_the_command() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    let mut spec = container("args", "args.0", "");
    spec.command.clear();
    spec.args = vec!["echo".to_owned(), "hello".to_owned()];
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(ended(&runtime).await.code, 0);
    assert_eq!(log(&runtime, &id, LogQuery::default()).await, "hello\n");
    runtime.remove_container(&id).await.unwrap();
}

/// A volume `v` with a file `key` in it.
fn key_volume(mode: u32) -> Volume {
    let files = vec![File {
        path: "key".to_owned(),
        mode,
        content: "value\n".into(),
    }];
    Volume {
        name: "v".to_owned(),
        content: VolumeContent::Files(files),
    }
}

/// That volume at `/etc/conf`.
fn conf_mount() -> Mount {
    Mount {
        target: "/etc/conf".to_owned(),
        source: MountSource::Volume("v".to_owned()),
        sub_path: String::new(),
        read_only: true,
    }
}

/// Another user needs root to become one; elsewhere the kernel's refusal is what is seen.
#[actix_web::test]
async fn another_user_gets_to_its_files_and_to_no_others() {
    let dir = Home::new();
    // As wide as `/run`; it was made for this user alone.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let runtime = runtime(dir.path());
    runtime
        .write_volumes(&pod("user"), &[key_volume(0o644)])
        .await
        .unwrap();
    let script = "cat etc/conf/key; id -u; touch mine; ls ../.. 2>/dev/null || echo closed";
    let mut spec = container("user", "user.0", script);
    spec.user = Some("65534:65534".to_owned());
    spec.mounts.push(conf_mount());
    let started = runtime.start_container(&spec).await;
    if !rustix::process::geteuid().is_root() {
        assert!(matches!(started, Err(StartError::Config(_))), "{started:?}");
        return;
    }
    let id = started.unwrap().id;
    assert_eq!(ended(&runtime).await.code, 0);
    let text = log(&runtime, &id, LogQuery::default()).await;
    assert_eq!(text, "value\n65534\nclosed\n");
    runtime.remove_container(&id).await.unwrap();
}

#[actix_web::test]
async fn volumes_hang_under_the_containers_root() {
    let dir = Home::new();
    let runtime = runtime(dir.path());
    runtime
        .write_volumes(&pod("volume"), &[key_volume(0o600)])
        .await
        .unwrap();
    let mut spec = container(
        "volume",
        "volume.0",
        "cat $CONTAINER_SANDBOX_MOUNT_POINT/etc/conf/key",
    );
    spec.mounts.push(conf_mount());
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(ended(&runtime).await.code, 0);
    assert_eq!(log(&runtime, &id, LogQuery::default()).await, "value\n");
    runtime.remove_container(&id).await.unwrap();
}
