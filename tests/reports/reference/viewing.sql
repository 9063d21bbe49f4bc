SELECT viewer_id, content_id, count(DISTINCT session_id) AS sessions, count(*) FILTER (WHERE type = 'video.played') AS plays,
       coalesce((SELECT range_agg(one) FROM {schema}.event AS i, unnest(i.watched) AS one
                 WHERE i.viewer_id = e.viewer_id AND i.content_id = e.content_id), '{}') AS watched,
       coalesce((SELECT sum(upper(one) - lower(one))
                 FROM unnest((SELECT range_agg(one) FROM {schema}.event AS i, unnest(i.watched) AS one
                              WHERE i.viewer_id = e.viewer_id AND i.content_id = e.content_id)) AS one), 0)::bigint AS unique_ms,
       coalesce((SELECT sum(upper(one) - lower(one)) FROM {schema}.event AS i, unnest(i.watched) AS one
                 WHERE i.viewer_id = e.viewer_id AND i.content_id = e.content_id), 0)::bigint AS watched_ms,
       min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM {schema}.event AS e
GROUP BY viewer_id, content_id
