-- The two halves of `event` with the columns that belong to each. Owned by the administrator; readers may select.
CREATE VIEW watch_event AS
SELECT event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, received_at, seq,
       position_ms, rate, watched, played_ms, details
FROM event
WHERE type LIKE 'video.%' OR type = 'session.ended';

CREATE VIEW answer_event AS
SELECT event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, client_occurred_at, received_at, seq,
       position_ms, rate, answer, correct, score, attempt, elapsed_ms, details
FROM event
WHERE type LIKE 'item.%';

COMMENT ON VIEW watch_event  IS 'What viewers watched: video.* and session.ended.';
COMMENT ON VIEW answer_event IS 'What viewers were shown and answered: item.*.';
