//! The golden vectors: what any client may rely on, request by request.

use std::collections::BTreeSet;

use crate::harness::{codes_of, seen};

#[tokio::test]
async fn every_vector_is_answered_as_it_says() {
    let mut differences = Vec::new();
    for seen in seen().await {
        differences.extend(seen.differences());
        assert_eq!(seen.reply.headers.contains_key("access-control-allow-origin"), seen.is_of_intake());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn every_code_that_the_service_counts_has_a_vector() {
    let seen = seen().await;
    let metrics = seen.iter().find(|seen| seen.vector.request.path == "/metrics" && !seen.is_of_intake());
    let metrics = String::from_utf8_lossy(&metrics.expect("a vector scrapes").reply.body).into_owned();
    let (problems, refusals) = codes_of(&metrics);
    assert_eq!((problems.len(), refusals.len()), (19, 11));
    let met = |pointer: &'static str| -> BTreeSet<String> {
        let bodies = seen.iter().map(|seen| &seen.reply.json);
        let codes = bodies.flat_map(move |json| match pointer {
            "code" => vec![&json["code"]],
            _ => json["results"].as_array().into_iter().flatten().map(|line| &line["code"]).collect(),
        });
        codes.filter_map(|code| code.as_str().map(str::to_owned)).collect()
    };
    assert_eq!(met("code"), problems);
    // These two are verdicts of their own and no rejections.
    let events = refusals.into_iter().chain(["duplicate".to_owned(), "unavailable".to_owned()]).collect();
    assert_eq!(met("results"), events);
}
