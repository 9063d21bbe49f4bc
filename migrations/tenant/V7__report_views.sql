-- The reports, as people and BI tools read them. What each number means stands in docs/reports.md.
CREATE VIEW report_viewing AS
SELECT v.viewer_id, v.content_id, v.sessions, v.plays, v.watched, v.unique_ms, v.watched_ms,
       CASE WHEN c.duration_ms > 0 THEN least(1, v.unique_ms::numeric / c.duration_ms)::real END AS completion,
       coalesce(c.duration_ms > 0 AND v.unique_ms >= b.completion * c.duration_ms, false) AS completed,
       v.first_at, v.last_at
FROM report_viewer_content AS v
JOIN report_build AS b ON b.build = v.build
LEFT JOIN report_content_sum AS c ON c.build = v.build AND c.content_id = v.content_id
WHERE v.build = (SELECT build FROM report_build WHERE state = 'current');

CREATE VIEW report_content AS
SELECT content_id, duration_ms, viewers, sessions, plays, unique_ms, watched_ms,
       CASE WHEN duration_ms > 0 THEN (capped_ms::numeric / duration_ms / viewers)::real END AS average_completion,
       completed_viewers, items, answers, first_at, last_at
FROM report_content_sum
WHERE build = (SELECT build FROM report_build WHERE state = 'current');

CREATE VIEW report_retention AS
SELECT stretch.content_id, each.second, stretch.viewers, stretch.times
FROM (SELECT content_id, second AS from_second, lead(second) OVER curve AS to_second,
             (sum(viewers) OVER curve)::bigint AS viewers, (sum(times) OVER curve)::bigint AS times
      FROM report_step
      WHERE build = (SELECT build FROM report_build WHERE state = 'current')
      WINDOW curve AS (PARTITION BY content_id ORDER BY second)) AS stretch
CROSS JOIN LATERAL generate_series(stretch.from_second, stretch.to_second - 1) AS each (second);

CREATE VIEW report_item AS
SELECT i.content_id, i.item_id, i.shown_viewers, i.answered_viewers, i.skipped_viewers, i.revised_viewers, i.attempts,
       i.first_correct_viewers, i.last_correct_viewers,
       (i.first_correct_viewers::numeric / nullif(i.first_judged_viewers, 0))::real AS first_accuracy,
       (i.last_correct_viewers::numeric / nullif(i.last_judged_viewers, 0))::real AS last_accuracy,
       elapsed.median_low + elapsed.median_part * (elapsed.median_high - elapsed.median_low) AS median_elapsed_ms,
       elapsed.p90_low + elapsed.p90_part * (elapsed.p90_high - elapsed.p90_low) AS p90_elapsed_ms
FROM report_item_sum AS i
-- percentile_cont, over values with their numbers: between the two that lie around the place, by its fraction.
CROSS JOIN LATERAL (
    SELECT min(ms) FILTER (WHERE ranked.until > floor(median_at)) AS median_low,
           min(ms) FILTER (WHERE ranked.until > ceil(median_at)) AS median_high,
           min(median_at) - floor(min(median_at)) AS median_part,
           min(ms) FILTER (WHERE ranked.until > floor(p90_at)) AS p90_low,
           min(ms) FILTER (WHERE ranked.until > ceil(p90_at)) AS p90_high,
           min(p90_at) - floor(min(p90_at)) AS p90_part
    FROM (SELECT e.elapsed_ms::double precision AS ms,
                 sum(e.answers) OVER (ORDER BY e.elapsed_ms) AS until,
                 0.5::double precision * ((sum(e.answers) OVER ())::double precision - 1) AS median_at,
                 0.9::double precision * ((sum(e.answers) OVER ())::double precision - 1) AS p90_at
          FROM report_elapsed AS e
          WHERE e.build = i.build AND e.content_id = i.content_id AND e.item_id = i.item_id) AS ranked) AS elapsed
WHERE i.build = (SELECT build FROM report_build WHERE state = 'current');

CREATE VIEW report_option AS
SELECT content_id, item_id, choice, first_viewers, last_viewers
FROM report_option_sum
WHERE build = (SELECT build FROM report_build WHERE state = 'current') AND (first_viewers > 0 OR last_viewers > 0);

CREATE VIEW report_answer AS
SELECT viewer_id, content_id, item_id, attempts, first_answer, first_correct, first_score, first_at,
       last_answer, last_correct, last_score, last_at, last_elapsed_ms
FROM report_viewer_item
WHERE build = (SELECT build FROM report_build WHERE state = 'current') AND attempts > 0;

CREATE VIEW report_day AS
SELECT day, viewers, sessions, contents, events, plays, watched_ms, answers, correct_answers
FROM report_day_sum
WHERE build = (SELECT build FROM report_build WHERE state = 'current');

COMMENT ON VIEW   report_viewing            IS 'What each viewer watched of each content. One row for a viewer and a content.';
COMMENT ON COLUMN report_viewing.viewer_id  IS 'The viewer, as the player names them.';
COMMENT ON COLUMN report_viewing.content_id IS 'The video.';
COMMENT ON COLUMN report_viewing.sessions   IS 'Sessions of this viewer with this content.';
COMMENT ON COLUMN report_viewing.plays      IS 'How often play was pressed: video.played events.';
COMMENT ON COLUMN report_viewing.watched    IS 'The parts that were watched at least once, in milliseconds of the video.';
COMMENT ON COLUMN report_viewing.unique_ms  IS 'How much of the video was watched at least once, milliseconds.';
COMMENT ON COLUMN report_viewing.watched_ms IS 'How much was watched in all, re-watching counted, milliseconds of the video.';
COMMENT ON COLUMN report_viewing.completion IS 'unique_ms as a share of the duration, 0 to 1; NULL: the duration is not known.';
COMMENT ON COLUMN report_viewing.completed  IS 'Whether the share reached the organization''s completion threshold.';
COMMENT ON COLUMN report_viewing.first_at   IS 'The first event of this viewer with this content.';
COMMENT ON COLUMN report_viewing.last_at    IS 'The last event of this viewer with this content.';

COMMENT ON VIEW   report_content                    IS 'How each content is watched. One row for a content.';
COMMENT ON COLUMN report_content.content_id         IS 'The video.';
COMMENT ON COLUMN report_content.duration_ms        IS 'Its length: the greatest that a video.ready event told; NULL: none did.';
COMMENT ON COLUMN report_content.viewers            IS 'Viewers of whom there is any event, each counted once.';
COMMENT ON COLUMN report_content.sessions           IS 'Sessions; one is a session_id of one viewer.';
COMMENT ON COLUMN report_content.plays              IS 'How often play was pressed: video.played events.';
COMMENT ON COLUMN report_content.unique_ms          IS 'Sum over viewers of what each watched at least once, milliseconds.';
COMMENT ON COLUMN report_content.watched_ms         IS 'Milliseconds of the video watched in all, re-watching counted.';
COMMENT ON COLUMN report_content.average_completion IS 'The mean of the viewers'' completion, 0 to 1; NULL: the duration is not known.';
COMMENT ON COLUMN report_content.completed_viewers  IS 'Viewers who reached the organization''s completion threshold.';
COMMENT ON COLUMN report_content.items              IS 'Items that any item.* event named.';
COMMENT ON COLUMN report_content.answers            IS 'Answers given: item.answered events.';
COMMENT ON COLUMN report_content.first_at           IS 'The first event.';
COMMENT ON COLUMN report_content.last_at            IS 'The last event.';

COMMENT ON VIEW   report_retention            IS 'The retention curve of each content. One row for a second of it, up to the last that anybody watched.';
COMMENT ON COLUMN report_retention.content_id IS 'The video.';
COMMENT ON COLUMN report_retention.second     IS 'The second of the video, from 0.';
COMMENT ON COLUMN report_retention.viewers    IS 'Viewers who watched this second at least once.';
COMMENT ON COLUMN report_retention.times      IS 'How often this second was watched, re-watching counted.';

COMMENT ON VIEW   report_item                       IS 'How each item is answered. One row for an item of a content.';
COMMENT ON COLUMN report_item.content_id            IS 'The video.';
COMMENT ON COLUMN report_item.item_id               IS 'The item.';
COMMENT ON COLUMN report_item.shown_viewers         IS 'Viewers to whom it was shown.';
COMMENT ON COLUMN report_item.answered_viewers      IS 'Viewers who answered it.';
COMMENT ON COLUMN report_item.skipped_viewers       IS 'Viewers who skipped it.';
COMMENT ON COLUMN report_item.revised_viewers       IS 'Viewers who revised their answer.';
COMMENT ON COLUMN report_item.attempts              IS 'Answers given: item.answered events.';
COMMENT ON COLUMN report_item.first_correct_viewers IS 'Viewers whose first answer is right.';
COMMENT ON COLUMN report_item.last_correct_viewers  IS 'Viewers whose last answer is right.';
COMMENT ON COLUMN report_item.first_accuracy        IS 'Share of right ones among first answers that say whether they are, 0 to 1; NULL: none says.';
COMMENT ON COLUMN report_item.last_accuracy         IS 'Share of right ones among last answers that say whether they are, 0 to 1; NULL: none says.';
COMMENT ON COLUMN report_item.median_elapsed_ms     IS 'Half of the answers took no longer, milliseconds; NULL: none tells.';
COMMENT ON COLUMN report_item.p90_elapsed_ms        IS 'Nine in ten answers took no longer, milliseconds; NULL: none tells.';

COMMENT ON VIEW   report_option               IS 'What was chosen. One row for a choice of an item that some viewer''s first or last answer has.';
COMMENT ON COLUMN report_option.content_id    IS 'The video.';
COMMENT ON COLUMN report_option.item_id       IS 'The item.';
COMMENT ON COLUMN report_option.choice        IS 'The choice, as the player names it.';
COMMENT ON COLUMN report_option.first_viewers IS 'Viewers whose first answer has it.';
COMMENT ON COLUMN report_option.last_viewers  IS 'Viewers whose last answer has it.';

COMMENT ON VIEW   report_answer                 IS 'What each viewer answered. One row for a viewer and an item of a content.';
COMMENT ON COLUMN report_answer.viewer_id       IS 'The viewer, as the player names them.';
COMMENT ON COLUMN report_answer.content_id      IS 'The video.';
COMMENT ON COLUMN report_answer.item_id         IS 'The item.';
COMMENT ON COLUMN report_answer.attempts        IS 'How often they answered.';
COMMENT ON COLUMN report_answer.first_answer    IS 'The first answer: exactly one of choice, choices, text, number, bool.';
COMMENT ON COLUMN report_answer.first_correct   IS 'Whether it was right; NULL: not told.';
COMMENT ON COLUMN report_answer.first_score     IS 'Its score, 0 to 1; NULL: not told.';
COMMENT ON COLUMN report_answer.first_at        IS 'When it was given.';
COMMENT ON COLUMN report_answer.last_answer     IS 'The last answer.';
COMMENT ON COLUMN report_answer.last_correct    IS 'Whether it was right; NULL: not told.';
COMMENT ON COLUMN report_answer.last_score      IS 'Its score, 0 to 1; NULL: not told.';
COMMENT ON COLUMN report_answer.last_at         IS 'When it was given.';
COMMENT ON COLUMN report_answer.last_elapsed_ms IS 'How long it took, milliseconds; NULL: not told.';

COMMENT ON VIEW   report_day                 IS 'What happened on each day. One row for a UTC day.';
COMMENT ON COLUMN report_day.day             IS 'The day in UTC, by when it happened.';
COMMENT ON COLUMN report_day.viewers         IS 'Viewers of whom there is any event, each counted once.';
COMMENT ON COLUMN report_day.sessions        IS 'Sessions; one is a session_id of one viewer.';
COMMENT ON COLUMN report_day.contents        IS 'Contents that any event names.';
COMMENT ON COLUMN report_day.events          IS 'Events.';
COMMENT ON COLUMN report_day.plays           IS 'How often play was pressed: video.played events.';
COMMENT ON COLUMN report_day.watched_ms      IS 'Milliseconds of video watched in all, re-watching counted.';
COMMENT ON COLUMN report_day.answers         IS 'Answers given: item.answered events.';
COMMENT ON COLUMN report_day.correct_answers IS 'Those that are right.';
