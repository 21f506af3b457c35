//! The `kagero` program: hands the command line to [`kagero::cli`].

use std::process::ExitCode;

/// Gives freed memory back to the system better than the C library's allocator, which a node that runs for months
/// and deletes what it stored depends on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: a pause process stays for as long as its pod, so every page it has touched stays too.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "pause")
    {
        kagero::cli::pause::pause();
        return ExitCode::SUCCESS;
    }
    kagero::cli::main(std::env::args_os().collect())
}
