//! `--manifests DIR`: reads what a cluster is to have once it has formed.
//!
//! Every file must parse before the node starts, since a cluster that forms after a catastrophe is no time to find a typing
//! error. Deliberately one folder, not a tree, and nothing but YAML and JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::actors::manifests::Manifest;

/// All files together; a command per object, so this is no place for data.
const BYTES_MAX: u64 = 16 << 20;

/// The objects of all files, in order of the files' names.
pub fn read(directory: &Path) -> anyhow::Result<Vec<Manifest>> {
    let shown = directory.display();
    let entries = fs::read_dir(directory).with_context(|| format!("--manifests {shown}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("--manifests {shown}"))?
            .path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        if matches!(suffix, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let (mut manifests, mut bytes) = (Vec::new(), 0);
    for path in files {
        let said = || format!("--manifests {}", path.display());
        bytes += path.metadata().with_context(said)?.len();
        if bytes > BYTES_MAX {
            bail!("--manifests {shown}: more than {BYTES_MAX} bytes in all");
        }
        let text = fs::read_to_string(&path).with_context(said)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        manifests.extend(parse(&name, &text).with_context(said)?);
    }
    Ok(manifests)
}

/// The objects of one file; those of a List one by one.
fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    for (at, document) in documents.enumerate() {
        let place = format!("{file}, document {}", at + 1);
        let read = || format!("document {}", at + 1);
        let value = Value::deserialize(document).with_context(read)?;
        let objects = match (&value["kind"], &value["items"]) {
            // Between two separators, or after the last.
            _ if value.is_null() => Vec::new(),
            (Value::String(kind), Value::Array(items)) if kind == "List" => items.clone(),
            _ => vec![value],
        };
        for object in objects {
            manifests.push(Manifest::new(place.clone(), object).with_context(read)?);
        }
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let read = read(folder.path()).map_err(|error| format!("{error:#}"))?;
        Ok(read.into_iter().map(|manifest| manifest.place).collect())
    }

    const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";

    #[test]
    fn files_are_read_by_name_and_document_by_document() {
        let two = format!("---\n{NAMESPACE}---\n# nothing\n---\n{NAMESPACE}");
        let list = r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}},
            {"apiVersion":"v1","kind":"Secret","metadata":{"name":"c"}}]}"#;
        let files = [
            ("b.yaml", two.as_str()),
            ("a.json", list),
            ("c.txt", "{"),
            ("d.yml", ""),
        ];
        let places = said(&files).unwrap();
        let expected = [
            "a.json, document 1",
            "a.json, document 1",
            "b.yaml, document 1",
            "b.yaml, document 3",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn what_is_no_manifest_is_refused_by_file_and_document() {
        let second = |text: &str| format!("{NAMESPACE}---\n{text}");
        for (text, reason) in [
            ("a: [", "document 2"),
            ("kind: Pod\nmetadata: {name: a}\n", "apiVersion is missing"),
            ("apiVersion: v1\nkind: Pod\n", "metadata.name is missing"),
            ("just words\n", "apiVersion is missing"),
            (
                "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n",
                "Job of batch/v1 is not served",
            ),
        ] {
            let refused = said(&[("web.yaml", &second(text))]).unwrap_err();
            for part in ["--manifests", "web.yaml", "document 2", reason] {
                assert!(refused.contains(part), "{part} is missing in: {refused}");
            }
        }
        let missing = format!("{:#}", read(Path::new("/nowhere")).unwrap_err());
        assert!(missing.contains("--manifests /nowhere"), "{missing}");
    }
}
