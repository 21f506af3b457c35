//! The dashboard: well formed, in Grafana's conventions, and every panel shows something of a live cluster.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use dev::{Dev, ask, client, until, web_manifest};

/// What nodes publish; the dashboard may use nothing else.
const METRICS: [&str; 20] = [
    "apiserver_request_duration_seconds_bucket",
    "apiserver_request_total",
    "kagero_disk_written_bytes_total",
    "kagero_node_cpu_seconds_total",
    "kagero_node_memory_bytes",
    "kagero_nodes",
    "kagero_peer_lag_entries",
    "kagero_pods",
    "kagero_raft_applied_index",
    "kagero_raft_commit_index",
    "kagero_raft_is_leader",
    "kagero_raft_leader_changes_total",
    "kagero_raft_term",
    "kagero_raft_voters",
    "kagero_store_bytes",
    "kagero_store_keys",
    "kagero_store_revision",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "up",
];
/// Rates need two scrapes; histograms a request between them.
const DATA_WITHIN: Duration = Duration::from_secs(60);

fn dashboard() -> Value {
    let text = fs::read_to_string("grafana/dashboards/kagero.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels
        .iter()
        .filter(|panel| panel["type"] != "row")
        .collect()
}

/// Panel's title and expression, with the variables filled in.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "10s")
                .replace("$cluster", ".*")
                .replace("$instance", ".*");
            assert!(
                !expression.contains('$'),
                "an unknown variable: {expression}"
            );
            all.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    all
}

/// The names in an expression that a `{` follows.
fn metrics_of(expression: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let before_brace = expression
        .match_indices('{')
        .map(|(at, _)| &expression[..at]);
    before_brace
        .map(|text| &text[text.rfind(|c| !word(c)).map_or(0, |at| at + 1)..])
        .collect()
}

#[test]
fn the_dashboard_keeps_grafanas_conventions() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 42);
    assert_eq!(dashboard["uid"], "kagero");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["datasource", "cluster", "instance"]);
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: id twice"
        );
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{title}: no description"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}: no unit"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
}

#[test]
fn panels_do_not_overlap_and_fit_the_width() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{} is too wide", panel["title"]);
        for cell in (y..y + h).flat_map(|row| (x..x + w).map(move |column| (row, column))) {
            assert!(
                taken.insert(cell),
                "{} overlaps at {cell:?}",
                panel["title"]
            );
        }
    }
}

#[test]
fn it_shows_every_metric_and_no_other() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    let used: BTreeSet<_> = expressions
        .iter()
        .flat_map(|(_, expression)| metrics_of(expression))
        .collect();
    assert_eq!(used, BTreeSet::from(METRICS));
}

#[test]
fn the_lines_that_must_lie_on_each_other_are_one_panel_each() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    for metric in [
        "raft_term",
        "raft_commit_index",
        "raft_applied_index",
        "store_keys",
    ] {
        let alone = format!("kagero_{metric}{{cluster=~\".*\", instance=~\".*\"}}");
        assert!(
            expressions
                .iter()
                .any(|(_, expression)| *expression == alone),
            "{alone}"
        );
    }
    for phase in ["pending", "unknown", "running"] {
        let wanted = format!("phase=\"{phase}\"");
        assert!(
            expressions
                .iter()
                .any(|(_, expression)| expression.contains(&wanted)),
            "{wanted}"
        );
    }
}

#[test]
fn prometheus_can_parse_every_expression() {
    let rule = |(index, (_, expression)): (usize, (String, String))| serde_json::json!({"record": format!("panel:{index}"), "expr": expression});
    let rules: Vec<_> = expressions(&dashboard())
        .into_iter()
        .enumerate()
        .map(rule)
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    // JSON is YAML.
    let text = serde_json::json!({"groups": [{"name": "panels", "rules": rules}]}).to_string();
    fs::write(&file, text).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&file)
        .output();
    let checked = checked.expect("promtool is here: tests/run installs it");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn provisioning_files_agree_with_the_dashboard() {
    let yaml = |path: &str| -> Value {
        serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let source = yaml("grafana/provisioning/datasources/prometheus.yaml");
    let prometheus = yaml("grafana/prometheus.yaml");
    assert_eq!(
        source["datasources"][0]["uid"],
        dashboard()["templating"]["list"][0]["current"]["value"]
    );
    assert_eq!(
        source["datasources"][0]["jsonData"]["timeInterval"],
        prometheus["global"]["scrape_interval"]
    );
    assert_eq!(
        yaml("grafana/provisioning/dashboards/kagero.yaml")["providers"][0]["type"],
        "file"
    );
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], "kagero");
    let checked = Command::new("promtool")
        .args(["check", "config", "grafana/prometheus.yaml"])
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

/// A Prometheus on loopback, ended with its test.
struct Prometheus {
    child: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Prometheus {
    fn start(targets: &[String]) -> Self {
        let data = tempfile::Builder::new()
            .prefix("prometheus-")
            .tempdir_in("/dev/shm")
            .unwrap();
        let text = serde_json::json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{
                "job_name": "kagero",
                "static_configs": [{"targets": targets, "labels": {"cluster": "test"}}],
            }],
        });
        let config = data.path().join("prometheus.yaml");
        fs::write(&config, text.to_string()).unwrap();
        let address = ask(free_address());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                data.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is here: tests/run installs it");
        Self {
            child,
            address,
            _data: data,
        }
    }

    /// How many series an expression gives, NaN not counted; an error if Prometheus refuses it.
    fn series(&self, expression: &str) -> Result<usize, String> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let answer = ask(client(&self.address).get(&path)).map_err(|error| error.to_string())?;
        let series = answer["data"]["result"].as_array().ok_or("no vector")?;
        Ok(series
            .iter()
            .filter(|series| series["value"][1] != "NaN")
            .count())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn free_address() -> String {
    use kagero::env::network::Network;
    let listener = kagero::env::tcp::Tcp.listen("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[test]
fn every_panel_shows_data_of_a_live_cluster() {
    let dev = Dev::start(3, "process");
    let nodes = dev.nodes();
    dev.must(&["apply", "-f", &dev.manifest(&web_manifest())]);
    let targets: Vec<_> = nodes.iter().map(|node| node.api.clone()).collect();
    let prometheus = Prometheus::start(&targets);
    let mut missing = expressions(&dashboard());
    until("every panel shows data", DATA_WITHIN, || {
        // A request of every round, so that rates of requests have something to count.
        dev.must(&["get", "pods"]);
        missing.retain(|(_, expression)| !matches!(prometheus.series(expression), Ok(1..)));
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:#?}"))
        }
    });
    let lines = prometheus.series("kagero_raft_term").unwrap();
    assert_eq!(lines, nodes.len(), "one line a node");
    dev.stop();
}
