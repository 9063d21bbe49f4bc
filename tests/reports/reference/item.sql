WITH answered AS (
    SELECT *, row_number() OVER (PARTITION BY viewer_id, content_id, item_id ORDER BY occurred_at, seq NULLS FIRST, event_id) AS nth,
           row_number() OVER (PARTITION BY viewer_id, content_id, item_id
                              ORDER BY occurred_at DESC, seq DESC NULLS LAST, event_id DESC) AS nth_last
    FROM {schema}.event
    WHERE type = 'item.answered'
)
SELECT content_id, item_id, count(DISTINCT viewer_id) FILTER (WHERE type = 'item.shown') AS shown_viewers,
       count(DISTINCT viewer_id) FILTER (WHERE type = 'item.answered') AS answered_viewers,
       count(DISTINCT viewer_id) FILTER (WHERE type = 'item.skipped') AS skipped_viewers,
       count(DISTINCT viewer_id) FILTER (WHERE type = 'item.revised') AS revised_viewers,
       count(*) FILTER (WHERE type = 'item.answered') AS attempts,
       (SELECT count(*) FROM answered AS a WHERE a.content_id = e.content_id AND a.item_id = e.item_id AND nth = 1 AND correct)
           AS first_correct_viewers,
       (SELECT count(*) FROM answered AS a WHERE a.content_id = e.content_id AND a.item_id = e.item_id AND nth_last = 1 AND correct)
           AS last_correct_viewers,
       (SELECT avg(correct::int)::real FROM answered AS a WHERE a.content_id = e.content_id AND a.item_id = e.item_id AND nth = 1)
           AS first_accuracy,
       (SELECT avg(correct::int)::real FROM answered AS a WHERE a.content_id = e.content_id AND a.item_id = e.item_id AND nth_last = 1)
           AS last_accuracy,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY elapsed_ms) FILTER (WHERE type = 'item.answered') AS median_elapsed_ms,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY elapsed_ms) FILTER (WHERE type = 'item.answered') AS p90_elapsed_ms
FROM {schema}.event AS e
WHERE type LIKE 'item.%'
GROUP BY content_id, item_id
