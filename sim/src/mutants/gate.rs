//! `sim mutants`: builds each mutant, runs its seeds, and prints the table of what found it.
//!
//! Builds with the machine's own cargo and what it has already fetched; touches nothing outside of `target/mutants`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::{Mutant, all};

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What is copied: everything a mutant may be made of, and what finds it.
const COPIED: [&str; 3] = ["src/raft", "src/store", "sim/src/core"];
const MANIFEST: &str = include_str!("Cargo.toml.in");
const PROBE: &str = include_str!("probe.rs");
const LIBRARY: &str = "#![allow(dead_code, unused)]\npub mod raft;\npub mod store;\n";
/// What is not mutated must hold for so many seeds first: a gate that stops everything is none.
const UNMUTATED_SEEDS: u64 = 300;
/// A mutant that goes in circles within one step is ended after so long.
const PROBE_MAX: Duration = Duration::from_secs(300);

/// Put known bugs into the core and the store, one at a time; the core tier must find each within its budget.
#[derive(Args)]
pub struct MutantsArgs {
    /// Only mutants whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

enum Verdict {
    Caught {
        seeds: u64,
        by: String,
        text: String,
    },
    Held,
    Broken(String),
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a mutant took is told to a human"
)]
fn wall() -> Instant {
    Instant::now()
}

/// Runs the gate; true if every mutant was caught within its budget.
pub fn run(args: &MutantsArgs) -> Result<bool> {
    let wanted = |mutant: &&Mutant| {
        let only = args.only.as_ref();
        only.is_none_or(|only| mutant.name.contains(only.as_str()))
    };
    let mutants: Vec<&Mutant> = all().filter(wanted).collect();
    let gate = Gate::prepare()?;
    let began = wall();
    gate.place(None)?;
    match gate.probe(UNMUTATED_SEEDS)? {
        Verdict::Held => {}
        Verdict::Caught { seeds, by, text } => {
            bail!("without any mutant, seed {seeds} fails: {by}: {text}")
        }
        Verdict::Broken(text) => bail!("without any mutant: {text}"),
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "without a mutant {UNMUTATED_SEEDS} seeds held\n")?;
    writeln!(
        out,
        "| mutant | what is wrong | found by | after seeds | budget | s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let mut caught = 0;
    for mutant in &mutants {
        let since = wall();
        gate.place(Some(mutant))?;
        let verdict = gate.probe(mutant.budget)?;
        caught += usize::from(matches!(verdict, Verdict::Caught { .. }));
        let (by, seeds) = match verdict {
            Verdict::Caught { seeds, by, .. } => (by, seeds.to_string()),
            Verdict::Held => ("NOTHING".into(), "–".into()),
            Verdict::Broken(text) => (format!("BROKEN: {text}"), "–".into()),
        };
        let Mutant {
            name,
            about,
            budget,
            ..
        } = mutant;
        let took = since.elapsed().as_secs_f64();
        writeln!(
            out,
            "| {name} | {about} | {by} | {seeds} | {budget} | {took:.0} |"
        )?;
    }
    gate.place(None)?;
    let took = began.elapsed().as_secs_f64();
    writeln!(
        out,
        "\n{caught} of {} caught, in {took:.0} s",
        mutants.len()
    )?;
    Ok(caught == mutants.len())
}

/// The tiny crate, and the texts it is made of.
struct Gate {
    directory: PathBuf,
    /// Path below the root, text.
    sources: Vec<(String, String)>,
}

impl Gate {
    fn prepare() -> Result<Self> {
        let root = Path::new(ROOT);
        let directory = root.join("target/mutants");
        let mut sources = Vec::new();
        for below in COPIED {
            read_rust(root, below, &mut sources)?;
        }
        let gate = Self { directory, sources };
        gate.write("Cargo.toml", MANIFEST)?;
        gate.write("probe.rs", PROBE)?;
        gate.write("src/lib.rs", LIBRARY)?;
        // The versions that ship; cargo leaves out what is not needed.
        let lock = gate.directory.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(root.join("Cargo.lock"), &lock).context("Cargo.lock")?;
        }
        Ok(gate)
    }

    /// Writes the sources, with a mutant's patches if there is one; what is the same is left alone.
    fn place(&self, mutant: Option<&Mutant>) -> Result<()> {
        for (path, text) in &self.sources {
            let patched = match mutant {
                Some(mutant) => mutant.patched(path, text).map_err(|error| anyhow!(error))?,
                None => text.clone(),
            };
            self.write(path, &patched)?;
        }
        Ok(())
    }

    fn write(&self, below: &str, text: &str) -> Result<()> {
        let path = self.directory.join(below);
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Builds what was placed and runs it.
    fn probe(&self, budget: u64) -> Result<Verdict> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--offline",
                "--quiet",
                "--bin",
                "probe",
                "--target-dir",
                "target",
            ])
            .current_dir(&self.directory)
            .output()
            .context("cannot run cargo")?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            let error = said.lines().find(|line| line.starts_with("error"));
            return Ok(Verdict::Broken(error.unwrap_or("it does not build").into()));
        }
        let child = Command::new(self.directory.join("target/debug/probe"))
            .arg(budget.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run the probe")?;
        Ok(read_verdict(&ended(child)?))
    }
}

/// What a process printed, or what it had when it was ended for taking too long.
fn ended(mut child: Child) -> Result<String> {
    let mut stdout = child.stdout.take().context("it is piped")?;
    std::thread::scope(|scope| {
        let (done, ends) = mpsc::channel();
        scope.spawn(move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text).map(|_| text);
            // Nobody listens any more only if this very thread was given up.
            let _ = done.send(read);
        });
        let read = if let Ok(read) = ends.recv_timeout(PROBE_MAX) {
            read
        } else {
            child.kill().context("cannot end the probe")?;
            ends.recv().context("the reader ends with the probe")?
        };
        child.wait().context("cannot wait for the probe")?;
        read.context("cannot read the probe")
    })
}

fn read_verdict(said: &str) -> Verdict {
    let mut words = said.trim().splitn(4, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("held"), None, None) => Verdict::Held,
        (Some("caught"), Some(seeds), Some(by)) => match seeds.parse() {
            Ok(seeds) => Verdict::Caught {
                seeds,
                by: by.into(),
                text: words.next().unwrap_or_default().into(),
            },
            Err(_) => Verdict::Broken(said.into()),
        },
        _ => Verdict::Broken("the probe died or took too long".into()),
    }
}

/// Every Rust file below a directory, as path below the root and text.
fn read_rust(root: &Path, below: &str, into: &mut Vec<(String, String)>) -> Result<()> {
    let directory = root.join(below);
    let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{below}/{}", name.to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_rust(root, &path, into)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            let text = fs::read_to_string(entry.path()).with_context(|| path.clone())?;
            into.push((path, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Product code changes; a mutant that no longer applies guards nothing.
    #[test]
    fn every_mutant_still_applies() {
        let mut sources = Vec::new();
        for below in COPIED {
            read_rust(Path::new(ROOT), below, &mut sources).unwrap();
        }
        let mut names = BTreeSet::new();
        for mutant in all() {
            assert!(names.insert(mutant.name), "two of {}", mutant.name);
            let files: BTreeSet<&str> = mutant.patches.iter().map(|patch| patch.0).collect();
            for file in files {
                let source = sources.iter().find(|(path, _)| path == file);
                let (_, text) = source.unwrap_or_else(|| panic!("{}: no {file}", mutant.name));
                let patched = mutant.patched(file, text).unwrap();
                assert_ne!(patched, *text, "{} changes nothing", mutant.name);
            }
        }
        assert!(names.len() >= 25, "only {} mutants", names.len());
    }

    #[test]
    fn a_text_that_is_gone_or_there_twice_is_refused() {
        let mutant = Mutant {
            name: "m",
            about: "",
            budget: 1,
            patches: &[("f", "a", "b")],
        };
        assert_eq!(mutant.patched("f", "xay").unwrap(), "xby");
        assert_eq!(mutant.patched("other", "aa").unwrap(), "aa");
        assert!(mutant.patched("f", "xy").is_err());
        assert!(mutant.patched("f", "aa").is_err());
    }
}
