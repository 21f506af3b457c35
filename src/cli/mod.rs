//! The commands: `run`, `dev`, `demo`, `status`, `evict`, `recover` and the small ones beside them.
//!
//! Everything here is a client of the rooms above: `run` composes a node, the others start `run` as processes and
//! speak HTTP to them like any other client. Deliberately without a private way into a node.

pub mod client;
mod cluster;
mod demo;
mod dev;
mod edges;
mod evict;
mod kubeconfig;
mod leftovers;
mod machine;
mod manifests;
mod news;
pub mod pause;
mod progress;
mod recover;
pub mod run;
mod settings;
mod signals;
mod status;
pub mod web;

use std::ffi::OsString;
use std::fmt::Display;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::net::Ipv6Addr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Exit code of a command that could not do what it was asked.
const FAILED: u8 = 1;
/// Exit code of a command line or configuration that makes no sense.
const USAGE: u8 = 2;

const EXAMPLES: &str = "Examples:
  kagero demo                      see a cluster lose its leader and carry on
  kagero dev                       a cluster on this machine, until Ctrl-C
  kagero run --name n1 --listen 127.0.0.1:7443 --api 127.0.0.1:6443 --init
  kagero status -o json
  kagero completion bash > /etc/bash_completion.d/kagero

Exit codes: 0 done, 1 failed, 2 bad usage or configuration.";

/// Runs containers on machines that won't last: Kubernetes' API, a control plane in memory.
#[derive(Debug, Parser)]
#[command(name = "kagero", version, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Run a cluster of node processes on this machine, until Ctrl-C
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
    /// Start a cluster, run pods on it, kill its leader's machine and watch it heal
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Show a cluster's members, nodes and pods
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// Announce that a node's machine will be taken away
    #[command(after_help = evict::EXAMPLES)]
    Evict(evict::EvictArgs),
    /// Bring a cluster back that has lost a majority of its voters for good
    #[command(after_help = recover::EXAMPLES)]
    Recover(recover::RecoverArgs),
    /// Print a shell's completion script: bash, zsh, fish, elvish or powershell
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the version
    Version,
    /// What holds a pod's namespaces open (the entry point of its image)
    #[command(hide = true)]
    Pause,
    /// The demo's web server
    #[command(hide = true)]
    Web {
        /// Port to serve at; 0 picks a free one.
        #[arg(long, env = "PORT", default_value_t = 8080)]
        port: u16,
    },
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// `docker`; in `dev` and `demo`, `process` where no Docker engine answers
    Auto,
    /// Containers, by the Docker engine's API
    Docker,
    /// Plain processes of this host, not isolated
    Process,
}

/// Parses a command line, carries it out, and says how it went.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let cli = match settings::parse(arguments) {
        Ok(cli) => cli,
        Err(settings::SettingsError::Usage(said)) => {
            let code = u8::try_from(said.exit_code()).unwrap_or(USAGE);
            // Help goes to standard output, the rest to standard error; a closed pipe is the reader's choice.
            let _ = said.print();
            return code.into();
        }
        Err(error) => {
            tell(format_args!("error: {error}"));
            return USAGE.into();
        }
    };
    match cli.command {
        Command::Run(arguments) => arguments.execute(),
        Command::Dev(arguments) => in_system(arguments.execute()),
        Command::Demo(arguments) => match arguments.check() {
            Ok(()) => in_system(arguments.execute()),
            Err(problem) => {
                tell(format_args!("error: {problem}"));
                USAGE.into()
            }
        },
        Command::Status(arguments) => in_system(arguments.execute()),
        Command::Evict(arguments) => in_system(arguments.execute()),
        Command::Recover(arguments) => arguments.execute(),
        Command::Completion { shell } => {
            // By way of memory: it panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kagero", &mut script);
            print(String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        Command::Version => {
            print(concat!("kagero ", env!("CARGO_PKG_VERSION"), "\n"));
            ExitCode::SUCCESS
        }
        Command::Pause => {
            pause::pause();
            ExitCode::SUCCESS
        }
        Command::Web { port } => in_system(async move { Ok(web::web(port).await?) }),
    }
}

/// Runs a command to its end inside an actix system and reports its failure.
fn in_system(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match actix_rt::System::new().block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("error: {error:#}"));
            FAILED.into()
        }
    }
}

/// A line for people, on standard error. Nobody may be reading any more, which is no reason to end (`eprintln!` panics).
fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A result, on standard output. A reader that has seen enough closes it; [`tell`] says why that ends nothing.
fn print(result: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{result}").and_then(|()| out.flush());
}

/// A runtime as `--runtime` takes it.
fn flag(runtime: RuntimeChoice) -> String {
    let value = runtime.to_possible_value();
    value.expect("no choice is skipped").get_name().to_owned()
}

/// Whether standard error may be coloured and redrawn: <https://no-color.org>.
fn colourful() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

/// `host:port`, as every address flag takes it.
fn address(text: &str) -> Result<String, String> {
    let expected = "expected HOST:PORT, e.g. 127.0.0.1:7443, [::1]:7443 or n1.example:7443";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    let within = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = within.map_or_else(
        || !host.is_empty() && host.chars().all(inner),
        |ip| ip.parse::<Ipv6Addr>().is_ok(),
    );
    if !is_host {
        return Err(expected.into());
    }
    let port: Result<u16, _> = port.parse();
    port.map(|_| text.to_owned()).map_err(|_| {
        format!(
            "`{}` is no port (0 to 65535)",
            text.rsplit(':').next().unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_need_host_and_port() {
        for good in ["127.0.0.1:0", "[::1]:7443", "n1.example:65535"] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
        for bad in [
            "7443",
            ":7443",
            "n1",
            "n1:",
            "n1:65536",
            "::1:7443",
            "n1:http",
            "a b:1",
            "[n1]:1",
            "[]:1",
            "http://n1:1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
