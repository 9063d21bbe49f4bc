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
