-- What a slice of events says of viewers, contents, seconds and days, added to the summaries. The reporter has gathered
-- the events by visit (a session with a content on a day) and brings those along, of which there are far fewer: see
-- gather/visits.rs. Each table is written once, in the order of its key, so that neighbours share a page: by bytes, which is next
-- to any collation's order and several times as fast. No hash or merge join may take a whole table for a few keys, so tables
-- are looked into by `LATERAL (… LIMIT 1)`, and old rows updated by their place, which nothing moves meanwhile: the build is
-- locked.
WITH visits AS MATERIALIZED (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::int4multirange[], $13::bigint[])
        AS v (viewer_id, session_id, content_id, day, events, plays, answers, correct_answers,
              duration_ms, first_at, last_at, watched, watched_ms)
),
viewings AS (
    SELECT new.viewer_id, new.content_id, new.plays, new.answers, new.duration_ms, new.first_at, new.last_at,
           new.watched_ms, old.place IS NULL AS is_new, old.place, coalesce(old.unique_ms, 0) AS old_unique_ms,
           coalesce(old.watched, '{}') + new.watched AS watched, new.watched - coalesce(old.watched, '{}') AS gained
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
    SELECT viewings.*, old_unique_ms + length.gained_ms AS unique_ms
    FROM viewings
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(upper(part)::bigint - lower(part)), 0)::bigint AS gained_ms FROM unnest(gained) AS part) AS length
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
-- from (to_ms + 499) / 1000 on; there is none before 0. Second 0 has a row wherever there is a curve, for it begins there.
-- Viewers grow by what each one's union gained; how often a second was watched, the reporter has counted.
steps AS MATERIALIZED (
    SELECT content_id, greatest((lower(part)::bigint + 499) / 1000, 0)::integer AS from_second,
           greatest((upper(part)::bigint + 499) / 1000, 0)::integer AS to_second
    FROM (SELECT content_id, unnest(gained) AS part FROM measured) AS gains
),
keep_steps AS (
    INSERT INTO {schema}.report_step AS kept (build, content_id, second, viewers, times)
    SELECT {build}, content_id, second, sum(viewers), sum(times)
    FROM (SELECT content_id, from_second AS second, 1 AS viewers, 0 AS times FROM steps WHERE from_second < to_second
          UNION ALL
          SELECT content_id, to_second, -1, 0 FROM steps WHERE from_second < to_second
          UNION ALL
          SELECT DISTINCT content_id, 0, 0, 0 FROM steps WHERE from_second < to_second
          UNION ALL
          SELECT content_id, second, 0, times
          FROM unnest($14::text[], $15::integer[], $16::bigint[]) AS t (content_id, second, times)) AS each
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
)
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
        answers = kept.answers + excluded.answers, correct_answers = kept.correct_answers + excluded.correct_answers;
