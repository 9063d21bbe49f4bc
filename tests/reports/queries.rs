//! The queries of `docs/reports.md`, as an analyst's login runs them.

use super::{Row, a_site, catch_up, insert};

#[tokio::test]
async fn each_query_of_the_page_gives_an_answer_to_a_login_that_was_made_as_the_page_says() {
    let (site, reports) = a_site().await;
    let (analyst, reader) = (site.role("analyst"), site.role("reader_acme"));
    let wrong = |viewer: &str, choice: &str| Row {
        correct: Some(false),
        ..Row::answered(&format!(r#"{{"choice": "{choice}"}}"#)).by(viewer)
    };
    let rows = [
        Row::ready(40_000),
        Row::watched(&[(0, 20_000), (10_000, 30_000)]),
        wrong("v", "b"),
        wrong("w", "b"),
    ];
    let rows = rows.map(|row| row.of("algebra-1"));
    site.execute(&insert(&rows)).await;
    catch_up(&reports, &site.loader().await).await;
    site.execute(&format!("CREATE ROLE {analyst} LOGIN IN ROLE {reader}")).await;

    let client = site.session_of("analyst").await;
    let made = "SET search_path = org_acme; SET default_transaction_read_only = on";
    client.batch_execute(made).await.expect("as the page says");
    let page = include_str!("../../docs/reports.md");
    let queries: Vec<&str> =
        page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(queries.len(), 5);
    for query in queries {
        let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        assert!(!rows.is_empty(), "{query}");
    }
    // The page's own example.
    let example = "SELECT concat_ws(' ', watched, unique_ms, watched_ms, completion) FROM report_viewing WHERE viewer_id = 'v'";
    let row = client.query_one(example, &[]).await.expect("a row");
    assert_eq!(row.get::<_, &str>(0), "{[0,30000)} 30000 40000 0.75");
    let twice =
        "SELECT concat_ws(' ', min(second), max(second), count(*)) FROM report_retention WHERE times = 2";
    assert_eq!(client.query_one(twice, &[]).await.expect("a row").get::<_, &str>(0), "10 19 10");
    let uncommented = "SELECT count(*) FROM information_schema.columns, \
         col_description((table_schema || '.' || table_name)::regclass, ordinal_position::int) AS said \
         WHERE table_schema = 'org_acme' AND table_name LIKE 'report%' AND said IS NULL";
    assert_eq!(site.number(uncommented).await, 0, "columns that do not say what they are");
}
