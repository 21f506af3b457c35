//! Kubeconfig files: reading the server in use, and adding a development cluster's contexts to one.
//!
//! Files are written whole, readable by their owner alone (0600), and put in place by a rename. Everything that
//! stands in a file already is kept. Deliberately without users' secrets: there is no TLS yet.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// Where kubectl would look: `$KUBECONFIG`'s first file, else `~/.kube/config`.
pub fn default_path() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").and_then(|list| std::env::split_paths(&list).next());
    let named = named.filter(|path| !path.as_os_str().is_empty());
    named.or_else(|| std::env::home_dir().map(|home| home.join(".kube/config")))
}

/// `host:port` of the current context's server.
pub fn server(path: &Path) -> anyhow::Result<String> {
    let config = read(path)?;
    let shown = path.display();
    let current = config["current-context"].as_str();
    let current = current.filter(|name| !name.is_empty());
    let current = current.with_context(|| format!("{shown} has no current-context"))?;
    let context = named(&config, "contexts", current)
        .with_context(|| format!("{shown} has no context {current}"))?;
    let cluster = context["context"]["cluster"].as_str().unwrap_or_default();
    let cluster = named(&config, "clusters", cluster)
        .with_context(|| format!("{shown} has no cluster of context {current}"))?;
    let url = cluster["cluster"]["server"].as_str().unwrap_or_default();
    host_and_port(url).with_context(|| format!("{shown}, context {current}"))
}

/// `host:port` of `http://host:port`.
pub fn host_and_port(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| {
        format!("server {url}: expected http://HOST:PORT (there is no TLS yet)")
    })?;
    let address = rest.trim_end_matches('/');
    let with_port = if address
        .rsplit(']')
        .next()
        .is_some_and(|tail| tail.contains(':'))
    {
        address.to_owned()
    } else {
        format!("{address}:80")
    };
    super::address(&with_port).map_err(|error| anyhow::anyhow!("server {url}: {error}"))
}

/// `host:port` of the server of the cluster of that name; none without such a cluster, or without the file.
pub fn server_of(path: &Path, name: &str) -> anyhow::Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let config = read(path)?;
    let cluster = named(&config, "clusters", name);
    let url = cluster.and_then(|cluster| cluster["cluster"]["server"].as_str());
    // Another program's server may be of a kind that is none of ours.
    Ok(url.and_then(|url| host_and_port(url).ok()))
}

/// What was added to a file, and what is to be as it was when that goes.
#[derive(Debug)]
pub struct Added {
    path: PathBuf,
    /// Names, each with the server that it was given.
    entries: Vec<(String, String)>,
    /// Directories that were made for the file, the deepest first.
    made: Vec<PathBuf>,
    /// The context that was the current one.
    current: Value,
}

/// Adds one context a server; the first becomes the current one. Entries of the same names are replaced.
pub fn add(path: &Path, entries: &[(String, String)]) -> anyhow::Result<Added> {
    let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let mut config = if path.exists() {
        without(read(path)?, &names)
    } else {
        empty()
    };
    for (name, server) in entries {
        let context = json!({"cluster": name, "user": name, "namespace": "default"});
        let added = [
            json!({"name": name, "cluster": {"server": url(server)}}),
            json!({"name": name, "context": context}),
            json!({"name": name, "user": {}}),
        ];
        for (list, entry) in LISTS.iter().zip(added) {
            if let Value::Array(entries) = &mut config[list] {
                entries.push(entry);
            }
        }
    }
    let current = std::mem::replace(&mut config["current-context"], json!(names.first()));
    let parents = path.ancestors().skip(1);
    let made: Vec<_> = parents
        .take_while(|parent| !parent.as_os_str().is_empty() && !parent.exists())
        .map(Path::to_owned)
        .collect();
    let written = write(path, &config);
    if written.is_err() {
        remove_empty(&made);
    }
    written?;
    Ok(Added {
        path: path.to_owned(),
        entries: entries.to_vec(),
        made,
        current,
    })
}

/// Removes directories, as far as nothing is in them.
fn remove_empty(directories: &[PathBuf]) {
    for directory in directories {
        if fs::remove_dir(directory).is_err() {
            return; // somebody uses it
        }
    }
}

/// Takes them out again; removes the file if nothing else is in it. The current context is the one from before, unless
/// somebody has chosen another since.
pub fn remove(added: &Added) -> anyhow::Result<()> {
    let path = &added.path;
    if !path.exists() {
        return Ok(());
    }
    let config = read(path)?;
    // Of that name there may be another cluster's meanwhile.
    let still = |(name, server): &&(String, String)| {
        let cluster = named(&config, "clusters", name);
        cluster.is_some_and(|cluster| cluster["cluster"]["server"] == url(server))
    };
    let names: Vec<_> = added.entries.iter().filter(still).collect();
    let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    let mut config = without(config.clone(), &names);
    let bare = |list: &str| config[list].as_array().is_none_or(Vec::is_empty);
    if LISTS.iter().all(|list| bare(list)) {
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        remove_empty(&added.made);
        return Ok(());
    }
    let before = added.current.as_str().unwrap_or_default();
    if config["current-context"] == "" && named(&config, "contexts", before).is_some() {
        config["current-context"] = json!(before);
    }
    write(path, &config)
}

fn url(server: &str) -> String {
    format!("http://{server}")
}

fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [], "contexts": [], "users": [], "current-context": ""})
}

/// The configuration without the entries of these names.
fn without(mut config: Value, names: &[&str]) -> Value {
    let ours = |name: &Value| name.as_str().is_some_and(|name| names.contains(&name));
    for list in LISTS {
        match &mut config[list] {
            Value::Array(entries) => entries.retain(|entry| !ours(&entry["name"])),
            missing => *missing = json!([]),
        }
    }
    if ours(&config["current-context"]) {
        config["current-context"] = json!("");
    }
    config
}

fn named<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let entries = config[list].as_array()?;
    entries.iter().find(|entry| entry["name"] == name)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
    let config: Value =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{shown} is not YAML"))?;
    match config {
        Value::Null => Ok(empty()),
        Value::Object(_) => Ok(config),
        _ => anyhow::bail!("{shown} is no kubeconfig: expected a mapping"),
    }
}

fn write(path: &Path, config: &Value) -> anyhow::Result<()> {
    let text = serde_yaml_ng::to_string(config).expect("a JSON value has a YAML form");
    write_private(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

/// Replaces a file at once; nobody ever sees half of it, nor anyone but its owner any of it.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut temporary = target.clone().into_os_string();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entries() -> Vec<(String, String)> {
        vec![
            ("kagero-dev".into(), "127.0.0.1:6443".into()),
            ("kagero-dev-n2".into(), "127.0.0.1:6444".into()),
        ]
    }

    #[test]
    fn a_new_file_is_private_and_goes_away_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config");
        let added = add(&path, &entries()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(server(&path).unwrap(), "127.0.0.1:6443");
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no temporary file stays");
        remove(&added).unwrap();
        assert!(!path.exists());
        assert!(!path.parent().unwrap().exists(), "it was made for the file");
    }

    #[test]
    fn a_refused_file_leaves_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        let long = "x".repeat(300);
        let path = directory.path().join("nope/deeper").join(long);
        assert!(add(&path, &entries()).is_err());
        assert!(!directory.path().join("nope").exists());
    }

    #[test]
    fn of_two_clusters_each_removes_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let first = add(&path, &entries()).unwrap();
        let second = add(&path, &[("kagero-dev".into(), "127.0.0.1:1".into())]).unwrap();
        remove(&first).unwrap();
        assert_eq!(server(&path).unwrap(), "127.0.0.1:1");
        let of = |name| server_of(&path, name).unwrap();
        assert_eq!(of("kagero-dev").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(of("kagero-dev-n2"), None);
        remove(&second).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_others_wrote_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let theirs = "clusters: [{name: work, cluster: {server: 'http://work:1', extra: 1}}]\ncontexts: [{name: work, context: {cluster: work}}]\nusers: [{name: work, user: {token: t}}]\ncurrent-context: work\n";
        fs::write(&path, theirs).unwrap();
        let added = add(&path, &entries()).unwrap();
        let both = read(&path).unwrap();
        assert_eq!(both["clusters"].as_array().unwrap().len(), 3);
        assert_eq!(both["current-context"], "kagero-dev");
        remove(&added).unwrap();
        let left = read(&path).unwrap();
        assert_eq!(left["clusters"][0]["cluster"]["extra"], 1);
        assert_eq!(left["users"][0]["user"]["token"], "t");
        assert_eq!(left["contexts"].as_array().unwrap().len(), 1);
        assert_eq!(left["current-context"], "work");
    }

    #[test]
    fn what_an_earlier_run_left_behind_is_replaced_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let theirs = "contexts: [{name: work, context: {cluster: work}}, {name: home}]\n";
        fs::write(&path, theirs).unwrap();
        let _killed = add(&path, &entries()).unwrap();
        let added = add(&path, &entries()).unwrap();
        let both = read(&path).unwrap();
        assert_eq!(both["contexts"].as_array().unwrap().len(), 4);
        // Chosen by `kubectl config use-context` meanwhile.
        let mut chosen = both;
        chosen["current-context"] = json!("home");
        write(&path, &chosen).unwrap();
        remove(&added).unwrap();
        let left = read(&path).unwrap();
        assert_eq!(left["contexts"].as_array().unwrap().len(), 2);
        assert_eq!(left["current-context"], "home");
    }

    #[test]
    fn servers_are_understood_or_refused() {
        assert_eq!(host_and_port("http://a:1/").unwrap(), "a:1");
        assert_eq!(host_and_port("http://[::1]:2").unwrap(), "[::1]:2");
        assert_eq!(host_and_port("http://a").unwrap(), "a:80");
        for bad in ["https://a:1", "a:1", "http://", "http://a:b"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_without_a_context_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, "clusters: []\n").unwrap();
        let error = server(&path).unwrap_err().to_string();
        assert!(error.contains("no current-context"), "{error}");
        fs::write(&path, "[1]").unwrap();
        assert!(
            server(&path)
                .unwrap_err()
                .to_string()
                .contains("no kubeconfig")
        );
    }
}
