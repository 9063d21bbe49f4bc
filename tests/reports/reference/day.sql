SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT viewer_id) AS viewers,
       count(DISTINCT (viewer_id, session_id)) AS sessions, count(DISTINCT content_id) AS contents, count(*) AS events,
       count(*) FILTER (WHERE type = 'video.played') AS plays,
       coalesce(sum((SELECT sum(upper(one) - lower(one)) FROM unnest(watched) AS one)), 0)::bigint AS watched_ms,
       count(*) FILTER (WHERE type = 'item.answered') AS answers,
       count(*) FILTER (WHERE type = 'item.answered' AND correct) AS correct_answers
FROM {schema}.event
GROUP BY 1
