//! What the end-to-end suites share: a `kagero dev` cluster, kubectl with a home of its own, polling with deadlines.
//!
//! Everything goes through doors that users have: the program's output, the API, kubectl, signals.

#![allow(
    dead_code,
    reason = "each suite is a crate of its own and uses a part of this"
)]
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::rc::Rc;
use std::time::Duration;

use kagero::actors::messages::ClusterStatus;
use kagero::cli::client::Client;
use kagero::env::tcp::Tcp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// The program under test.
pub const KAGERO: &str = env!("CARGO_BIN_EXE_kagero");
/// A cluster has formed by then, on a busy machine and in a debug build.
pub const FORMED_WITHIN: Duration = Duration::from_secs(90);
/// Anything that needs no failure detector has happened by then.
pub const SOON: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Waits for something to come true and returns it; panics with what was missing after `within`.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) => assert!(
                Instant::now() < deadline,
                "{what}, within {within:?}: {missing}"
            ),
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "these suites run real processes in real time"
)]
fn pause() {
    std::thread::sleep(LOOK);
}

/// Carries a request of the program's own client out.
pub fn ask<T>(question: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(question)
}

/// A client of the API at `host:port`.
pub fn client(address: &str) -> Client {
    Client::new(Rc::new(Tcp), address)
}

/// What the cluster says of itself, through this node.
pub fn status_of(through: &NodeLine) -> Result<ClusterStatus, String> {
    let status = ask(client(&through.api).get("/kagero/v1/status"));
    let status = status.map_err(|error| error.to_string())?;
    serde_json::from_value(status).map_err(|error| error.to_string())
}

/// SIGKILL, SIGTERM and so on; a process that is gone already is fine.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// Whether a process exists.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// What dev says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLine {
    pub name: String,
    pub pid: u32,
    /// `host:port`.
    pub api: String,
}

/// A running `kagero dev`. Dropping it ends it.
pub struct Dev {
    child: Option<Child>,
    files: TempDir,
}

impl Dev {
    /// Starts it and waits until it says how to use it.
    pub fn start(nodes: usize, runtime: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(files.path().join(name)).unwrap();
        let child = Command::new(KAGERO)
            .args(["dev", "--runtime", runtime, "--nodes", &nodes.to_string()])
            .env("HOME", files.path())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut dev = Self {
            child: Some(child),
            files,
        };
        until("dev is ready", FORMED_WITHIN, || {
            let ended = dev.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "dev ended:\n{}", dev.said("stderr"));
            let told = dev.said("stdout").contains("export KUBECONFIG=");
            told.then_some(()).ok_or_else(|| dev.said("stderr"))
        });
        dev
    }

    fn said(&self, stream: &str) -> String {
        fs::read_to_string(self.files.path().join(stream)).unwrap()
    }

    /// Every node, as last announced.
    pub fn nodes(&self) -> Vec<NodeLine> {
        let mut nodes = std::collections::BTreeMap::new();
        for line in self.said("stdout").lines() {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let value = |key: &str| rest.split(' ').find_map(|word| word.strip_prefix(key));
            if let (Some(pid), Some(api)) = (value("pid="), value("api=http://")) {
                let (name, api) = (name.to_owned(), api.to_owned());
                let pid = pid.parse().unwrap();
                nodes.insert(name.clone(), NodeLine { name, pid, api });
            }
        }
        nodes.into_values().collect()
    }

    /// One of them.
    pub fn node(&self, name: &str) -> NodeLine {
        let nodes = self.nodes();
        let found = nodes.iter().find(|node| node.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {nodes:?}"))
            .clone()
    }

    /// The kubeconfig that it printed.
    pub fn kubeconfig(&self) -> PathBuf {
        let said = self.said("stdout");
        let mut lines = said.lines();
        let path = lines.find_map(|line| line.strip_prefix("export KUBECONFIG="));
        PathBuf::from(path.unwrap())
    }

    /// `kubectl …`, with a home of its own so that nothing cached elsewhere is used.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_command(arguments).output().unwrap()
    }

    /// The same, not started yet.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("HOME", self.files.path())
            .env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// `kubectl …`, which must succeed; its standard output.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `kubectl get … -o json`.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        serde_json::from_str(&self.must(&arguments)).unwrap()
    }

    /// Writes a manifest where kubectl can read it.
    pub fn manifest(&self, text: &str) -> String {
        let path = self.files.path().join("manifest.yaml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Ends it as Ctrl-C does and checks that nothing is left.
    pub fn stop(mut self) {
        let nodes = self.nodes();
        let directory = self.kubeconfig().parent().unwrap().to_owned();
        let status = self.end(Signal::INT).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.said("stderr"));
        for node in nodes {
            assert!(!exists(node.pid), "{} still runs", node.name);
        }
        assert!(
            !directory.exists(),
            "{} is still there",
            directory.display()
        );
    }

    fn end(&mut self, with: Signal) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        signal(child.id(), with);
        Some(child.wait().unwrap())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}

/// A list's items.
pub fn items(list: &Value) -> &[Value] {
    list["items"].as_array().unwrap()
}

/// Whether a pod is Running and Ready and stays.
pub fn is_running(pod: &Value) -> bool {
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && pod["status"]["phase"] == "Running"
        && conditions.is_some_and(|conditions| conditions.iter().any(ready))
}

/// The web servers' manifest, for tests that change it.
pub fn web_manifest() -> String {
    fs::read_to_string("deploy/manifests/web.yaml").unwrap()
}

/// Makes `busybox:1.36` known to Docker out of the static busybox of this machine, unless it is known.
pub fn busybox_image() {
    let known = Command::new("docker")
        .args(["image", "inspect", "busybox:1.36"])
        .output()
        .unwrap();
    if known.status.success() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let found = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    fs::copy(
        found.expect("busybox-static is here: tests/run installs it"),
        bin.join("busybox"),
    )
    .unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "wc"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    let archive = root.path().join("image.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(root.path())
        .arg("-cf")
        .arg(&archive)
        .arg("bin")
        .status();
    assert!(packed.unwrap().success());
    let imported = Command::new("docker")
        .arg("import")
        .arg(&archive)
        .arg("busybox:1.36")
        .output()
        .unwrap();
    assert!(
        imported.status.success(),
        "{}",
        String::from_utf8_lossy(&imported.stderr)
    );
}
