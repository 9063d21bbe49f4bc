//! The same batches before either log, in turn.

use super::batches::{Case, Form, Packing};
use super::client::{Load, Measured};
use super::report::{Section, median};
use super::server::{Kind, Process};
use super::{MEASURED, WARM_UP};

const ROUNDS: usize = 5;
const CASES: [Case; 2] = [
    Case { events: 50, form: Form::Json, packing: Packing::Plain },
    Case { events: 1, form: Form::Json, packing: Packing::Plain },
];

/// Intake before Kafka, which runs, and one that keeps its log itself.
pub(crate) async fn compare(kafka: &Process, section: &mut Section) -> anyhow::Result<()> {
    let cases: Vec<Case> = CASES.into_iter().filter(Case::is_asked_for).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let embedded = Process::start(Kind::Embedded).await?;
    section.line("### The embedded log, and Kafka\n");
    section.line(
        "The same clients and batches before each log in turn. CPU counts the broker's process, too; the embedded log has no other process.",
    );
    section.line("Ratios are the embedded log's figure to Kafka's, round by round.\n");
    section.head(&[
        "form / events",
        "events/s embedded",
        "Kafka",
        "ratio",
        "CPU s a million events embedded",
        "Kafka",
        "of it the broker",
        "ratio",
        "p50 ms embedded",
        "Kafka",
        "ratio",
    ]);
    for case in cases {
        let (mut own, mut brokered) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            own.push(Load::new(&case, &embedded).run(&embedded, WARM_UP, MEASURED).await?);
            brokered.push(Load::new(&case, kafka).run(kafka, WARM_UP, MEASURED).await?);
        }
        let of = |side: &[Measured], figure: fn(&Measured) -> f64| median(side.iter().map(figure).collect());
        let ratio = |figure: fn(&Measured) -> f64| {
            median(own.iter().zip(&brokered).map(|(own, brokered)| figure(own) / figure(brokered)).collect())
        };
        section.row(&[
            case.name(),
            format!("{:.0}", of(&own, |m| m.events_a_second)),
            format!("{:.0}", of(&brokered, |m| m.events_a_second)),
            format!("{:.2}", ratio(|m| m.events_a_second)),
            format!("{:.2}", of(&own, |m| m.cpu_seconds_with_log)),
            format!("{:.2}", of(&brokered, |m| m.cpu_seconds_with_log)),
            format!("{:.2}", of(&brokered, |m| m.cpu_seconds_with_log - m.cpu_seconds_a_million)),
            format!("{:.2}", ratio(|m| m.cpu_seconds_with_log)),
            format!("{:.2}", of(&own, |m| m.p50_ms)),
            format!("{:.2}", of(&brokered, |m| m.p50_ms)),
            format!("{:.2}", ratio(|m| m.p50_ms)),
        ]);
    }
    section.line("");
    Ok(())
}
