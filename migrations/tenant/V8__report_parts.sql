-- Fewer and wider rows for the reporter to keep: a curve's steps by the minute instead of one a row, the times that answers took
-- as lists, and a viewer's first sessions with a content in that viewer's own row. Nothing that is there is moved: the views
-- show old rows and new ones together, until a rebuild makes a set of new ones alone.
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
    PRIMARY KEY (build, content_id, item_id, part)
) WITH (fillfactor = 50);
-- They hardly shrink, and packing them costs more than writing them.
ALTER TABLE report_elapsed_part ALTER COLUMN elapsed_ms SET STORAGE EXTERNAL;

COMMENT ON TABLE  report_elapsed_part            IS 'How long answers took: what the median is taken from, beside what report_elapsed says.';
COMMENT ON COLUMN report_elapsed_part.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_elapsed_part.content_id IS 'The video.';
COMMENT ON COLUMN report_elapsed_part.item_id    IS 'The item.';
COMMENT ON COLUMN report_elapsed_part.part       IS 'A part grows until the item has 256 more answers than at its beginning.';
COMMENT ON COLUMN report_elapsed_part.elapsed_ms IS 'The times, one for each answer that tells it.';
COMMENT ON TABLE  report_elapsed                 IS 'The same, a row for each time that differs, as it was kept at first: no more are added.';

ALTER TABLE report_viewer_content
    ADD COLUMN session_ids  text[]    NOT NULL DEFAULT '{}',
    ADD COLUMN session_days integer[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN report_viewer_content.session_ids  IS 'The first few of the sessions; what they do not hold stands in report_further_session.';
COMMENT ON COLUMN report_viewer_content.session_days IS 'Of each: the last UTC day for which it was counted, in days from 2000-01-01 on.';

-- Renamed, so that a reporter of an earlier release that still has a turn fails, and counts none of them a second time.
ALTER TABLE report_session RENAME TO report_further_session;
COMMENT ON TABLE report_further_session IS 'Sessions that were counted for their content, but for those that stand in report_viewer_content.';

-- So that whoever asks how reports stand can tell a long period from none.
ALTER TABLE report_build ADD COLUMN period_seconds integer NOT NULL DEFAULT 10 CHECK (period_seconds > 0);
COMMENT ON COLUMN report_build.period_seconds IS 'How often the reporter has said that it moves the state.';

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
       elapsed.percentiles[1] AS median_elapsed_ms, elapsed.percentiles[2] AS p90_elapsed_ms
FROM report_item_sum AS i
CROSS JOIN LATERAL (
    SELECT percentile_cont(ARRAY[0.5, 0.9]::double precision[]) WITHIN GROUP (ORDER BY each.ms) AS percentiles
    FROM (SELECT unnest(p.elapsed_ms)::double precision AS ms
          FROM report_elapsed_part AS p
          WHERE p.build = i.build AND p.content_id = i.content_id AND p.item_id = i.item_id
          UNION ALL
          SELECT e.elapsed_ms
          FROM report_elapsed AS e
          CROSS JOIN LATERAL generate_series(1, e.answers)
          WHERE e.build = i.build AND e.content_id = i.content_id AND e.item_id = i.item_id) AS each) AS elapsed
WHERE i.build = (SELECT build FROM report_build WHERE state = 'current');
