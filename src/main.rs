//! Gathers arguments, calls the command, turns the result into an exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let variables = std::env::vars_os().map(|(name, _)| name);
    let code = match rollbook::cli::run(&arguments, variables).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&arguments),
    };
    rollbook::ops::stderr::flush();
    code
}
