//! The reports: what keeping, reading and exporting them costs, each figure beside what it should be.
//!
//! Not a criterion bench: it leaves tables. Events are those of simulated viewers, loaded as the loader does it, one
//! organization; Postgres is the one that `TEST_POSTGRES_URL` names, in databases of the bench's own. Where a limit can be
//! measured it is, in the same run. CPU is the server's for the connections that do the work, in seconds for a million events:
//! on a machine where others work it says more than a rate.
//!
//! `./dev bench --bench report` takes about four minutes; `-- --full` reads ten million events instead of one.

#[path = "../report.rs"]
mod report;
#[path = "../loading/site.rs"]
mod site;

mod exporting;
mod keeping;
mod loading;
mod process;
mod reading;

use anyhow::Result;
use report::Section;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let says = |wanted: &str| words.iter().any(|word| word == wanted);
    let is_full = says("--full");
    // All parts, unless some are named: `-- lag`.
    let wants = |part: &str| says(part) || !["costs", "lag", "reading"].into_iter().any(says);
    let mut section = Section::default();
    section.line("## Reports");
    section.line("");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        if wants("costs") {
            keeping::costs(&mut section).await?;
        }
        if wants("lag") {
            keeping::lag(&mut section).await?;
        }
        if wants("reading") {
            let events = if is_full { 10_000_000 } else { 1_000_000 };
            reading::many(&mut section, events).await?;
        }
        anyhow::Ok(())
    })?;
    section.leave_as("report");
    Ok(())
}
