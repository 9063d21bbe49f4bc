-- Sessions on days, each new one counted for its day: see gather/days.rs. It runs after the days' rows were written. Of a viewer's
-- sessions of a day few are looked at: where there are more, the one is looked for. They are looked up first, because ON CONFLICT
-- costs twice an INSERT.
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
)
UPDATE {schema}.report_day_sum AS kept
SET viewers = kept.viewers + new.viewers, sessions = kept.sessions + new.sessions
FROM (SELECT day, count(*) AS sessions, count(*) FILTER (WHERE is_new_viewer AND is_first_of_viewer) AS viewers
      FROM visits
      WHERE is_new
      GROUP BY day) AS new
WHERE kept.build = {build} AND kept.day = new.day
