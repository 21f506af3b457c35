//! Nodes as processes of their own (`kagero run`), which nobody starts again, and a way to cut one off.
//!
//! Deliberately without Docker and without `kagero dev`, which brings back what is killed.

#![allow(
    dead_code,
    reason = "each suite is a crate of its own and uses a part of this"
)]
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::dev::{KAGERO, NodeLine, signal};

/// Addresses of loopback that were free a moment ago.
#[expect(
    clippy::disallowed_types,
    reason = "tests are outside of the simulation"
)]
pub fn free_addresses<const N: usize>() -> [String; N] {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

/// One node's process.
pub struct Machine {
    pub name: String,
    pub api: String,
    child: Child,
}

impl Machine {
    /// As the helpers of `kagero dev` know a node.
    pub fn line(&self) -> NodeLine {
        NodeLine {
            name: self.name.clone(),
            pid: self.child.id(),
            api: self.api.clone(),
        }
    }

    /// Kills its process and its pods' for good.
    pub fn lose(&mut self, pods: &[Value]) {
        signal(self.child.id(), Signal::KILL);
        self.child.wait().unwrap();
        let here = |pod: &&Value| pod["spec"]["nodeName"] == self.name.as_str();
        for pod in pods.iter().filter(here) {
            for pid in pids_of(pod) {
                signal(pid, Signal::KILL);
            }
        }
    }
}

/// A cluster's processes, their files, and kubectl. Dropping it kills what is left.
pub struct Machines {
    pub all: Vec<Machine>,
    seeds: Vec<String>,
    files: TempDir,
}

impl Machines {
    /// None yet; every node will be told these seeds.
    pub fn new(seeds: &[String]) -> Self {
        Self {
            all: Vec::new(),
            seeds: seeds.to_vec(),
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a node that listens at an address.
    pub fn start(&mut self, name: &str, listen: &str, more: &[&str]) {
        let [api] = free_addresses();
        let file = |kind: &str| self.files.path().join(format!("{name}.{kind}"));
        let log = fs::File::create(file("log")).unwrap();
        let child = Command::new(KAGERO)
            .args(["run", "--runtime", "process", "--die-with-parent"])
            .args(["--name", name, "--listen", listen, "--api", &api])
            .args(["--seeds", &self.seeds.join(",")])
            .args(["--machine-id", name, "--boot-id", name])
            .arg("--run-dir")
            .arg(file("run"))
            .arg("--data-dir")
            .arg(file("data"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.all.push(Machine {
            name: name.to_owned(),
            api,
            child,
        });
    }

    /// One of them.
    pub fn get(&self, name: &str) -> &Machine {
        let found = self.all.iter().find(|machine| machine.name == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// Kills a node and its pods, which are among these.
    pub fn lose(&mut self, name: &str, pods: &[Value]) {
        let index = self.all.iter().position(|m| m.name == name).unwrap();
        self.all.remove(index).lose(pods);
    }

    /// Ends a node's process as a service manager does; its exit code.
    pub fn stop(&mut self, name: &str) -> Option<i32> {
        let index = self.all.iter().position(|m| m.name == name).unwrap();
        let mut machine = self.all.remove(index);
        signal(machine.child.id(), Signal::TERM);
        machine.child.wait().unwrap().code()
    }

    /// The last lines that a node logged.
    pub fn log(&self, name: &str) -> String {
        let path = self.files.path().join(format!("{name}.log"));
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// `kubectl …` through a node.
    pub fn kubectl(&self, through: &str, arguments: &[&str]) -> Output {
        Command::new("kubectl")
            .args(["--server", &format!("http://{}", self.get(through).api)])
            .args(arguments)
            .env("HOME", self.files.path())
            .env_remove("KUBECONFIG")
            .output()
            .unwrap()
    }

    /// The same, which must succeed; its standard output.
    pub fn must(&self, through: &str, arguments: &[&str]) -> String {
        let output = self.kubectl(through, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A list of objects, as one node's API has it.
    pub fn list(&self, through: &str, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        let list: Value = serde_json::from_str(&self.must(through, &arguments)).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// `kagero …`: exit code, standard output, standard error.
    pub fn kagero(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(KAGERO)
            .args(arguments)
            .env("HOME", self.files.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &mut self.all {
            signal(machine.child.id(), Signal::KILL);
            // It is gone already if it ended by itself.
            let _ = machine.child.wait();
        }
        for pids in processes_in(self.files.path().to_str().unwrap()) {
            signal(pids, Signal::KILL);
        }
    }
}

/// Processes whose environment names this directory, as those of pods do: their volumes and settings are there.
fn processes_in(directory: &str) -> BTreeSet<u32> {
    matching(|variable| {
        variable
            .windows(directory.len())
            .any(|part| part == directory.as_bytes())
    })
}

/// The processes of a pod: those that have its name for their host's.
pub fn pids_of(pod: &Value) -> BTreeSet<u32> {
    let wanted = format!("HOSTNAME={}", pod["metadata"]["name"].as_str().unwrap());
    matching(|variable| variable == wanted.as_bytes())
}

fn matching(wanted: impl Fn(&[u8]) -> bool) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if let (Some(pid), Ok(environment)) = (pid, fs::read(entry.path().join("environ")))
            && pid != std::process::id()
            && environment.split(|byte| *byte == 0).any(&wanted)
        {
            found.insert(pid);
        }
    }
    found
}

/// The processes of several pods, by pod.
pub fn processes(pods: &[Value]) -> BTreeMap<String, BTreeSet<u32>> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    pods.iter().map(|pod| (name(pod), pids_of(pod))).collect()
}

#[expect(
    clippy::disallowed_types,
    reason = "tests are outside of the simulation"
)]
type Stream = std::net::TcpStream;

/// Stands before a node's peer address; while it is cut, nobody reaches the node there.
pub struct Door {
    pub address: String,
    cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<Stream>>>,
}

impl Door {
    /// An open door before an address.
    #[expect(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "tests are outside of the simulation"
    )]
    pub fn before(target: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self {
            address: listener.local_addr().unwrap().to_string(),
            cut: Arc::default(),
            streams: Arc::default(),
        };
        let (cut, streams, target) = (door.cut.clone(), door.streams.clone(), target.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut streams = streams.lock().unwrap();
                // Looked at under the lock that cutting takes, so that none slips through.
                let far = (!cut.load(Ordering::SeqCst)).then(|| Stream::connect(&target));
                let Some(Ok(far)) = far else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || pass_on(from, to));
                }
                streams.extend([near, far]);
            }
        });
        door
    }

    /// Ends every connection through it and takes no more.
    pub fn cut(&self) {
        let mut streams = self.streams.lock().unwrap();
        self.cut.store(true, Ordering::SeqCst);
        for stream in streams.drain(..) {
            // Its own end may have been earlier.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

/// Copies until either end is closed, then closes both.
fn pass_on(mut from: Stream, mut to: Stream) {
    let mut bytes = [0; 16 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
