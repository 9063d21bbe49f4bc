-- Fewer and wider rows for the reporter to keep: a curve's steps by the minute instead of one a row, the times that answers took
-- as lists, and a viewer's first sessions with a content in that viewer's own row. Nothing that is there is moved: the views
-- show old rows and new ones together, until a rebuild makes a set of new ones alone.
--
-- The order is that of locks: what is new, then the views that change, in the order in which `rollbook report` reads them, and only
-- then the tables below them, none of which another view reads but report_viewing. So no reader holds what this waits for while
-- it waits for what this holds, unless a transaction of its own reads the views in another order. report_build, which all views read,
-- stays as it is.
CREATE TABLE report_curve (
    build      integer   NOT NULL,
    content_id text      NOT NULL,
    part       integer   NOT NULL,
    seconds    integer[] NOT NULL,
    viewers    bigint[]  NOT NULL,
    times      bigint[]  NOT NULL,
    PRIMARY KEY (build, content_id, part)
) WITH (fillfactor = 50);

COMMENT ON TABLE  report_curve            IS 'Where the curve of report_retention rises and falls, beside what report_step says.';
COMMENT ON COLUMN report_curve.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_curve.content_id IS 'The video.';
COMMENT ON COLUMN report_curve.part       IS 'Which 64 seconds of it, from 0.';
COMMENT ON COLUMN report_curve.seconds    IS 'The seconds from which on there is a step, in order.';
COMMENT ON COLUMN report_curve.viewers    IS 'Of each: viewers that more watched this second than the one before.';
COMMENT ON COLUMN report_curve.times      IS 'Of each: intervals that more contain this second than the one before.';
COMMENT ON TABLE  report_step             IS 'The same, a row for each step, as it was kept at first: no more are added.';

CREATE TABLE report_elapsed_part (
    build      integer   NOT NULL,
    content_id text      NOT NULL,
    item_id    text      NOT NULL,
    part       bigint    NOT NULL,
    elapsed_ms integer[] NOT NULL,
    answers    bigint[],
    PRIMARY KEY (build, content_id, item_id, part)
) WITH (fillfactor = 50);
-- They hardly shrink, and packing them costs more than writing them.
ALTER TABLE report_elapsed_part
    ALTER COLUMN elapsed_ms SET STORAGE EXTERNAL,
    ALTER COLUMN answers SET STORAGE EXTERNAL;

COMMENT ON TABLE  report_elapsed_part            IS 'How long answers took: what the median is taken from, beside what report_elapsed says.';
COMMENT ON COLUMN report_elapsed_part.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_elapsed_part.content_id IS 'The video.';
COMMENT ON COLUMN report_elapsed_part.item_id    IS 'The item.';
COMMENT ON COLUMN report_elapsed_part.part       IS 'From 0 on: times as they came, of about 256 answers. Below: times that were counted, each once in all of those parts.';
COMMENT ON COLUMN report_elapsed_part.elapsed_ms IS 'The times, in no order.';
COMMENT ON COLUMN report_elapsed_part.answers    IS 'Of each: how many answers took it; NULL: one each.';
COMMENT ON TABLE  report_elapsed                 IS 'The same, a row for each time that differs, as it was kept at first: no more are added.';

CREATE OR REPLACE VIEW report_retention AS
SELECT stretch.content_id, each.second, stretch.viewers, stretch.times
FROM (SELECT content_id, second AS from_second, lead(second) OVER curve AS to_second,
             (sum(viewers) OVER curve)::bigint AS viewers, (sum(times) OVER curve)::bigint AS times
      -- Of two steps at one second each has the sum of both, and the first is followed by no second.
      FROM (SELECT content_id, second, viewers, times
            FROM report_step
            WHERE build = (SELECT build FROM report_build WHERE state = 'current')
            UNION ALL
            SELECT c.content_id, step.second, step.viewers, step.times
            FROM report_curve AS c
            CROSS JOIN LATERAL unnest(c.seconds, c.viewers, c.times) AS step (second, viewers, times)
            WHERE c.build = (SELECT build FROM report_build WHERE state = 'current')) AS steps
      WINDOW curve AS (PARTITION BY content_id ORDER BY second)) AS stretch
CROSS JOIN LATERAL generate_series(stretch.from_second, stretch.to_second - 1) AS each (second);

CREATE OR REPLACE VIEW report_item AS
SELECT i.content_id, i.item_id, i.shown_viewers, i.answered_viewers, i.skipped_viewers, i.revised_viewers, i.attempts,
       i.first_correct_viewers, i.last_correct_viewers,
       (i.first_correct_viewers::numeric / nullif(i.first_judged_viewers, 0))::real AS first_accuracy,
       (i.last_correct_viewers::numeric / nullif(i.last_judged_viewers, 0))::real AS last_accuracy,
       elapsed.median_low + elapsed.median_part * (elapsed.median_high - elapsed.median_low) AS median_elapsed_ms,
       elapsed.p90_low + elapsed.p90_part * (elapsed.p90_high - elapsed.p90_low) AS p90_elapsed_ms
FROM report_item_sum AS i
-- percentile_cont, over values with their numbers: between the two that lie around the place, by its fraction. Numbers are summed
-- as floating point, which is exact up to 2^53 answers and several times as fast as the numeric that a sum of bigint is.
CROSS JOIN LATERAL (
    SELECT 0.5::double precision * (sum(each.answers) - 1) AS median_at,
           0.9::double precision * (sum(each.answers) - 1) AS p90_at
    FROM (SELECT coalesce((SELECT sum(n) FROM unnest(p.answers) AS n), cardinality(p.elapsed_ms))::double precision AS answers
          FROM report_elapsed_part AS p
          WHERE p.build = i.build AND p.content_id = i.content_id AND p.item_id = i.item_id
          UNION ALL
          SELECT e.answers
          FROM report_elapsed AS e
          WHERE e.build = i.build AND e.content_id = i.content_id AND e.item_id = i.item_id) AS each) AS place
CROSS JOIN LATERAL (
    SELECT min(ms) FILTER (WHERE ranked.until > floor(place.median_at)) AS median_low,
           min(ms) FILTER (WHERE ranked.until > ceil(place.median_at)) AS median_high,
           place.median_at - floor(place.median_at) AS median_part,
           min(ms) FILTER (WHERE ranked.until > floor(place.p90_at)) AS p90_low,
           min(ms) FILTER (WHERE ranked.until > ceil(place.p90_at)) AS p90_high,
           place.p90_at - floor(place.p90_at) AS p90_part
    FROM (SELECT time.ms, sum(sum(time.answers)) OVER (ORDER BY time.ms) AS until
          FROM (SELECT part.ms, coalesce(part.answers, 1)::double precision AS answers
                FROM (SELECT unnest(p.elapsed_ms) AS ms, unnest(p.answers) AS answers
                      FROM report_elapsed_part AS p
                      WHERE p.build = i.build AND p.content_id = i.content_id AND p.item_id = i.item_id) AS part
                UNION ALL
                SELECT e.elapsed_ms, e.answers
                FROM report_elapsed AS e
                WHERE e.build = i.build AND e.content_id = i.content_id AND e.item_id = i.item_id) AS time
          GROUP BY time.ms) AS ranked) AS elapsed
WHERE i.build = (SELECT build FROM report_build WHERE state = 'current');

ALTER TABLE report_viewer_content
    ADD COLUMN session_ids  text[]    NOT NULL DEFAULT '{}',
    ADD COLUMN session_days integer[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN report_viewer_content.session_ids  IS 'The first few of the sessions; what they do not hold stands in report_further_session.';
COMMENT ON COLUMN report_viewer_content.session_days IS 'Of each: the last UTC day for which it was counted, in days from 2000-01-01 on.';

ALTER TABLE report_item_sum
    ADD COLUMN counted_attempts bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_times    bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN report_item_sum.counted_attempts IS 'How many of the attempts there were when times in report_elapsed_part were last counted.';
COMMENT ON COLUMN report_item_sum.counted_times    IS 'How many of those times differ.';

-- Renamed, so that a reporter of an earlier release that still has a turn fails, and counts none of them a second time.
ALTER TABLE report_session RENAME TO report_further_session;
COMMENT ON TABLE report_further_session IS 'Sessions that were counted for their content, but for those that stand in report_viewer_content.';
