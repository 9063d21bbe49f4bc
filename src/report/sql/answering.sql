-- What a slice of events says of items, added to the summaries. The reporter has gathered the events by viewer and item and
-- brings those along: see gather/answers.rs. It runs after contents.sql, in its transaction: the contents have their rows.
-- Old rows are updated by their place, which nothing moves meanwhile: the build is locked.
WITH compared AS (
    SELECT new.content_id, new.item_id, new.viewer_id, new.shown, new.skipped, new.revised, new.attempts,
           f_at IS NOT NULL
               AND (old.first_at IS NULL
                    OR (f_at, f_seq, f_id) < (old.first_at, old.first_seq, old.first_event_id)) AS is_first,
           l_at IS NOT NULL
               AND (old.last_at IS NULL
                    OR (l_at, l_seq, l_id) > (old.last_at, old.last_seq, old.last_event_id)) AS is_last,
           f_at, f_seq, f_id, f_answer::jsonb AS f_answer, f_correct, f_score,
           l_at, l_seq, l_id, l_answer::jsonb AS l_answer, l_correct, l_score, l_elapsed_ms,
           old.place, coalesce(old.shown, false) AS was_shown, coalesce(old.skipped, false) AS was_skipped,
           coalesce(old.revised, false) AS was_revised, coalesce(old.attempts, 0) AS old_attempts,
           old.first_at AS o_first_at, old.first_seq AS o_first_seq, old.first_event_id AS o_first_event_id,
           old.first_answer AS o_first_answer, old.first_correct AS o_first_correct, old.first_score AS o_first_score,
           old.last_at AS o_last_at, old.last_seq AS o_last_seq, old.last_event_id AS o_last_event_id,
           old.last_answer AS o_last_answer, old.last_correct AS o_last_correct, old.last_score AS o_last_score,
           old.last_elapsed_ms AS o_last_elapsed_ms
    FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::boolean[], $7::bigint[],
                $8::timestamptz[], $9::bigint[], $10::uuid[], $11::text[], $12::boolean[], $13::real[],
                $14::timestamptz[], $15::bigint[], $16::uuid[], $17::text[], $18::boolean[], $19::real[], $20::integer[])
        AS new (content_id, item_id, viewer_id, shown, skipped, revised, attempts,
                f_at, f_seq, f_id, f_answer, f_correct, f_score,
                l_at, l_seq, l_id, l_answer, l_correct, l_score, l_elapsed_ms)
    LEFT JOIN LATERAL (SELECT *, o.ctid AS place
                       FROM {schema}.report_viewer_item AS o
                       WHERE o.build = {build} AND o.content_id = new.content_id AND o.item_id = new.item_id
                         AND o.viewer_id = new.viewer_id
                       LIMIT 1) AS old ON true
),
merged AS MATERIALIZED (
    SELECT content_id, item_id, viewer_id, place, shown, skipped, revised, attempts, was_shown, was_skipped, was_revised,
           old_attempts, is_first, is_last, is_first AND is_last AND f_id = l_id AS is_only,
           o_first_answer, o_first_correct, o_last_answer, o_last_correct,
           CASE WHEN is_first THEN f_at ELSE o_first_at END AS first_at,
           CASE WHEN is_first THEN f_seq ELSE o_first_seq END AS first_seq,
           CASE WHEN is_first THEN f_id ELSE o_first_event_id END AS first_event_id,
           CASE WHEN is_first THEN f_answer ELSE o_first_answer END AS first_answer,
           CASE WHEN is_first THEN f_correct ELSE o_first_correct END AS first_correct,
           CASE WHEN is_first THEN f_score ELSE o_first_score END AS first_score,
           CASE WHEN is_last THEN l_at ELSE o_last_at END AS last_at,
           CASE WHEN is_last THEN l_seq ELSE o_last_seq END AS last_seq,
           CASE WHEN is_last THEN l_id ELSE o_last_event_id END AS last_event_id,
           CASE WHEN is_last THEN l_answer ELSE o_last_answer END AS last_answer,
           CASE WHEN is_last THEN l_correct ELSE o_last_correct END AS last_correct,
           CASE WHEN is_last THEN l_score ELSE o_last_score END AS last_score,
           CASE WHEN is_last THEN l_elapsed_ms ELSE o_last_elapsed_ms END AS last_elapsed_ms
    FROM compared
),
new_viewers AS (
    INSERT INTO {schema}.report_viewer_item
        (build, content_id, item_id, viewer_id, shown, skipped, revised, attempts,
         first_at, first_seq, first_event_id, first_answer, first_correct, first_score,
         last_at, last_seq, last_event_id, last_answer, last_correct, last_score, last_elapsed_ms)
    SELECT {build}, content_id, item_id, viewer_id, shown, skipped, revised, attempts,
           first_at, first_seq, first_event_id, first_answer, first_correct, first_score,
           last_at, last_seq, last_event_id, last_answer, last_correct, last_score, last_elapsed_ms
    FROM merged
    WHERE place IS NULL
),
keep_viewers AS (
    UPDATE {schema}.report_viewer_item AS kept
    SET shown = kept.shown OR m.shown, skipped = kept.skipped OR m.skipped, revised = kept.revised OR m.revised,
        attempts = kept.attempts + m.attempts,
        first_at = m.first_at, first_seq = m.first_seq, first_event_id = m.first_event_id,
        first_answer = m.first_answer, first_correct = m.first_correct, first_score = m.first_score,
        last_at = m.last_at, last_seq = m.last_seq, last_event_id = m.last_event_id,
        last_answer = m.last_answer, last_correct = m.last_correct, last_score = m.last_score,
        last_elapsed_ms = m.last_elapsed_ms
    FROM merged AS m
    WHERE kept.ctid = m.place
),
new_items AS MATERIALIZED (
    SELECT content_id, count(*) AS items,
           (SELECT o.ctid FROM {schema}.report_content_sum AS o
            WHERE o.build = {build} AND o.content_id = new.content_id LIMIT 1) AS place
    FROM (SELECT DISTINCT content_id, item_id FROM merged) AS new
    WHERE (SELECT true FROM {schema}.report_item_sum AS o
           WHERE o.build = {build} AND o.content_id = new.content_id AND o.item_id = new.item_id LIMIT 1) IS NULL
    GROUP BY content_id
),
keep_contents AS (
    UPDATE {schema}.report_content_sum AS kept
    SET items = kept.items + new_items.items
    FROM new_items
    WHERE kept.ctid = new_items.place
),
keep_items AS (
    INSERT INTO {schema}.report_item_sum AS kept
        (build, content_id, item_id, shown_viewers, answered_viewers, skipped_viewers, revised_viewers, attempts,
         first_judged_viewers, first_correct_viewers, last_judged_viewers, last_correct_viewers)
    SELECT {build}, content_id, item_id,
           count(*) FILTER (WHERE shown AND NOT was_shown), count(*) FILTER (WHERE attempts > 0 AND old_attempts = 0),
           count(*) FILTER (WHERE skipped AND NOT was_skipped), count(*) FILTER (WHERE revised AND NOT was_revised),
           sum(attempts),
           sum((first_correct IS NOT NULL)::int - (o_first_correct IS NOT NULL)::int),
           sum((first_correct IS TRUE)::int - (o_first_correct IS TRUE)::int),
           sum((last_correct IS NOT NULL)::int - (o_last_correct IS NOT NULL)::int),
           sum((last_correct IS TRUE)::int - (o_last_correct IS TRUE)::int)
    FROM merged
    GROUP BY content_id, item_id
    ON CONFLICT (build, content_id, item_id) DO UPDATE
        SET shown_viewers = kept.shown_viewers + excluded.shown_viewers,
            answered_viewers = kept.answered_viewers + excluded.answered_viewers,
            skipped_viewers = kept.skipped_viewers + excluded.skipped_viewers,
            revised_viewers = kept.revised_viewers + excluded.revised_viewers,
            attempts = kept.attempts + excluded.attempts,
            first_judged_viewers = kept.first_judged_viewers + excluded.first_judged_viewers,
            first_correct_viewers = kept.first_correct_viewers + excluded.first_correct_viewers,
            last_judged_viewers = kept.last_judged_viewers + excluded.last_judged_viewers,
            last_correct_viewers = kept.last_correct_viewers + excluded.last_correct_viewers
)
INSERT INTO {schema}.report_option_sum AS kept (build, content_id, item_id, choice, first_viewers, last_viewers)
SELECT {build}, content_id, item_id, choice, sum(first), sum(last)
FROM (SELECT content_id, item_id, first_answer AS answer, 1 AS first, is_only::int AS last
      FROM merged WHERE is_first
      UNION ALL
      SELECT content_id, item_id, last_answer, 0, 1 FROM merged WHERE is_last AND NOT is_only
      UNION ALL
      SELECT content_id, item_id, o_first_answer, -1, 0 FROM merged WHERE is_first AND o_first_answer IS NOT NULL
      UNION ALL
      SELECT content_id, item_id, o_last_answer, 0, -1 FROM merged WHERE is_last AND o_last_answer IS NOT NULL) AS each
CROSS JOIN LATERAL (
    SELECT answer ->> 'choice' AS choice
    WHERE answer ? 'choice'
    UNION
    SELECT jsonb_array_elements_text(answer -> 'choices')
    WHERE jsonb_typeof(answer -> 'choices') = 'array') AS choices
WHERE choice IS NOT NULL
GROUP BY content_id, item_id, choice
HAVING sum(first) <> 0 OR sum(last) <> 0
ON CONFLICT (build, content_id, item_id, choice) DO UPDATE
    SET first_viewers = kept.first_viewers + excluded.first_viewers,
        last_viewers = kept.last_viewers + excluded.last_viewers
