//! kubectl as a child process, with a home of its own, against a server of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use actix::Addr;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Backend, serve};

/// A kubectl that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Every kubectl to test with.
pub fn programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut in_path = std::env::split_paths(&path).map(|dir| dir.join("kubectl"));
    let found = in_path.find_map(|program| program.canonicalize().ok());
    let found = found.expect("these tests need kubectl in PATH");
    let beside = ["kubectl.1.28", "kubectl.1.33"].map(|name| found.with_file_name(name));
    let several: Vec<PathBuf> = beside
        .into_iter()
        .filter(|program| program.exists())
        .collect();
    if several.is_empty() {
        vec![found]
    } else {
        several
    }
}

/// A kubectl with a home of its own, against a server of its own.
pub struct Kubectl {
    program: PathBuf,
    home: TempDir,
    pub backend: Addr<Backend>,
}

/// What a kubectl came to.
#[derive(Debug)]
pub struct Ran {
    command: String,
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn succeeds(self) -> String {
        assert!(self.ok, "{self:#?}");
        self.out
    }

    pub fn fails(self) -> String {
        assert!(!self.ok, "{self:#?}");
        self.err
    }

    #[track_caller]
    pub fn says(self, text: &str) -> String {
        assert!(
            self.ok && self.out.contains(text),
            "{text:?} is missing in {self:#?}"
        );
        self.out
    }
}

impl Kubectl {
    pub async fn new(program: &Path) -> Self {
        let backend = Backend::start_new();
        let address = serve(&backend).await;
        let home = TempDir::new().unwrap();
        let kubectl = Self {
            program: program.to_owned(),
            home,
            backend,
        };
        std::fs::write(kubectl.file("config"), kubeconfig(address)).unwrap();
        kubectl.run("create namespace default").await.succeeds();
        kubectl
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.file("config"))
            .env("EDITOR", self.file("editor"))
            .current_dir(self.home.path())
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command line, split at blanks.
    pub async fn run(&self, line: &str) -> Ran {
        self.feed(&line.split_whitespace().collect::<Vec<_>>(), "")
            .await
    }

    /// Runs a command with this standard input.
    pub async fn feed(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A kubectl that reads no input may be gone already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let command = arguments.join(" ");
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("kubectl {command} hangs"))
            .unwrap();
        Ran {
            command,
            ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub async fn apply(&self, manifest: &Value) -> Ran {
        self.feed(&["apply", "-f", "-"], &manifest.to_string())
            .await
    }

    pub async fn get(&self, what: &str) -> Value {
        let out = self.run(&format!("get {what} -o json")).await.succeeds();
        serde_json::from_str(&out).unwrap()
    }

    /// Writes a status, as a controller or a node would.
    pub async fn set_status(&self, what: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let mut arguments: Vec<&str> = vec![
            "patch",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        arguments.extend(what.split_whitespace());
        self.feed(&arguments, "").await.succeeds();
    }

    /// Starts a command whose lines are read one by one.
    pub fn start(&self, line: &str) -> Running {
        let mut child = self
            .command(&line.split_whitespace().collect::<Vec<_>>())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

/// A kubectl that runs until it is dropped.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Reads until a line holds this text.
    pub async fn line(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match tokio::time::timeout_at(deadline, self.lines.next_line()).await {
                Ok(Ok(Some(line))) if line.contains(text) => return line,
                Ok(Ok(Some(line))) => seen.push(line),
                other => panic!("{text:?} never came, but {seen:#?}, then {other:?}"),
            }
        }
    }

    pub async fn ends_well(mut self) {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        assert!(ended.expect("it ends in time").unwrap().success());
    }
}

fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "t",
        "clusters": [{"name": "t", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
        "users": [{"name": "t", "user": {}}],
    })
    .to_string()
}

/// Writes an executable script.
pub fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
