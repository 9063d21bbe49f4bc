//! What a bench found: printed, and left as a section for `docs/performance.md`.

use std::fmt::Write as _;

/// The folder into which `./dev bench` gathers sections.
const FOLDER: &str = "TEST_BENCH_SECTIONS";

/// A section in Markdown, printed line by line as it grows.
#[derive(Debug, Default)]
pub(crate) struct Section {
    text: String,
}

impl Section {
    /// A line of text, or of a table.
    #[allow(clippy::print_stdout, reason = "a bench prints what it measured")]
    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        let _infallible = writeln!(self.text, "{line}");
    }

    /// The head of a table.
    pub(crate) fn head(&mut self, columns: &[&str]) {
        self.line(&format!("| {} |", columns.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(columns.len())));
    }

    /// A line of a table.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    /// Leaves the section where `./dev bench` looks for it, if that is who runs the bench.
    pub(crate) fn leave_as(self, name: &str) {
        if let Some(folder) = std::env::var_os(FOLDER) {
            let path = std::path::Path::new(&folder).join(format!("{name}.md"));
            std::fs::write(&path, self.text).expect("the folder that ./dev made can be written to");
        }
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
