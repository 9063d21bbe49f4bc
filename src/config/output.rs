//! How a command answers.

/// Who reads the answer.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Output {
    /// Prints one JSON value on standard output, and a failure as {"error":{"code","message"}} on standard error.
    /// Without it: tables for people.
    #[arg(long)]
    pub json: bool,
}
