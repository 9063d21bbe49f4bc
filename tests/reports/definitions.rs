//! One test for each edge of a definition.

use tokio_postgres::Client;

use super::{Row, a_site, catch_up, differences, insert};

/// Rows of a query as text, after these events.
async fn after(rows: &[Row], sql: &str) -> Vec<String> {
    let (site, reports) = a_site().await;
    let superuser = site.superuser().await;
    superuser.batch_execute(&insert(rows)).await.expect("rows");
    catch_up(&reports, &site.loader().await).await;
    assert_eq!(differences(&superuser, "0.9").await, Vec::<String>::new());
    texts(&superuser, sql).await
}

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Columns of a view, a row a text, `-` for NULL.
macro_rules! columns {
    ($view:literal, $($column:literal),+ $(,)?) => {
        concat!("SELECT concat_ws('|'", $(", coalesce((", $column, ")::text, '-')"),+, ") FROM org_acme.", $view, " ORDER BY 1")
    };
}

const CURVE: &str =
    columns!("report_retention", "content_id", "lpad(second::text, 3, '0')", "viewers", "times");

#[tokio::test]
async fn a_second_is_watched_by_what_contains_its_middle() {
    // [499, 501) has 500, and so second 0; [501, 1500) has neither 500 nor 1500; [1500, 1501) has second 1.
    let rows = [
        Row::watched(&[(499, 501)]).of("a"),
        Row::watched(&[(501, 1500)]).of("b"),
        Row::watched(&[(1500, 1501)]).of("c"),
        Row::watched(&[(0, 500)]).of("d"),
        Row::watched(&[(0, 501)]).of("e"),
    ];
    assert_eq!(after(&rows, CURVE).await, ["a|000|1|1", "c|000|0|0", "c|001|1|1", "e|000|1|1"]);
}

#[tokio::test]
async fn a_second_that_two_intervals_share_is_the_unions_though_neither_has_its_middle_alone_only_if_the_union_has()
 {
    let rows = [Row::watched(&[(0, 400), (400, 600)]), Row::watched(&[(1000, 1400), (1600, 2000)])];
    assert_eq!(after(&rows, CURVE).await, ["c|000|1|1"], "second 1 has a hole in its middle");
}

#[tokio::test]
async fn re_watching_counts_as_often_as_it_was_sent_and_a_viewer_once() {
    let rows = [
        Row::watched(&[(0, 2000), (0, 1000)]),
        Row::watched(&[(0, 1000)]),
        Row::watched(&[(1000, 4000)]).by("w"),
    ];
    assert_eq!(after(&rows, CURVE).await, ["c|000|1|3", "c|001|2|2", "c|002|1|1", "c|003|1|1"]);
}

#[tokio::test]
async fn a_curve_begins_at_0_has_its_gaps_and_ends_with_what_was_watched() {
    let rows = [Row::watched(&[(2000, 3000), (5000, 6000), (9000, 9000)])];
    let curve = after(&rows, CURVE).await;
    assert_eq!(curve, ["c|000|0|0", "c|001|0|0", "c|002|1|1", "c|003|0|0", "c|004|0|0", "c|005|1|1"]);
}

#[tokio::test]
async fn empty_intervals_and_events_without_any_leave_a_row_of_nothing() {
    let rows = [Row::watched(&[]), Row::watched(&[(700, 700)]).by("w"), Row::new("video.played").by("x")];
    let viewing = columns!(
        "report_viewing",
        "viewer_id",
        "watched",
        "unique_ms",
        "watched_ms",
        "plays",
        "completion",
        "completed"
    );
    assert_eq!(
        after(&rows, viewing).await,
        ["v|{}|0|0|0|-|false", "w|{}|0|0|0|-|false", "x|{}|0|0|1|-|false"]
    );
}

/// Intake writes one list without holes, of days that there are, and of two days of a video at most.
#[tokio::test]
async fn what_a_hand_wrote_is_counted_as_far_as_it_says_something() {
    let by_hand = |watched: &str| Row { watched: Some(watched.to_owned()), ..Row::new("video.heartbeat") };
    let rows = [
        by_hand(r#"{{"[0,1000)","[2000,3000)"},{"[500,900)",NULL}}"#).of("square"),
        by_hand(r#"{NULL,empty,"(0,1000]"}"#).of("holes"),
        Row::watched(&[(0, 1000)]).of("always").at("infinity"),
        Row::watched(&[(-1000, 5000), (-9000, -5000)]).of("before"),
    ];
    let content =
        columns!("report_content", "content_id", "unique_ms", "watched_ms", "answers", "items", "last_at");
    assert_eq!(
        after(&rows, content).await,
        [
            "always|1000|1000|0|0|infinity",
            "before|10000|10000|0|0|2026-11-22 12:00:00+00",
            "holes|1000|1000|0|0|2026-11-22 12:00:00+00",
            "square|2000|2400|0|0|2026-11-22 12:00:00+00",
        ]
    );
}

#[tokio::test]
async fn two_days_of_one_interval_are_two_rows_that_are_kept() {
    let (site, reports) = a_site().await;
    site.execute(&insert(&[Row::watched(&[(0, 172_800_000)])])).await;
    catch_up(&reports, &site.loader().await).await;
    assert_eq!(site.number("SELECT sum(cardinality(seconds))::bigint FROM org_acme.report_curve").await, 2);
    assert_eq!(site.number("SELECT count(*) FROM org_acme.report_retention").await, 172_800);

    // Longer than intake takes.
    site.execute(&insert(&[Row::watched(&[(i32::MIN, 200_000_000)]), Row::ready(9_000_000_000)])).await;
    catch_up(&reports, &site.loader().await).await;
    let content = columns!("report_content", "unique_ms", "watched_ms", "duration_ms");
    assert_eq!(site.texts(content).await, ["2347483648|2520283648|9000000000"]);
    assert_eq!(site.number("SELECT count(*) FROM org_acme.report_retention").await, 200_000);
}

#[tokio::test]
async fn the_duration_is_the_greatest_that_was_told_and_0_is_none() {
    let watched = |viewer| Row::watched(&[(0, 900)]).by(viewer);
    let rows = [
        Row::ready(1000).of("a"),
        Row::ready(2000).of("a"),
        watched("v").of("a"),
        Row::ready(0).of("b"),
        watched("v").of("b"),
        watched("v").of("n"),
    ];
    let content =
        columns!("report_content", "content_id", "duration_ms", "average_completion", "completed_viewers");
    assert_eq!(after(&rows, content).await, ["a|2000|0.45|0", "b|0|-|0", "n|-|-|0"]);
}

#[tokio::test]
async fn completion_is_decimal_and_at_most_1() {
    let rows = [
        Row::ready(10),
        Row::watched(&[(0, 9)]).by("just"),
        Row::watched(&[(0, 8)]).by("not"),
        Row::watched(&[(0, 30)]).by("over"),
    ];
    let viewing = columns!("report_viewing", "viewer_id", "completion", "completed");
    let found = after(&rows, viewing).await;
    assert_eq!(found, ["just|0.9|true", "not|0.8|false", "over|1|true", "v|0|false"]);
}

#[tokio::test]
async fn a_late_duration_and_another_threshold_judge_all_viewers_again() {
    let (site, reports) = a_site().await;
    let (superuser, loader) = (site.superuser().await, site.loader().await);
    let content = columns!("report_content", "duration_ms", "completed_viewers", "average_completion");
    for (rows, expected) in [
        (vec![Row::watched(&[(0, 700)]), Row::watched(&[(0, 800)]).by("w")], "-|0|-"),
        (vec![Row::ready(800).by("w")], "800|1|0.9375"),
        (vec![Row::ready(1000).by("w")], "1000|0|0.75"),
        (vec![Row::watched(&[(800, 2000)]).by("w")], "1000|1|0.85"),
    ] {
        superuser.batch_execute(&insert(&rows)).await.expect("rows");
        catch_up(&reports, &loader).await;
        assert_eq!(texts(&superuser, content).await, [expected]);
    }
    let role = site.role("org_acme");
    for (threshold, expected) in [("0.7", "1000|2|0.85"), ("0.700001", "1000|1|0.85"), ("1", "1000|1|0.85")] {
        let reports =
            rollbook::report::Reports::new("org_acme", &role, threshold.parse().expect("a threshold"));
        catch_up(&reports, &loader).await;
        assert_eq!(texts(&superuser, content).await, [expected], "{threshold}");
        assert_eq!(differences(&superuser, threshold).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_first_and_the_last_answer_go_by_time_then_place_then_id() {
    let answered = |id, at: &str, seq, choice| Row {
        id,
        seq,
        correct: Some(choice == 1),
        ..Row::answered(&format!(r#"{{"choice": "{choice}"}}"#)).at(at)
    };
    let (noon, later) = ("2026-11-22 12:00:00+00", "2026-11-22 12:00:01+00");
    let rows = [
        answered(5, noon, Some(0), 2),
        answered(9, noon, None, 3),
        // Without a place first of all, and the lower id of those.
        answered(4, noon, None, 1),
        answered(7, later, None, 4),
        answered(3, later, Some(1), 5),
        // The highest place last of all, and the higher id of those.
        answered(6, later, Some(1), 6),
    ];
    let answer = columns!(
        "report_answer",
        "attempts",
        "first_answer ->> 'choice'",
        "last_answer ->> 'choice'",
        "first_correct",
        "last_correct"
    );
    assert_eq!(after(&rows, answer).await, ["6|1|6|true|false"]);
    // One by one in every turn, from the back.
    let (site, reports) = a_site().await;
    let (superuser, loader) = (site.superuser().await, site.loader().await);
    for row in rows.iter().rev() {
        superuser.batch_execute(&insert(std::slice::from_ref(row))).await.expect("a row");
        catch_up(&reports, &loader).await;
        assert_eq!(differences(&superuser, "0.9").await, Vec::<String>::new());
    }
    assert_eq!(texts(&superuser, answer).await, ["6|1|6|true|false"]);
    let option = columns!("report_option", "choice", "first_viewers", "last_viewers");
    assert_eq!(texts(&superuser, option).await, ["1|1|0", "6|0|1"], "those in between are no rows");
}

#[tokio::test]
async fn accuracy_is_of_those_whose_answer_says_so_and_a_choice_is_counted_once_a_viewer() {
    let answered =
        |viewer, correct, answer| Row { correct, elapsed_ms: Some(10), ..Row::answered(answer).by(viewer) };
    let rows = [
        answered("a", Some(true), r#"{"choices": ["1", "2"]}"#),
        answered("b", Some(false), r#"{"choice": "2"}"#),
        answered("c", Some(false), r#"{"choices": []}"#),
        Row { elapsed_ms: Some(21), ..answered("d", None, r#"{"text": "1"}"#) },
        Row::new("item.skipped").by("e"),
        Row::new("item.shown").by("e"),
        Row::new("item.shown").by("e"),
        Row::new("item.revised").by("a"),
    ];
    let item = columns!(
        "report_item",
        "shown_viewers",
        "answered_viewers",
        "skipped_viewers",
        "revised_viewers",
        "attempts",
        "first_correct_viewers",
        "round(first_accuracy::numeric, 3)",
        "median_elapsed_ms",
        "round(p90_elapsed_ms::numeric, 3)"
    );
    let found = after(&rows, item).await;
    assert_eq!(found, ["1|4|1|1|4|1|0.333|10|17.700"]);
}

#[tokio::test]
async fn an_item_that_was_only_shown_has_a_row_and_no_accuracy() {
    let rows = [Row::new("item.closed"), Row { correct: None, ..Row::answered(r#"{"bool": true}"#) }.of("d")];
    let item = columns!(
        "report_item",
        "content_id",
        "attempts",
        "first_accuracy",
        "last_accuracy",
        "median_elapsed_ms"
    );
    assert_eq!(after(&rows, item).await, ["c|0|-|-|-", "d|1|-|-|-"]);
    let content = columns!("report_content", "content_id", "items", "answers");
    assert_eq!(after(&rows, content).await, ["c|1|0", "d|1|1"]);
}

#[tokio::test]
async fn a_day_is_one_of_utc_and_a_session_is_one_viewers() {
    let rows = [
        Row::new("video.played").at("2026-11-22 00:30:00+01"),
        Row::new("video.played").at("2026-11-22 23:59:59.999+00"),
        Row::new("video.played").at("2026-11-22 23:00:00+00").of("d"),
        Row::new("video.played").at("2026-11-22 23:00:00+00").by("w"),
        Row { correct: Some(true), ..Row::answered(r#"{"bool": true}"#) },
        Row::watched(&[(0, 10), (0, 10)]),
    ];
    let day = columns!(
        "report_day",
        "day",
        "viewers",
        "sessions",
        "contents",
        "events",
        "plays",
        "watched_ms",
        "answers",
        "correct_answers"
    );
    assert_eq!(after(&rows, day).await, ["2026-11-21|1|1|1|1|1|0|0|0", "2026-11-22|2|2|2|5|3|20|1|1"]);
    let viewing = columns!("report_viewing", "viewer_id", "content_id", "sessions");
    assert_eq!(after(&rows, viewing).await, ["v|c|1", "v|d|1", "w|c|1"]);
}
