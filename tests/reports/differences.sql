-- Rows of a report that its definition does not give, and rows that it gives and the report lacks: the definitions of the
-- contract, computed in the plainest way from all events.
WITH viewing AS ({viewing}),
duration AS ({duration}),
answer AS ({answer}),
retention AS ({retention}),
judged AS (
    SELECT viewing.*, duration_ms,
           CASE WHEN duration_ms > 0 THEN least(1, unique_ms::numeric / duration_ms)::real END AS completion,
           coalesce(duration_ms > 0 AND unique_ms >= {completion}::numeric * duration_ms, false) AS completed
    FROM viewing JOIN duration USING (content_id)
),
content AS (
    SELECT content_id, min(duration_ms) AS duration_ms, count(*) AS viewers, sum(sessions)::bigint AS sessions,
           sum(plays)::bigint AS plays, sum(unique_ms)::bigint AS unique_ms, sum(watched_ms)::bigint AS watched_ms,
           avg(CASE WHEN duration_ms > 0 THEN least(1, unique_ms::numeric / duration_ms) END)::real AS average_completion,
           count(*) FILTER (WHERE completed) AS completed_viewers,
           (SELECT count(DISTINCT item_id) FROM {schema}.event AS e
            WHERE e.content_id = judged.content_id AND type LIKE 'item.%') AS items,
           (SELECT count(*) FROM {schema}.event AS e
            WHERE e.content_id = judged.content_id AND type = 'item.answered') AS answers,
           min(first_at) AS first_at, max(last_at) AS last_at
    FROM judged
    GROUP BY content_id
),
curve AS (
    SELECT content_id, second::integer, viewers, times
    FROM retention AS r
    WHERE second <= (SELECT max(second) FROM retention AS o WHERE o.content_id = r.content_id AND times > 0)
),
pairs (report, has, should_have) AS (
    SELECT 'viewing', array(SELECT ROW (viewer_id, content_id, sessions, plays, watched, unique_ms, watched_ms,
                                        completion, completed, first_at, last_at)::text
                            FROM {schema}.report_viewing ORDER BY 1),
           array(SELECT ROW (viewer_id, content_id, sessions, plays, watched, unique_ms, watched_ms, completion, completed,
                             first_at, last_at)::text FROM judged ORDER BY 1)
    UNION ALL
    SELECT 'content', array(SELECT ROW (content_id, duration_ms, viewers, sessions, plays, unique_ms, watched_ms,
                                        average_completion, completed_viewers, items, answers, first_at,
                                        last_at)::text FROM {schema}.report_content ORDER BY 1),
           array(SELECT content::text FROM content ORDER BY 1)
    UNION ALL
    SELECT 'retention', array(SELECT r::text FROM {schema}.report_retention AS r ORDER BY 1),
           array(SELECT curve::text FROM curve ORDER BY 1)
    UNION ALL
    SELECT 'item', array(SELECT ROW (content_id, item_id, shown_viewers, answered_viewers, skipped_viewers, revised_viewers,
                                     attempts, first_correct_viewers, last_correct_viewers, first_accuracy,
                                     last_accuracy, median_elapsed_ms, p90_elapsed_ms)::text
                         FROM {schema}.report_item ORDER BY 1),
           array(SELECT item::text FROM ({item}) AS item ORDER BY 1)
    UNION ALL
    SELECT 'option', array(SELECT r::text FROM {schema}.report_option AS r ORDER BY 1),
           array(SELECT option::text FROM ({option}) AS option ORDER BY 1)
    UNION ALL
    SELECT 'answer', array(SELECT r::text FROM {schema}.report_answer AS r ORDER BY 1),
           array(SELECT answer::text FROM answer ORDER BY 1)
    UNION ALL
    SELECT 'day', array(SELECT r::text FROM {schema}.report_day AS r ORDER BY 1),
           array(SELECT a_day::text FROM ({day}) AS a_day ORDER BY 1)
    UNION ALL
    SELECT 'state', array(SELECT events::text FROM {schema}.report_state), array(SELECT count(*)::text FROM {schema}.event)
)
SELECT report || ' ' || said || ' ' || line FROM (
    SELECT report, 'wrongly has' AS said, line FROM pairs, LATERAL (SELECT unnest(has) EXCEPT ALL SELECT unnest(should_have)) AS d (line)
    UNION ALL
    SELECT report, 'lacks', line FROM pairs, LATERAL (SELECT unnest(should_have) EXCEPT ALL SELECT unnest(has)) AS d (line)) AS each
ORDER BY 1
