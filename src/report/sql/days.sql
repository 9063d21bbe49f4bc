-- What is new of days, added to their sums: see gather/days.rs. Of a viewer's sessions of a day few are looked at: where there
-- are more, the one is looked for. They are looked up first, because ON CONFLICT costs twice an INSERT.
WITH visits AS MATERIALIZED (
    SELECT visit.day, visit.viewer_id, visit.session_id, visit.is_first_of_viewer, few.sessions = 0 AS is_new_viewer,
           CASE WHEN few.have_it THEN false
                WHEN few.sessions < 8 THEN true
                ELSE (SELECT true FROM {schema}.report_day_session AS o
                      WHERE o.build = {build} AND o.day = visit.day AND o.viewer_id = visit.viewer_id
                        AND o.session_id = visit.session_id LIMIT 1) IS NULL
           END AS is_new
    FROM unnest($1::date[], $2::text[], $3::text[], $4::boolean[]) AS visit (day, viewer_id, session_id, is_first_of_viewer)
    CROSS JOIN LATERAL (
        SELECT count(*) AS sessions, coalesce(bool_or(one.session_id = visit.session_id), false) AS have_it
        FROM (SELECT o.session_id
              FROM {schema}.report_day_session AS o
              WHERE o.build = {build} AND o.day = visit.day AND o.viewer_id = visit.viewer_id
              LIMIT 8) AS one) AS few
),
new_sessions AS (
    INSERT INTO {schema}.report_day_session (build, day, viewer_id, session_id)
    SELECT {build}, day, viewer_id, session_id FROM visits WHERE is_new
),
new_contents AS (
    INSERT INTO {schema}.report_day_content (build, day, content_id)
    SELECT {build}, day, content_id
    FROM unnest($5::date[], $6::text[]) AS named (day, content_id)
    ON CONFLICT DO NOTHING
    RETURNING day
)
INSERT INTO {schema}.report_day_sum AS kept
    (build, day, viewers, sessions, contents, events, plays, watched_ms, answers, correct_answers)
SELECT {build}, day, coalesce(v.viewers, 0), coalesce(v.sessions, 0), coalesce(c.contents, 0), events, plays, watched_ms, answers,
       correct_answers
FROM unnest($7::date[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
    AS new (day, events, plays, watched_ms, answers, correct_answers)
LEFT JOIN (SELECT day, count(*) FILTER (WHERE is_new) AS sessions,
                  count(*) FILTER (WHERE is_new_viewer AND is_first_of_viewer) AS viewers
           FROM visits GROUP BY day) AS v USING (day)
LEFT JOIN (SELECT day, count(*) AS contents FROM new_contents GROUP BY day) AS c USING (day)
ON CONFLICT (build, day) DO UPDATE
    SET viewers = kept.viewers + excluded.viewers, sessions = kept.sessions + excluded.sessions,
        contents = kept.contents + excluded.contents, events = kept.events + excluded.events,
        plays = kept.plays + excluded.plays, watched_ms = kept.watched_ms + excluded.watched_ms,
        answers = kept.answers + excluded.answers, correct_answers = kept.correct_answers + excluded.correct_answers
