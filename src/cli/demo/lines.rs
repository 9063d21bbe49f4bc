//! The demo where output is no terminal: a plain line a second.

use std::fmt::Write as _;

use super::picture::Picture;

/// One line about now.
pub(super) fn line(picture: &Picture) -> String {
    let [accepted, stored, duplicate, rejected, held] = picture.totals();
    let mut line = format!(
        "{:>4} s  accepted {accepted}  stored {stored}  duplicate {duplicate}  rejected {rejected}  held {held}",
        picture.elapsed.as_secs()
    );
    if let (Some(half), Some(most)) = (picture.freshness(0.5), picture.freshness(0.99)) {
        let _ = write!(line, "  fresh p50 {} p99 {}", duration(half), duration(most));
    }
    let rates = (0..picture.names.len()).map(|at| format!("{} {}/s", picture.names[at], picture.rate(at)));
    let _ = write!(line, "  ({})", rates.collect::<Vec<_>>().join(", "));
    line
}

/// A duration as people read it.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

/// Bytes as people read them.
pub(super) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = bytes as f64 / 1_048_576.0;
    if mib < 10.0 { format!("{mib:.1} MiB") } else { format!("{mib:.0} MiB") }
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1 000", "1 234 567"]
        );
        assert_eq!([duration(0.0126), duration(1.26)], ["13 ms", "1.3 s"]);
        assert_eq!([bytes(0), bytes(5 << 20), bytes(256 << 20)], ["0.0 MiB", "5.0 MiB", "256 MiB"]);
    }
}
