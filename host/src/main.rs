//! The command line of aether, see [`aether::cli`].

use std::process::ExitCode;

/// Only the program has it: who embeds the library chooses for himself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    aether::cli::main()
}
