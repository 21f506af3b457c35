//! The Docker runtime against a real engine. Fails if none answers: `tests/run` starts one.
//!
//! The image is Debian's busybox-static, imported by the command line; each test has a scope and an end of its own.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kagero::agent::{
    ContainerSpec, ContainerState, File, Limits, Mount, MountSource, PodRef, PortMapping,
    SandboxSpec, Volume, VolumeContent,
};
use kagero::env::docker::{DockerOptions, DockerRuntime, Program};
use kagero::env::runtime::{ContainerRuntime, LogQuery, PullError, StartError};

/// How long a test waits for a busy engine.
const PATIENCE: Duration = Duration::from_secs(60);
const BUSYBOX: &str = "/bin/busybox";
const IMAGE: &str = "kagero.test/busybox:1";

/// Removes what a test left at the engine, also after a failure.
struct CleanUp(String);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let filter = format!("label=kagero.dev/scope={}", self.0);
        let ids = docker(&["ps", "-aq", "--filter", &filter]);
        for id in ids.lines() {
            docker(&["rm", "-f", "-v", id]);
        }
    }
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Imports busybox under `/bin`, if that has not been done before.
fn import_image() {
    let found = Command::new("docker")
        .args(["image", "inspect", IMAGE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    if found.success() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busybox.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for applet in ["busybox", "sh", "cat", "sleep", "echo", "hostname"] {
        tar.append_path_with_name(BUSYBOX, format!("bin/{applet}"))
            .unwrap();
    }
    tar.finish().unwrap();
    let imported = Command::new("docker")
        .args(["import", path.to_str().unwrap(), IMAGE])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(imported.success(), "the engine takes an image");
}

async fn runtime(scope: &str, dir: &Path) -> (DockerRuntime, CleanUp) {
    runtime_of(scope, dir, Program::static_file(BUSYBOX)).await
}

async fn runtime_of(scope: &str, dir: &Path, program: Program) -> (DockerRuntime, CleanUp) {
    let options = DockerOptions {
        scope: scope.to_owned(),
        run_dir: dir.join("run"),
        data_dir: dir.join("data"),
        program,
        pause_args: vec!["sleep".to_owned(), "1000000".to_owned()],
    };
    let clean_up = CleanUp(scope.to_owned());
    let runtime = DockerRuntime::connect(options).await;
    let runtime = runtime.expect("a Docker engine answers (start dockerd)");
    import_image();
    (runtime, clean_up)
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
        hostname: "hosty".to_owned(),
        host_network: false,
        host_pid: false,
        ports: Vec::new(),
        host_aliases: Vec::new(),
        grace_seconds: 5,
    }
}

fn container(uid: &str, sandbox_id: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        pod: pod(uid),
        sandbox_id: sandbox_id.to_owned(),
        name: "c".to_owned(),
        attempt: 0,
        spec_hash: "hash".to_owned(),
        image: IMAGE.to_owned(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        args: vec![script.to_owned()],
        working_dir: None,
        env: vec![("GREETING".to_owned(), "hello".to_owned())],
        mounts: Vec::new(),
        limits: Limits {
            cpu_shares: 2,
            cpu_quota_us: Some(50_000),
            memory_bytes: Some(64 << 20),
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

async fn state(runtime: &DockerRuntime, id: &str) -> ContainerState {
    let inventory = runtime.list().await.unwrap();
    let mut containers = inventory.containers.into_iter();
    containers.find(|c| c.id == id).expect("it is listed").state
}

/// Waits for the end as the agent does: by the engine's events.
async fn exit_code(runtime: &DockerRuntime, id: &str) -> i32 {
    let mut changed = runtime.changed();
    let wait = async {
        loop {
            if let ContainerState::Exited(exit) = state(runtime, id).await {
                return exit.code;
            }
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

async fn log(runtime: &DockerRuntime, id: &str, query: LogQuery) -> String {
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
async fn a_pod_runs_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, _clean_up) = runtime("test-runs", dir.path()).await;
    assert!(
        runtime
            .version()
            .await
            .unwrap()
            .runtime
            .starts_with("docker://")
    );
    let files = vec![File {
        path: "key".to_owned(),
        mode: 0o644,
        content: "value\n".into(),
    }];
    let volume = Volume {
        name: "v".to_owned(),
        content: VolumeContent::Files(files),
    };
    runtime.write_volumes(&pod("u"), &[volume]).await.unwrap();
    let sandbox = runtime.start_sandbox(&sandbox("u")).await.unwrap();
    assert_eq!(sandbox.ips.len(), 1);
    let script = "echo $GREETING; hostname; cat /etc/conf/key; exit 3";
    let mut spec = container("u", &sandbox.id, script);
    spec.mounts.push(Mount {
        target: "/etc/conf".to_owned(),
        source: MountSource::Volume("v".to_owned()),
        sub_path: String::new(),
        read_only: true,
    });
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(exit_code(&runtime, &id).await, 3);
    let all = log(&runtime, &id, LogQuery::default()).await;
    assert_eq!(all, "hello\nhosty\nvalue\n");
    let tail = LogQuery {
        tail_lines: Some(1),
        timestamps: true,
        ..LogQuery::default()
    };
    let line = log(&runtime, &id, tail).await;
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, "value\n");
    let inventory = runtime.list().await.unwrap();
    assert_eq!(inventory.sandboxes[0].ips, sandbox.ips);
    assert_eq!(inventory.containers[0].spec_hash, "hash");
    runtime.remove_container(&id).await.unwrap();
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    runtime.remove_pod("u").await.unwrap();
    // Removing what is not there is success.
    runtime.remove_container(&id).await.unwrap();
    let left = runtime.list().await.unwrap();
    assert!(left.containers.is_empty() && left.sandboxes.is_empty());
}

/// While the stream is broken the counter goes up each second, so silence proves that it is open.
#[actix_web::test]
async fn an_end_is_told_by_the_engines_stream_and_nothing_else_is() {
    const QUIET: Duration = Duration::from_secs(3);
    const QUICKLY: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let (runtime, _clean_up) = runtime("test-events", dir.path()).await;
    let sandbox_id = runtime.start_sandbox(&sandbox("u")).await.unwrap().id;
    let spec = container("u", &sandbox_id, "exec sleep 1000");
    let id = runtime.start_container(&spec).await.unwrap().id;
    let mut changed = runtime.changed();
    let settled = async {
        // The two starts' events come first, in their own time.
        while let Ok(told) = tokio::time::timeout(QUIET, changed.changed()).await {
            told.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .expect("nothing changes, nothing is told");
    docker(&["kill", &id]);
    tokio::time::timeout(QUICKLY, changed.changed())
        .await
        .expect("the end is told")
        .unwrap();
    assert_eq!(exit_code(&runtime, &id).await, 137);
}

#[actix_web::test]
async fn a_second_runtime_adopts_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _clean_up) = runtime("test-adopts", dir.path()).await;
    let mut published = sandbox("u");
    published.ports.push(PortMapping {
        container_port: 80,
        host_port: 18_099,
        host_ip: Some("127.0.0.1".parse().unwrap()),
        protocol: "TCP".to_owned(),
    });
    let sandbox_id = first.start_sandbox(&published).await.unwrap().id;
    let script = "trap 'exit 7' TERM; while :; do sleep 0.1; done";
    let spec = container("u", &sandbox_id, script);
    let id = first.start_container(&spec).await.unwrap().id;
    drop(first);
    let (second, _clean_up) = runtime("test-adopts", dir.path()).await;
    let inventory = second.list().await.unwrap();
    assert_eq!(inventory.containers[0].pod, pod("u"));
    assert_eq!(inventory.sandboxes[0].grace_seconds, 5);
    assert!(matches!(
        state(&second, &id).await,
        ContainerState::Running { .. }
    ));
    let usage = second.usage().await.unwrap();
    assert!(usage[0].containers["c"].memory_bytes > 0, "{usage:?}");
    second.stop_container(&id, PATIENCE).await.unwrap();
    assert_eq!(exit_code(&second, &id).await, 7);
    second.stop_container(&id, PATIENCE).await.unwrap();
}

#[actix_web::test]
async fn says_what_it_cannot_run() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, _clean_up) = runtime("test-refuses", dir.path()).await;
    let sandbox_id = runtime.start_sandbox(&sandbox("u")).await.unwrap().id;
    let mut spec = container("u", &sandbox_id, "");
    spec.command = vec!["/does/not/exist".to_owned()];
    let refused = runtime.start_container(&spec).await;
    assert!(
        matches!(refused, Err(StartError::Command(_))),
        "{refused:?}"
    );
    spec.image = "kagero.test/none:1".to_owned();
    let refused = runtime.start_container(&spec).await;
    assert!(
        matches!(refused, Err(StartError::NoImage(_))),
        "{refused:?}"
    );
    assert_eq!(runtime.find_image("kagero.test/none:1").await, Ok(None));
    assert!(runtime.find_image(IMAGE).await.unwrap().is_some());
    let lost = container("u", "0000", "");
    let refused = runtime.start_container(&lost).await;
    assert!(
        matches!(refused, Err(StartError::NoSandbox(_))),
        "{refused:?}"
    );
    let pulled = runtime.pull_image("UPPER case").await;
    assert!(matches!(pulled, Err(PullError::Name(_))), "{pulled:?}");
    assert!(runtime.list().await.unwrap().containers.is_empty());
}

#[actix_web::test]
async fn an_image_of_the_program_has_its_entry_point() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, _clean_up) = runtime("test-image", dir.path()).await;
    let entrypoint = [
        "/busybox".to_owned(),
        "echo".to_owned(),
        "it runs".to_owned(),
    ];
    let image = runtime
        .ensure_self_image("kagero.test/self", &entrypoint)
        .await
        .unwrap();
    let again = runtime
        .ensure_self_image("kagero.test/self", &entrypoint)
        .await;
    assert_eq!(again.as_ref(), Ok(&image));
    let sandbox_id = runtime.start_sandbox(&sandbox("u")).await.unwrap().id;
    let mut spec = container("u", &sandbox_id, "");
    (spec.command, spec.args) = (Vec::new(), Vec::new());
    spec.image.clone_from(&image);
    let id = runtime.start_container(&spec).await.unwrap().id;
    assert_eq!(exit_code(&runtime, &id).await, 0);
    assert_eq!(log(&runtime, &id, LogQuery::default()).await, "it runs\n");
    runtime.remove_container(&id).await.unwrap();
    docker(&["rmi", &image]);
}

/// Three builds: the second equals the first, the third does not.
#[actix_web::test]
async fn a_build_replaces_the_image_of_the_one_before() {
    const NAME: &str = "kagero.test/builds";
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("busybox");
    let images = || docker(&["images", "-q", "--no-trunc", NAME]);
    for old in images().lines() {
        docker(&["rmi", "-f", old]); // of a test that was killed
    }
    let build = async |content: &[u8]| {
        let made = dir.path().join("made");
        std::fs::copy(BUSYBOX, &made).unwrap(); // with its mode
        std::fs::write(&made, content).unwrap();
        std::fs::rename(&made, &program).unwrap();
        let file = Program::static_file(&program);
        let (runtime, clean_up) = runtime_of("test-builds", dir.path(), file).await;
        let entrypoint = ["/busybox".to_owned(), "echo".to_owned()];
        let image = runtime.ensure_self_image(NAME, &entrypoint).await.unwrap();
        let id = docker(&["inspect", "--format", "{{.Id}}", &image]);
        (runtime, clean_up, id.trim().to_owned(), image)
    };
    let mut content = std::fs::read(BUSYBOX).unwrap();
    let (_, _clean_up, first, first_name) = build(&content).await;
    let (runtime, _clean_up, again, again_name) = build(&content).await;
    assert_eq!(first, again, "not imported again");
    assert_ne!(first_name, again_name);
    let sandbox_id = runtime.start_sandbox(&sandbox("u")).await.unwrap().id;
    let mut spec = container("u", &sandbox_id, "");
    (spec.command, spec.args) = (Vec::new(), Vec::new());
    spec.image.clone_from(&again_name);
    let user = runtime.start_container(&spec).await.unwrap().id;
    content.push(0);
    let (_, _clean_up, second, _) = build(&content).await;
    let ids = images();
    assert!(
        ids.contains(&first) && ids.contains(&second),
        "in use: {ids}"
    );
    runtime.remove_container(&user).await.unwrap();
    content.push(0);
    let (_, _clean_up, third, third_name) = build(&content).await;
    assert_eq!(images().trim(), third, "only the newest is left");
    docker(&["rmi", &third_name]);
    assert_eq!(images(), "");
}

/// This test's own binary is linked dynamically: it runs in the image only if its libraries and loader came along.
#[actix_web::test]
async fn an_image_of_this_process_runs_with_its_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let own = Program::current().unwrap();
    let (itself, _clean_up) = runtime_of("test-dynamic", dir.path(), own.clone()).await;
    let entrypoint = [own.path_inside(), "--list".to_owned()];
    let image = itself
        .ensure_self_image("kagero.test/dynamic", &entrypoint)
        .await
        .unwrap();
    let (runtime, _clean_up) = runtime("test-dynamic", dir.path()).await;
    let sandbox_id = runtime.start_sandbox(&sandbox("u")).await.unwrap().id;
    let mut spec = container("u", &sandbox_id, "");
    (spec.command, spec.args) = (Vec::new(), Vec::new());
    spec.image.clone_from(&image);
    let id = runtime.start_container(&spec).await.unwrap().id;
    let code = exit_code(&runtime, &id).await;
    let listed = log(&runtime, &id, LogQuery::default()).await;
    assert_eq!(code, 0, "{listed}");
    assert!(
        listed.contains("a_pod_runs_and_is_removed: test"),
        "{listed}"
    );
    runtime.remove_container(&id).await.unwrap();
    docker(&["rmi", &image]);
}
