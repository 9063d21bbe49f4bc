-- What is kept for the reports, so that reading them does not read `event`. The reporter keeps it (see docs/reports.md);
-- people read the views. Each table carries the build that its rows belong to: a rebuild makes a second set of rows beside
-- the one that is read, and the views change over in one step.
CREATE TABLE report_state (
    taken_until timestamptz NOT NULL,
    events      bigint      NOT NULL DEFAULT 0 CHECK (events >= 0),
    rebuilt_at  timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX report_state_has_one_row ON report_state ((true));

COMMENT ON TABLE  report_state             IS 'How far the reports are. One row.';
COMMENT ON COLUMN report_state.taken_until IS 'Every event that was visible before this is in the reports.';
COMMENT ON COLUMN report_state.events      IS 'How many events are in the reports.';
COMMENT ON COLUMN report_state.rebuilt_at  IS 'When the reports were last made anew from all events; NULL: never.';

CREATE TABLE report_build (
    build             integer       PRIMARY KEY CHECK (build > 0),
    state             text          NOT NULL CHECK (state IN ('current', 'building', 'old')),
    system_identifier bigint        NOT NULL,
    next_txid         bigint        CHECK (next_txid >= 0),
    open_txids        bigint[]      NOT NULL DEFAULT '{}',
    foreign_from      bigint,
    foreign_until     bigint,
    next_block        bigint        NOT NULL DEFAULT 0 CHECK (next_block >= 0),
    end_block         bigint        NOT NULL DEFAULT 0 CHECK (end_block >= 0),
    events            bigint        NOT NULL DEFAULT 0 CHECK (events >= 0),
    completion        numeric(7, 6) NOT NULL DEFAULT 0.9 CHECK (completion > 0 AND completion <= 1),
    begun_at          timestamptz   NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX report_build_in_state ON report_build (state) WHERE state IN ('current', 'building');

COMMENT ON TABLE  report_build                   IS 'Sets of summaries: the one that is read, one that is being made, and old ones that are being deleted.';
COMMENT ON COLUMN report_build.build             IS 'Names the set; rows of the other report tables carry it.';
COMMENT ON COLUMN report_build.state             IS 'current: the views show it; building: a rebuild makes it; old: to be deleted.';
COMMENT ON COLUMN report_build.system_identifier IS 'The cluster whose transactions next_txid and open_txids are.';
COMMENT ON COLUMN report_build.next_txid         IS 'Rows of older transactions are in, but for those of open_txids. NULL: nothing is in, and a rebuild has to come first.';
COMMENT ON COLUMN report_build.open_txids        IS 'Older transactions that had not ended at the last look.';
COMMENT ON COLUMN report_build.foreign_from      IS 'Where the numbers of transactions stood when the build began.';
COMMENT ON COLUMN report_build.foreign_until     IS 'The highest transaction that a row claimed then, although it had not begun: the row came with a dump. NULL: there was none.';
COMMENT ON COLUMN report_build.next_block        IS 'The block of event that the build goes on with.';
COMMENT ON COLUMN report_build.end_block         IS 'The block where it ends: later rows are found by their transaction.';
COMMENT ON COLUMN report_build.events            IS 'How many events are in.';
COMMENT ON COLUMN report_build.completion        IS 'The share of a duration from which on a viewer counts as done.';
COMMENT ON COLUMN report_build.begun_at          IS 'When the build began.';

CREATE TABLE report_viewer_content (
    build      integer        NOT NULL,
    content_id text           NOT NULL,
    viewer_id  text           NOT NULL,
    sessions   bigint         NOT NULL,
    plays      bigint         NOT NULL,
    watched    int4multirange NOT NULL,
    unique_ms  bigint         NOT NULL,
    watched_ms bigint         NOT NULL,
    first_at   timestamptz    NOT NULL,
    last_at    timestamptz    NOT NULL,
    PRIMARY KEY (build, content_id, viewer_id)
) WITH (fillfactor = 80);

COMMENT ON TABLE  report_viewer_content            IS 'What report_viewing shows.';
COMMENT ON COLUMN report_viewer_content.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_viewer_content.content_id IS 'The video.';
COMMENT ON COLUMN report_viewer_content.viewer_id  IS 'The viewer.';
COMMENT ON COLUMN report_viewer_content.sessions   IS 'Sessions of the viewer with the content.';
COMMENT ON COLUMN report_viewer_content.plays      IS 'video.played events.';
COMMENT ON COLUMN report_viewer_content.watched    IS 'The union of what was watched, milliseconds.';
COMMENT ON COLUMN report_viewer_content.unique_ms  IS 'Length of the union.';
COMMENT ON COLUMN report_viewer_content.watched_ms IS 'Lengths of all intervals as sent.';
COMMENT ON COLUMN report_viewer_content.first_at   IS 'The first event.';
COMMENT ON COLUMN report_viewer_content.last_at    IS 'The last event.';

CREATE TABLE report_session (
    build      integer NOT NULL,
    content_id text    NOT NULL,
    viewer_id  text    NOT NULL,
    session_id text    NOT NULL,
    PRIMARY KEY (build, content_id, viewer_id, session_id)
);

COMMENT ON TABLE  report_session            IS 'Sessions that were counted for their content.';
COMMENT ON COLUMN report_session.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_session.content_id IS 'The video.';
COMMENT ON COLUMN report_session.viewer_id  IS 'The viewer.';
COMMENT ON COLUMN report_session.session_id IS 'The viewer''s session.';

CREATE TABLE report_content_sum (
    build             integer     NOT NULL,
    content_id        text        NOT NULL,
    duration_ms       bigint,
    judged_ms         bigint,
    viewers           bigint      NOT NULL,
    sessions          bigint      NOT NULL,
    plays             bigint      NOT NULL,
    unique_ms         bigint      NOT NULL,
    capped_ms         bigint      NOT NULL,
    watched_ms        bigint      NOT NULL,
    completed_viewers bigint      NOT NULL,
    items             bigint      NOT NULL,
    answers           bigint      NOT NULL,
    first_at          timestamptz NOT NULL,
    last_at           timestamptz NOT NULL,
    PRIMARY KEY (build, content_id)
) WITH (fillfactor = 70);
CREATE INDEX report_content_sum_unjudged ON report_content_sum (build) WHERE judged_ms IS DISTINCT FROM duration_ms;

COMMENT ON TABLE  report_content_sum                   IS 'What report_content shows.';
COMMENT ON COLUMN report_content_sum.build             IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_content_sum.content_id        IS 'The video.';
COMMENT ON COLUMN report_content_sum.duration_ms       IS 'The greatest duration that a video.ready told.';
COMMENT ON COLUMN report_content_sum.judged_ms         IS 'The duration that capped_ms and completed_viewers were counted with.';
COMMENT ON COLUMN report_content_sum.viewers           IS 'Viewers of whom there is an event.';
COMMENT ON COLUMN report_content_sum.sessions          IS 'Their sessions.';
COMMENT ON COLUMN report_content_sum.plays             IS 'video.played events.';
COMMENT ON COLUMN report_content_sum.unique_ms         IS 'Lengths of the viewers'' unions.';
COMMENT ON COLUMN report_content_sum.capped_ms         IS 'The same, none longer than the duration; 0 without one.';
COMMENT ON COLUMN report_content_sum.watched_ms        IS 'Lengths of all intervals as sent.';
COMMENT ON COLUMN report_content_sum.completed_viewers IS 'Viewers who reached the threshold.';
COMMENT ON COLUMN report_content_sum.items             IS 'Items that an item.* event named.';
COMMENT ON COLUMN report_content_sum.answers           IS 'item.answered events.';
COMMENT ON COLUMN report_content_sum.first_at          IS 'The first event.';
COMMENT ON COLUMN report_content_sum.last_at           IS 'The last event.';

-- A curve is kept as steps, so that an interval costs two rows at most, however long it is.
CREATE TABLE report_step (
    build      integer NOT NULL,
    content_id text    NOT NULL,
    second     integer NOT NULL,
    viewers    bigint  NOT NULL,
    times      bigint  NOT NULL,
    PRIMARY KEY (build, content_id, second)
) WITH (fillfactor = 70);

COMMENT ON TABLE  report_step            IS 'Where the curve of report_retention rises and falls.';
COMMENT ON COLUMN report_step.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_step.content_id IS 'The video.';
COMMENT ON COLUMN report_step.second     IS 'The second from which on the step holds.';
COMMENT ON COLUMN report_step.viewers    IS 'Viewers that more watched this second than the one before.';
COMMENT ON COLUMN report_step.times      IS 'Intervals that more contain this second than the one before.';

CREATE TABLE report_viewer_item (
    build           integer NOT NULL,
    content_id      text    NOT NULL,
    item_id         text    NOT NULL,
    viewer_id       text    NOT NULL,
    shown           boolean NOT NULL,
    skipped         boolean NOT NULL,
    revised         boolean NOT NULL,
    attempts        bigint  NOT NULL,
    first_at        timestamptz,
    first_seq       bigint,
    first_event_id  uuid,
    first_answer    jsonb,
    first_correct   boolean,
    first_score     real,
    last_at         timestamptz,
    last_seq        bigint,
    last_event_id   uuid,
    last_answer     jsonb,
    last_correct    boolean,
    last_score      real,
    last_elapsed_ms integer,
    PRIMARY KEY (build, content_id, item_id, viewer_id)
) WITH (fillfactor = 80);

COMMENT ON TABLE  report_viewer_item                 IS 'What a viewer did with an item; report_answer shows those with an answer.';
COMMENT ON COLUMN report_viewer_item.build           IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_viewer_item.content_id      IS 'The video.';
COMMENT ON COLUMN report_viewer_item.item_id         IS 'The item.';
COMMENT ON COLUMN report_viewer_item.viewer_id       IS 'The viewer.';
COMMENT ON COLUMN report_viewer_item.shown           IS 'Whether there is an item.shown event.';
COMMENT ON COLUMN report_viewer_item.skipped         IS 'Whether there is an item.skipped event.';
COMMENT ON COLUMN report_viewer_item.revised         IS 'Whether there is an item.revised event.';
COMMENT ON COLUMN report_viewer_item.attempts        IS 'item.answered events.';
COMMENT ON COLUMN report_viewer_item.first_at        IS 'When the first answer was given.';
COMMENT ON COLUMN report_viewer_item.first_seq       IS 'Its place in its session; -1: not told, which comes first.';
COMMENT ON COLUMN report_viewer_item.first_event_id  IS 'Its event.';
COMMENT ON COLUMN report_viewer_item.first_answer    IS 'The first answer.';
COMMENT ON COLUMN report_viewer_item.first_correct   IS 'Whether it was right.';
COMMENT ON COLUMN report_viewer_item.first_score     IS 'Its score.';
COMMENT ON COLUMN report_viewer_item.last_at         IS 'When the last answer was given.';
COMMENT ON COLUMN report_viewer_item.last_seq        IS 'Its place in its session; -1: not told, which comes first.';
COMMENT ON COLUMN report_viewer_item.last_event_id   IS 'Its event.';
COMMENT ON COLUMN report_viewer_item.last_answer     IS 'The last answer.';
COMMENT ON COLUMN report_viewer_item.last_correct    IS 'Whether it was right.';
COMMENT ON COLUMN report_viewer_item.last_score      IS 'Its score.';
COMMENT ON COLUMN report_viewer_item.last_elapsed_ms IS 'The time it took.';

CREATE TABLE report_item_sum (
    build                 integer NOT NULL,
    content_id            text    NOT NULL,
    item_id               text    NOT NULL,
    shown_viewers         bigint  NOT NULL,
    answered_viewers      bigint  NOT NULL,
    skipped_viewers       bigint  NOT NULL,
    revised_viewers       bigint  NOT NULL,
    attempts              bigint  NOT NULL,
    first_judged_viewers  bigint  NOT NULL,
    first_correct_viewers bigint  NOT NULL,
    last_judged_viewers   bigint  NOT NULL,
    last_correct_viewers  bigint  NOT NULL,
    PRIMARY KEY (build, content_id, item_id)
) WITH (fillfactor = 70);

COMMENT ON TABLE  report_item_sum                       IS 'What report_item shows.';
COMMENT ON COLUMN report_item_sum.build                 IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_item_sum.content_id            IS 'The video.';
COMMENT ON COLUMN report_item_sum.item_id               IS 'The item.';
COMMENT ON COLUMN report_item_sum.shown_viewers         IS 'Viewers to whom it was shown.';
COMMENT ON COLUMN report_item_sum.answered_viewers      IS 'Viewers who answered it.';
COMMENT ON COLUMN report_item_sum.skipped_viewers       IS 'Viewers who skipped it.';
COMMENT ON COLUMN report_item_sum.revised_viewers       IS 'Viewers who revised it.';
COMMENT ON COLUMN report_item_sum.attempts              IS 'item.answered events.';
COMMENT ON COLUMN report_item_sum.first_judged_viewers  IS 'Viewers whose first answer says whether it is right.';
COMMENT ON COLUMN report_item_sum.first_correct_viewers IS 'Viewers whose first answer is right.';
COMMENT ON COLUMN report_item_sum.last_judged_viewers   IS 'Viewers whose last answer says whether it is right.';
COMMENT ON COLUMN report_item_sum.last_correct_viewers  IS 'Viewers whose last answer is right.';

CREATE TABLE report_elapsed (
    build      integer NOT NULL,
    content_id text    NOT NULL,
    item_id    text    NOT NULL,
    elapsed_ms integer NOT NULL,
    answers    bigint  NOT NULL,
    PRIMARY KEY (build, content_id, item_id, elapsed_ms)
) WITH (fillfactor = 80);

COMMENT ON TABLE  report_elapsed            IS 'How often answers took how long: what the median is taken from.';
COMMENT ON COLUMN report_elapsed.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_elapsed.content_id IS 'The video.';
COMMENT ON COLUMN report_elapsed.item_id    IS 'The item.';
COMMENT ON COLUMN report_elapsed.elapsed_ms IS 'The time an answer took.';
COMMENT ON COLUMN report_elapsed.answers    IS 'How many answers took it.';

CREATE TABLE report_option_sum (
    build         integer NOT NULL,
    content_id    text    NOT NULL,
    item_id       text    NOT NULL,
    choice        text    NOT NULL,
    first_viewers bigint  NOT NULL,
    last_viewers  bigint  NOT NULL,
    PRIMARY KEY (build, content_id, item_id, choice)
) WITH (fillfactor = 70);

COMMENT ON TABLE  report_option_sum               IS 'What report_option shows.';
COMMENT ON COLUMN report_option_sum.build         IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_option_sum.content_id    IS 'The video.';
COMMENT ON COLUMN report_option_sum.item_id       IS 'The item.';
COMMENT ON COLUMN report_option_sum.choice        IS 'The choice.';
COMMENT ON COLUMN report_option_sum.first_viewers IS 'Viewers whose first answer has it.';
COMMENT ON COLUMN report_option_sum.last_viewers  IS 'Viewers whose last answer has it.';

CREATE TABLE report_day_sum (
    build           integer NOT NULL,
    day             date    NOT NULL,
    viewers         bigint  NOT NULL,
    sessions        bigint  NOT NULL,
    contents        bigint  NOT NULL,
    events          bigint  NOT NULL,
    plays           bigint  NOT NULL,
    watched_ms      bigint  NOT NULL,
    answers         bigint  NOT NULL,
    correct_answers bigint  NOT NULL,
    PRIMARY KEY (build, day)
) WITH (fillfactor = 50);

COMMENT ON TABLE  report_day_sum                 IS 'What report_day shows.';
COMMENT ON COLUMN report_day_sum.build           IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_day_sum.day             IS 'The UTC day.';
COMMENT ON COLUMN report_day_sum.viewers         IS 'Viewers of whom there is an event.';
COMMENT ON COLUMN report_day_sum.sessions        IS 'Their sessions.';
COMMENT ON COLUMN report_day_sum.contents        IS 'Contents that an event names.';
COMMENT ON COLUMN report_day_sum.events          IS 'Events.';
COMMENT ON COLUMN report_day_sum.plays           IS 'video.played events.';
COMMENT ON COLUMN report_day_sum.watched_ms      IS 'Lengths of all intervals as sent.';
COMMENT ON COLUMN report_day_sum.answers         IS 'item.answered events.';
COMMENT ON COLUMN report_day_sum.correct_answers IS 'Those that are right.';

CREATE TABLE report_day_session (
    build      integer NOT NULL,
    day        date    NOT NULL,
    viewer_id  text    NOT NULL,
    session_id text    NOT NULL,
    PRIMARY KEY (build, day, viewer_id, session_id)
);

COMMENT ON TABLE  report_day_session            IS 'Sessions that were counted for their day.';
COMMENT ON COLUMN report_day_session.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_day_session.day        IS 'The UTC day.';
COMMENT ON COLUMN report_day_session.viewer_id  IS 'The viewer.';
COMMENT ON COLUMN report_day_session.session_id IS 'The viewer''s session.';

CREATE TABLE report_day_content (
    build      integer NOT NULL,
    day        date    NOT NULL,
    content_id text    NOT NULL,
    PRIMARY KEY (build, day, content_id)
);

COMMENT ON TABLE  report_day_content            IS 'Contents that were counted for their day.';
COMMENT ON COLUMN report_day_content.build      IS 'The set that the row belongs to.';
COMMENT ON COLUMN report_day_content.day        IS 'The UTC day.';
COMMENT ON COLUMN report_day_content.content_id IS 'The video.';

-- Nobody stores while this migration runs (it has locked `event`), so that an empty table's rows are all to come.
-- A full one's come with the first rebuild, and until then nothing is in.
INSERT INTO report_build (build, state, system_identifier, next_txid)
SELECT 1, 'current', (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN NOT EXISTS (SELECT FROM event) THEN 0 END;
INSERT INTO report_state (taken_until)
SELECT CASE WHEN EXISTS (SELECT FROM event) THEN 'epoch'::timestamptz ELSE now() END;
