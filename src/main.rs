//! The `kagero` program: parses the command line and runs a command of [`kagero::cli`].

fn main() {}
