//! The command line of aether, see [`aether::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    aether::cli::main()
}
