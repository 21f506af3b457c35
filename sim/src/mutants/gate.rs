//! `sim mutants`: builds each mutant, runs its seeds, and prints the table of what found it, and of what each property
//! finds alone.
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

use super::alone::{Alone, Found, SILENT, cell, meant, read};
use super::{Mutant, all};
use crate::core::checkers::PROPERTIES;

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What is copied: everything a mutant may be made of, and what finds it.
const COPIED: [&str; 3] = ["src/raft", "src/store", "sim/src/core"];
const MANIFEST: &str = include_str!("Cargo.toml.in");
const PROBE: &str = include_str!("probe.rs");
const LIBRARY: &str = include_str!("library.rs.in");
/// What is not mutated must hold for so many seeds first: a gate that stops everything is none.
const UNMUTATED_SEEDS: u64 = 300;
/// So many seeds are played on, each to its end, to see what each property finds alone; more, up to the mutant's budget,
/// where a property that must find it has not.
const ALONE_SEEDS: u64 = 30;
/// A mutant that goes in circles within one step is ended after so long.
const PROBE_MAX: Duration = Duration::from_secs(300);

/// Put known bugs into the core and the store, one at a time; the core tier must find each within its budget.
#[derive(Args)]
pub struct MutantsArgs {
    /// Only mutants whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Judge this property alone, with the assertions of core and store off: which mutants does it find?
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PROPERTIES))]
    property: Option<String>,
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

/// Runs the gate; true if every mutant was caught within its budget, and every property found something alone.
pub fn run(args: &MutantsArgs) -> Result<bool> {
    let wanted = |mutant: &&Mutant| {
        let only = args.only.as_ref();
        only.is_none_or(|only| mutant.name.contains(only.as_str()))
    };
    let mutants: Vec<&Mutant> = all().filter(wanted).collect();
    let gate = Gate::prepare()?;
    let began = wall();
    gate.hold_unmutated()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "without a mutant {UNMUTATED_SEEDS} seeds held\n")?;
    writeln!(
        out,
        "| mutant | what is wrong | found by | after seeds | budget | each alone | s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let (mut caught, mut alone) = (0, Alone::default());
    for mutant in &mutants {
        let since = wall();
        gate.place(Some(mutant))?;
        let verdict = gate.build_and_probe(mutant.budget, args.property.as_deref())?;
        caught += usize::from(matches!(verdict, Verdict::Caught { .. }));
        let built = !matches!(verdict, Verdict::Broken(_));
        let found = if built && args.property.is_none() {
            gate.probe_alone(mutant)?
        } else {
            Found::new()
        };
        if args.property.is_none() {
            alone.add(mutant.name, &found);
        }
        let took = since.elapsed().as_secs_f64();
        writeln!(out, "{}", row(mutant, verdict, &found, took))?;
    }
    gate.place(None)?;
    let took = began.elapsed().as_secs_f64();
    let count = mutants.len();
    if let Some(property) = &args.property {
        writeln!(
            out,
            "\n{property} finds {caught} of {count} alone, in {took:.0} s"
        )?;
        return Ok(caught > 0);
    }
    writeln!(out, "\n{}", alone.table().join("\n"))?;
    for (property, reason) in SILENT {
        writeln!(out, "{property} finds none alone: {reason}")?;
    }
    let failures = alone.failures(args.only.is_none());
    for failure in &failures {
        writeln!(out, "FAILED: {failure}")?;
    }
    writeln!(out, "\n{caught} of {count} caught, in {took:.0} s")?;
    Ok(caught == count && failures.is_empty())
}

/// A mutant's line of the table.
fn row(mutant: &Mutant, verdict: Verdict, found: &Found, took: f64) -> String {
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
    let each = cell(found);
    format!("| {name} | {about} | {by} | {seeds} | {budget} | {each} | {took:.0} |")
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

    /// What is not mutated holds, with its assertions and without.
    fn hold_unmutated(&self) -> Result<()> {
        self.place(None)?;
        match self.build_and_probe(UNMUTATED_SEEDS, None)? {
            Verdict::Held => {}
            Verdict::Caught { seeds, by, text } => {
                bail!("without any mutant, seed {seeds} fails: {by}: {text}")
            }
            Verdict::Broken(text) => bail!("without any mutant: {text}"),
        }
        let seeds = UNMUTATED_SEEDS.to_string();
        let said = self.start(&[&seeds, "--alone", &seeds])?;
        match read(&said) {
            Some(found) if found.is_empty() => Ok(()),
            Some(found) => bail!("without any mutant: {}", cell(&found)),
            None => bail!("without any mutant the probe died: {said}"),
        }
    }

    /// Builds what was placed and runs it; all properties and assertions, or one property alone.
    fn build_and_probe(&self, budget: u64, only: Option<&str>) -> Result<Verdict> {
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
        let budget = budget.to_string();
        let said = match only {
            Some(property) => self.start(&[&budget, "--only", property])?,
            None => self.start(&[&budget])?,
        };
        Ok(read_verdict(&said))
    }

    /// Runs what was built once more, with its assertions off: which property finds it, after how many seeds?
    fn probe_alone(&self, mutant: &Mutant) -> Result<Found> {
        let (budget, least) = (
            mutant.budget.max(ALONE_SEEDS).to_string(),
            ALONE_SEEDS.to_string(),
        );
        let mut arguments = vec![budget.as_str(), "--alone", &least];
        for property in meant(mutant.name) {
            arguments.push(property);
        }
        // A probe that dies has found nothing.
        Ok(read(&self.start(&arguments)?).unwrap_or_default())
    }

    /// What the probe prints.
    fn start(&self, arguments: &[&str]) -> Result<String> {
        let child = Command::new(self.directory.join("target/debug/probe"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run the probe")?;
        ended(child)
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
