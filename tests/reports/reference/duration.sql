SELECT content_id, max((details ->> 'duration_ms')::bigint) FILTER (WHERE type = 'video.ready') AS duration_ms
FROM {schema}.event
GROUP BY content_id
