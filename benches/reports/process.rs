//! What processes use, as Linux tells it.

use std::fs;

use anyhow::{Context as _, Result};

/// CPU that a process has used, in seconds.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the CPU of a process")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap_or_default()).sum();
    Ok(f64::from(ticks) / TICKS_A_SECOND)
}

/// Forgets the peak of this process's memory.
pub(crate) fn forget_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("forgetting the peak of memory")
}

/// This process's memory: `VmRSS`, or its peak, `VmHWM`.
pub(crate) fn memory_mib(name: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).context("memory")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// As a float: counts here are far below 2^52.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}
