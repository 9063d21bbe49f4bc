-- What a slice of events says of viewers, contents, seconds and days, added to the summaries. Events are gathered by visit
-- (a session with a content on a day) in one pass, and all else is made of visits, of which there are far fewer. Each table
-- is written once, in the order of its key, so that neighbours share a page: by bytes, which is next to any collation's order
-- and several times as fast. No hash or merge join may take a whole table for a few keys, so tables are looked into by
-- `LATERAL (… LIMIT 1)`, and old rows updated by their place, which nothing moves meanwhile: the build is locked. Days are
-- the session's, whose zone is UTC.
WITH taken AS (
    -- Nearly all that report what was watched report one interval, which takes no call for a set.
    SELECT viewer_id, session_id, content_id, occurred_at::date AS day, occurred_at, type, correct, 1 AS events,
           CASE WHEN type = 'video.ready' AND jsonb_typeof(details -> 'duration_ms') = 'number'
                THEN (details ->> 'duration_ms')::numeric END AS told_ms,
           CASE WHEN cardinality(watched) = 1 THEN watched[1] END AS part
    FROM {schema}.event
    WHERE {rows}
    UNION ALL
    SELECT viewer_id, session_id, content_id, occurred_at::date, occurred_at, NULL, NULL, NULL, NULL, unnest(watched)
    FROM {schema}.event
    WHERE (cardinality(watched) > 1 OR cardinality(watched) = 1 AND watched[1] IS NULL) AND {rows}
),
visits AS MATERIALIZED (
    SELECT gathered.*, watched, coalesce(watched_ms, 0) AS watched_ms
    FROM (SELECT viewer_id, session_id, content_id, day, count(events) AS events,
                 count(*) FILTER (WHERE type = 'video.played') AS plays,
                 count(*) FILTER (WHERE type = 'item.answered') AS answers,
                 count(*) FILTER (WHERE type = 'item.answered' AND correct) AS correct_answers,
                 max(told_ms) FILTER (WHERE told_ms BETWEEN 0 AND {longest_ms})::bigint AS duration_ms,
                 min(occurred_at) AS first_at, max(occurred_at) AS last_at,
                 -- What intake takes; a hand may have written others.
                 array_agg(part) FILTER (WHERE lower(part) >= 0 AND upper(part) <= {longest_ms}) AS parts
          FROM taken
          GROUP BY viewer_id, session_id, content_id, day) AS gathered
    CROSS JOIN LATERAL (
        SELECT range_agg(part) AS watched, sum(upper(part) - lower(part))::bigint AS watched_ms
        FROM unnest(parts) AS part) AS united
),
viewings AS (
    SELECT new.viewer_id, new.content_id, new.plays, new.answers, new.duration_ms, new.first_at, new.last_at,
           new.watched_ms, new.watched AS new_watched,
           old.place IS NULL AS is_new, old.place, coalesce(old.unique_ms, 0) AS old_unique_ms,
           coalesce(old.watched, '{}') + coalesce(new.watched, '{}') AS watched,
           new.watched - coalesce(old.watched, '{}') AS gained
    FROM (SELECT viewer_id, content_id, sum(plays)::bigint AS plays, sum(answers)::bigint AS answers,
                 max(duration_ms) AS duration_ms, min(first_at) AS first_at, max(last_at) AS last_at,
                 range_agg(watched) AS watched, sum(watched_ms)::bigint AS watched_ms
          FROM visits
          GROUP BY viewer_id, content_id) AS new
    LEFT JOIN LATERAL (SELECT o.ctid AS place, o.unique_ms, o.watched
                       FROM {schema}.report_viewer_content AS o
                       WHERE o.build = {build} AND o.content_id = new.content_id AND o.viewer_id = new.viewer_id
                       LIMIT 1) AS old ON true
),
measured AS MATERIALIZED (
    SELECT viewings.*, coalesce(united_ms, 0) < watched_ms AS meets_itself,
           old_unique_ms + coalesce(CASE WHEN is_new THEN united_ms
                                    ELSE (SELECT sum(upper(part) - lower(part)) FROM unnest(gained) AS part) END,
                                    0)::bigint AS unique_ms
    FROM viewings
    CROSS JOIN LATERAL (SELECT sum(upper(part) - lower(part)) AS united_ms FROM unnest(new_watched) AS part) AS united
),
new_sessions AS (
    INSERT INTO {schema}.report_session (build, content_id, viewer_id, session_id)
    SELECT {build}, content_id, viewer_id, session_id
    FROM visits
    GROUP BY content_id, viewer_id, session_id
    ORDER BY content_id COLLATE "C", viewer_id COLLATE "C", session_id COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING content_id, viewer_id
),
counted AS MATERIALIZED (
    SELECT measured.*, coalesce(s.sessions, 0) AS sessions
    FROM measured
    LEFT JOIN (SELECT content_id, viewer_id, count(*) AS sessions FROM new_sessions GROUP BY content_id, viewer_id) AS s
        USING (content_id, viewer_id)
),
new_viewings AS (
    INSERT INTO {schema}.report_viewer_content
        (build, content_id, viewer_id, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at)
    SELECT {build}, content_id, viewer_id, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at
    FROM counted
    WHERE is_new
    ORDER BY content_id COLLATE "C", viewer_id COLLATE "C"
),
keep_viewings AS (
    UPDATE {schema}.report_viewer_content AS kept
    SET sessions = kept.sessions + counted.sessions, plays = kept.plays + counted.plays,
        watched = counted.watched, unique_ms = counted.unique_ms, watched_ms = kept.watched_ms + counted.watched_ms,
        first_at = least(kept.first_at, counted.first_at), last_at = greatest(kept.last_at, counted.last_at)
    FROM counted
    WHERE kept.ctid = counted.place
),
-- By the duration that the sums were counted with; where it grows now, they are counted again afterwards.
durations AS (
    SELECT content_id, old.judged_ms
    FROM (SELECT DISTINCT content_id FROM measured) AS new
    LEFT JOIN LATERAL (SELECT o.judged_ms
                       FROM {schema}.report_content_sum AS o
                       WHERE o.build = {build} AND o.content_id = new.content_id
                       LIMIT 1) AS old ON true
),
keep_contents AS (
    INSERT INTO {schema}.report_content_sum AS kept
        (build, content_id, duration_ms, judged_ms, viewers, sessions, plays, unique_ms, capped_ms, watched_ms,
         completed_viewers, items, answers, first_at, last_at)
    SELECT {build}, content_id, max(duration_ms), NULL, count(*) FILTER (WHERE is_new), sum(sessions),
           sum(plays), sum(unique_ms - old_unique_ms),
           coalesce(sum(least(unique_ms, judged_ms) - least(old_unique_ms, judged_ms)) FILTER (WHERE judged_ms > 0), 0),
           sum(watched_ms),
           count(*) FILTER (WHERE judged_ms > 0 AND unique_ms >= {completion} * judged_ms
                              AND old_unique_ms < {completion} * judged_ms),
           0, sum(answers), min(first_at), max(last_at)
    FROM counted
    JOIN durations USING (content_id)
    GROUP BY content_id
    ON CONFLICT (build, content_id) DO UPDATE
        SET duration_ms = greatest(kept.duration_ms, excluded.duration_ms),
            viewers = kept.viewers + excluded.viewers, sessions = kept.sessions + excluded.sessions,
            plays = kept.plays + excluded.plays, unique_ms = kept.unique_ms + excluded.unique_ms,
            capped_ms = kept.capped_ms + excluded.capped_ms, watched_ms = kept.watched_ms + excluded.watched_ms,
            completed_viewers = kept.completed_viewers + excluded.completed_viewers,
            answers = kept.answers + excluded.answers,
            first_at = least(kept.first_at, excluded.first_at), last_at = greatest(kept.last_at, excluded.last_at)
),
-- An interval has second s if it contains the millisecond 1000 s + 500: from (from_ms + 499) / 1000 on, and no longer
-- from (to_ms + 499) / 1000 on. Second 0 has a row wherever there is a curve, for it begins there.
-- Intervals that do not overlap have the steps of their union, which are fewer: those that meet cancel out. To a new viewer
-- that union is also what was gained.
steps AS MATERIALIZED (
    SELECT content_id, (lower(part) + 499) / 1000 AS from_second, (upper(part) + 499) / 1000 AS to_second,
           is_new::int AS viewers, 1 AS times
    FROM (SELECT content_id, is_new, unnest(new_watched) AS part FROM measured WHERE NOT meets_itself) AS unions
    UNION ALL
    SELECT content_id, (lower(part) + 499) / 1000, (upper(part) + 499) / 1000, 1, 0
    FROM (SELECT content_id, unnest(gained) AS part FROM measured WHERE meets_itself OR NOT is_new) AS gains
    UNION ALL
    SELECT content_id, (lower(part) + 499) / 1000, (upper(part) + 499) / 1000, 0, 1
    FROM (SELECT content_id, unnest(parts) AS part
          FROM visits
          JOIN (SELECT viewer_id, content_id FROM measured WHERE meets_itself) AS again USING (viewer_id, content_id)) AS each
),
keep_steps AS (
    INSERT INTO {schema}.report_step AS kept (build, content_id, second, viewers, times)
    SELECT {build}, content_id, second, sum(viewers), sum(times)
    FROM (SELECT content_id, from_second AS second, viewers, times FROM steps WHERE from_second < to_second
          UNION ALL
          SELECT content_id, to_second, -viewers, -times FROM steps WHERE from_second < to_second
          UNION ALL
          SELECT DISTINCT content_id, 0, 0, 0 FROM steps WHERE from_second < to_second) AS each
    GROUP BY content_id, second
    HAVING sum(viewers) <> 0 OR sum(times) <> 0 OR second = 0
    ORDER BY content_id COLLATE "C", second
    ON CONFLICT (build, content_id, second) DO UPDATE
        SET viewers = kept.viewers + excluded.viewers, times = kept.times + excluded.times
),
new_day_sessions AS (
    INSERT INTO {schema}.report_day_session (build, day, viewer_id, session_id)
    SELECT {build}, day, viewer_id, session_id
    FROM visits
    GROUP BY day, viewer_id, session_id
    ORDER BY day, viewer_id COLLATE "C", session_id COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING day, viewer_id
),
new_day_contents AS (
    INSERT INTO {schema}.report_day_content (build, day, content_id)
    SELECT DISTINCT {build}, day, content_id FROM visits
    ON CONFLICT DO NOTHING
    RETURNING day
),
keep_days AS (
    INSERT INTO {schema}.report_day_sum AS kept
        (build, day, viewers, sessions, contents, events, plays, watched_ms, answers, correct_answers)
    SELECT {build}, day, sum(viewers), sum(sessions), sum(contents), sum(events), sum(plays), sum(watched_ms), sum(answers),
           sum(correct_answers)
    FROM (SELECT day, 0 AS viewers, 0 AS sessions, 0 AS contents, sum(events) AS events, sum(plays) AS plays,
                 sum(watched_ms) AS watched_ms, sum(answers) AS answers, sum(correct_answers) AS correct_answers
          FROM visits GROUP BY day
          UNION ALL
          SELECT day, 0, count(*), 0, 0, 0, 0, 0, 0 FROM new_day_sessions GROUP BY day
          UNION ALL
          SELECT day, count(*), 0, 0, 0, 0, 0, 0, 0
          FROM (SELECT DISTINCT day, viewer_id FROM new_day_sessions) AS new
          WHERE (SELECT true FROM {schema}.report_day_session AS o
                 WHERE o.build = {build} AND o.day = new.day AND o.viewer_id = new.viewer_id LIMIT 1) IS NULL
          GROUP BY day
          UNION ALL
          SELECT day, 0, 0, count(*), 0, 0, 0, 0, 0 FROM new_day_contents GROUP BY day) AS each
    GROUP BY day
    ON CONFLICT (build, day) DO UPDATE
        SET viewers = kept.viewers + excluded.viewers, sessions = kept.sessions + excluded.sessions,
            contents = kept.contents + excluded.contents, events = kept.events + excluded.events,
            plays = kept.plays + excluded.plays, watched_ms = kept.watched_ms + excluded.watched_ms,
            answers = kept.answers + excluded.answers, correct_answers = kept.correct_answers + excluded.correct_answers
)
UPDATE {schema}.report_build
SET events = events + (SELECT coalesce(sum(visits.events), 0)::bigint FROM visits)
WHERE build = {build}
RETURNING (SELECT coalesce(sum(visits.events), 0)::bigint FROM visits) AS added;

-- A content whose duration grew, and each one after another threshold: counted again from its viewers.
UPDATE {schema}.report_content_sum AS kept
SET judged_ms = kept.duration_ms, capped_ms = counted.capped_ms, completed_viewers = counted.completed_viewers
FROM {schema}.report_content_sum AS unjudged
CROSS JOIN LATERAL (
    SELECT coalesce(sum(least(v.unique_ms, unjudged.duration_ms)) FILTER (WHERE unjudged.duration_ms > 0), 0) AS capped_ms,
           count(*) FILTER (WHERE unjudged.duration_ms > 0 AND v.unique_ms >= {completion} * unjudged.duration_ms)
               AS completed_viewers
    FROM {schema}.report_viewer_content AS v
    WHERE v.build = {build} AND v.content_id = unjudged.content_id) AS counted
WHERE unjudged.build = {build} AND unjudged.judged_ms IS DISTINCT FROM unjudged.duration_ms
  AND kept.build = unjudged.build AND kept.content_id = unjudged.content_id;
