-- What is new of contents, added to their sums: see gather/contents.rs. How long one is and whether viewers are done with it
-- is judged afterwards, where the duration is another one: see judging.sql.
INSERT INTO {schema}.report_content_sum AS kept
    (build, content_id, duration_ms, judged_ms, viewers, sessions, plays, unique_ms, capped_ms, watched_ms,
     completed_viewers, items, answers, first_at, last_at)
SELECT {build}, content_id, duration_ms, NULL, viewers, sessions, plays, unique_ms, capped_ms, watched_ms,
       completed_viewers, 0, answers, first_at, last_at
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[])
    AS new (content_id, duration_ms, viewers, sessions, plays, unique_ms, capped_ms, watched_ms, completed_viewers, answers,
            first_at, last_at)
ON CONFLICT (build, content_id) DO UPDATE
    SET duration_ms = greatest(kept.duration_ms, excluded.duration_ms),
        viewers = kept.viewers + excluded.viewers, sessions = kept.sessions + excluded.sessions,
        plays = kept.plays + excluded.plays, unique_ms = kept.unique_ms + excluded.unique_ms,
        capped_ms = kept.capped_ms + excluded.capped_ms, watched_ms = kept.watched_ms + excluded.watched_ms,
        completed_viewers = kept.completed_viewers + excluded.completed_viewers,
        answers = kept.answers + excluded.answers,
        first_at = least(kept.first_at, excluded.first_at), last_at = greatest(kept.last_at, excluded.last_at)
