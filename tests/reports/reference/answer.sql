WITH answered AS (
    SELECT *, row_number() OVER (PARTITION BY viewer_id, content_id, item_id ORDER BY occurred_at, seq NULLS FIRST, event_id) AS nth,
           row_number() OVER (PARTITION BY viewer_id, content_id, item_id
                              ORDER BY occurred_at DESC, seq DESC NULLS LAST, event_id DESC) AS nth_last,
           count(*) OVER (PARTITION BY viewer_id, content_id, item_id) AS attempts
    FROM {schema}.event
    WHERE type = 'item.answered'
)
SELECT viewer_id, content_id, item_id, f.attempts, f.answer AS first_answer, f.correct AS first_correct, f.score AS first_score,
       f.occurred_at AS first_at, l.answer AS last_answer, l.correct AS last_correct, l.score AS last_score,
       l.occurred_at AS last_at, l.elapsed_ms AS last_elapsed_ms
FROM answered AS f JOIN answered AS l USING (viewer_id, content_id, item_id)
WHERE f.nth = 1 AND l.nth_last = 1
