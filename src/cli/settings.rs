//! Where an option's value comes from: the flag, else the `KAGERO_*` variable, else the YAML file of `--config`.
//!
//! The file's keys are the flags' names. Its values go through the flags' own parsers: the command line is simply
//! parsed again with what only the file says added, so a bad value is refused in the same words wherever it stands.
//! Deliberately without a second list of settings.

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_yaml_ng::{Mapping, Value};

use super::Cli;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Clap's own: bad usage, or `--help`.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("--config {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// The reason.
        error: std::io::Error,
    },
    /// The file is not YAML.
    #[error("--config {path}: not valid YAML: {error}")]
    Yaml {
        /// The file.
        path: String,
        /// The reason, with line and column.
        error: serde_yaml_ng::Error,
    },
    /// The file is not a mapping, or says something that is no setting.
    #[error("--config {path}: {problem}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that the flag's parser refuses.
    #[error("--config {path}: {error}")]
    Value {
        /// The file.
        path: String,
        /// The flag's own words.
        error: clap::Error,
    },
}

/// Parses a command line, its environment and its configuration file.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, SettingsError> {
    let matches = Cli::command().try_get_matches_from(&arguments)?;
    let Some((name, sub)) = matches.subcommand() else {
        return Ok(Cli::from_arg_matches(&matches)?);
    };
    let Ok(Some(path)) = sub.try_get_one::<std::path::PathBuf>("config") else {
        let mut cli = Cli::from_arg_matches(&matches)?;
        if let super::Command::Status(status) = &mut cli.command {
            status.choose(sub)?;
        }
        return Ok(cli);
    };
    let root = Cli::command();
    let command = root
        .find_subcommand(name)
        .expect("clap matched a subcommand that it does not have");
    let added = from_file(path, command, sub)?;
    let path = path.display().to_string();
    let again = Cli::command().try_get_matches_from(arguments.into_iter().chain(added));
    let again = again.map_err(|error| SettingsError::Value { path, error })?;
    Ok(Cli::from_arg_matches(&again)?)
}

/// The file's settings as arguments, without those that the command line or the environment already gives.
fn from_file(
    path: &Path,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, SettingsError> {
    let shown = path.display().to_string();
    let content = |problem: String| SettingsError::Content {
        path: shown.clone(),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read {
        path: shown.clone(),
        error,
    })?;
    let file: Value = serde_yaml_ng::from_str(&text).map_err(|error| SettingsError::Yaml {
        path: shown.clone(),
        error,
    })?;
    let file = match file {
        Value::Null => Mapping::new(),
        Value::Mapping(file) => file,
        _ => return Err(content("expected a mapping of settings".into())),
    };
    let mut arguments = Vec::new();
    for (key, value) in &file {
        let key = key
            .as_str()
            .ok_or_else(|| content(format!("not a setting's name: {key:?}")))?;
        let argument = setting(command, key)
            .ok_or_else(|| content(format!("unknown setting `{key}`; {}", known(command))))?;
        let source = given.value_source(argument.get_id().as_str());
        if matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) {
            continue;
        }
        let takes_value = argument.get_action().takes_values();
        let words = words(key, value, takes_value).map_err(content)?;
        arguments.extend(words.map(OsString::from));
    }
    Ok(arguments)
}

/// The option that a key names, if a file may set it.
fn setting<'a>(command: &'a Command, key: &str) -> Option<&'a clap::Arg> {
    let named = |argument: &&clap::Arg| argument.get_long() == Some(key);
    let argument = command.get_arguments().find(named)?;
    (!["config", "help", "version"].contains(&key)).then_some(argument)
}

fn known(command: &Command) -> String {
    let visible = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    let names = visible.filter_map(clap::Arg::get_long);
    let names: Vec<_> = names
        .filter(|name| setting(command, name).is_some())
        .collect();
    format!("known: {}", names.join(", "))
}

/// `key: value` as an argument: lists and mappings become what the flag takes on a command line.
fn words(key: &str, value: &Value, takes_value: bool) -> Result<Option<String>, String> {
    let wrong = |expected: &str| Err(format!("`{key}`: expected {expected}"));
    if !takes_value {
        return match value {
            Value::Bool(true) => Ok(Some(format!("--{key}"))),
            Value::Bool(false) => Ok(None),
            _ => wrong("true or false"),
        };
    }
    let text = match value {
        Value::Sequence(items) => {
            let items: Option<Vec<_>> = items.iter().map(scalar).collect();
            items.map(|items| items.join(","))
        }
        Value::Mapping(pairs) => {
            let pair = |(key, value): (&Value, &Value)| {
                Some(format!("{}={}", scalar(key)?, scalar(value)?))
            };
            let pairs: Option<Vec<_>> = pairs.iter().map(pair).collect();
            pairs.map(|pairs| pairs.join(","))
        }
        one => scalar(one),
    };
    match text {
        Some(text) => Ok(Some(format!("--{key}={text}"))),
        None => wrong("a text or number, or a list or mapping of such"),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::Command as Kagero;
    use crate::cli::run::RunArgs;

    fn run(file: &str, flags: &[&str]) -> Result<RunArgs, SettingsError> {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let mut arguments: Vec<OsString> = ["kagero", "run", "--config"].map(Into::into).into();
        arguments.push(config.path().into());
        arguments.extend(flags.iter().map(Into::into));
        match parse(arguments)?.command {
            Kagero::Run(run) => Ok(*run),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_file_fills_in_what_no_flag_says() {
        let file = "name: from-file\nvoters: 5\nseeds: [a:1, b:2]\nnode-labels: {zone: z1, disk: none}\ninit: true\n";
        let run = run(file, &["--name", "from-flag"]).unwrap();
        assert_eq!(run.name.as_deref(), Some("from-flag"));
        assert_eq!(run.voters, 5);
        assert_eq!(run.seeds, ["a:1", "b:2"]);
        assert_eq!(run.labels()["disk"], "none");
        assert!(run.init);
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(run("# nothing yet\n", &[]).unwrap().voters, 3);
    }

    #[test]
    fn a_bad_value_names_file_flag_and_value() {
        let error = run("voters: 2\n", &[]).unwrap_err().to_string();
        for part in ["--config", "--voters", "'2'", "1, 3 or 5"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_known_ones() {
        let error = run("voter_count: 3\n", &[]).unwrap_err().to_string();
        assert!(error.contains("unknown setting `voter_count`"), "{error}");
        assert!(error.contains("voters"), "{error}");
        for hidden in ["config, ", "machine-id", "boot-id", "die-with-parent"] {
            assert!(!error.contains(hidden), "{error}");
        }
    }

    #[test]
    fn a_switch_wants_a_truth_and_a_value_no_tree() {
        let error = run("init: maybe\n", &[]).unwrap_err().to_string();
        assert!(error.contains("`init`: expected true or false"), "{error}");
        let error = run("name: {a: [b]}\n", &[]).unwrap_err().to_string();
        assert!(error.contains("`name`: expected"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let arguments = ["kagero", "run", "--config", "/nowhere/kagero.yaml"];
        let error = parse(arguments.map(Into::into).into()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/nowhere/kagero.yaml"), "{error}");
    }

    const SAMPLE: &str = include_str!("../../deploy/config.yaml");

    /// The sample with its settings uncommented.
    fn sample_in_full() -> String {
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
                setting.to_owned()
            }
            _ => line.to_owned(),
        };
        SAMPLE
            .lines()
            .map(uncommented)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_sample_names_every_setting_and_parses_as_it_is_and_in_full() {
        run(SAMPLE, &[]).unwrap();
        run(&sample_in_full(), &[]).unwrap();
        let root = Cli::command();
        let command = root.find_subcommand("run").unwrap();
        let visible = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        let names =
            visible.filter_map(|argument| setting(command, argument.get_long()?)?.get_long());
        let file: Mapping = serde_yaml_ng::from_str(&sample_in_full()).unwrap();
        for name in names {
            assert!(file.contains_key(name), "deploy/config.yaml lacks `{name}`");
        }
    }

    #[test]
    fn the_sample_shows_the_defaults() {
        let root = Cli::command();
        let command = root.find_subcommand("run").unwrap();
        let file: Mapping = serde_yaml_ng::from_str(&sample_in_full()).unwrap();
        for (key, value) in &file {
            let argument = setting(command, key.as_str().unwrap()).unwrap();
            let shown = scalar(value);
            let default = argument
                .get_default_values()
                .first()
                .map(|value| value.to_str().unwrap());
            if argument.get_action().takes_values() && default.is_some() {
                assert_eq!(shown.as_deref(), default, "{key:?}");
            }
        }
    }
}
