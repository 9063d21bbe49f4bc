-- Runs with the organization's schema as search_path; names are unqualified on purpose.
-- Three indexes, no more: each further b-tree costs about a microsecond a row.
CREATE TABLE event (
    event_id           uuid        PRIMARY KEY,
    type               text        NOT NULL,
    session_id         text        NOT NULL CHECK (char_length(session_id) BETWEEN 1 AND 64),
    viewer_id          text        NOT NULL CHECK (char_length(viewer_id) BETWEEN 1 AND 128),
    content_id         text        NOT NULL CHECK (char_length(content_id) BETWEEN 1 AND 128),
    item_id            text        CHECK (char_length(item_id) BETWEEN 1 AND 64),
    occurred_at        timestamptz NOT NULL,
    client_occurred_at timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    seq                bigint      CHECK (seq BETWEEN 0 AND 4294967295),
    position_ms        integer     CHECK (position_ms BETWEEN 0 AND 172800000),
    rate               real        CHECK (rate BETWEEN 0.0625 AND 16),
    watched            int4range[],
    played_ms          integer     CHECK (played_ms BETWEEN 0 AND 172800000),
    answer             jsonb,
    correct            boolean,
    score              real        CHECK (score BETWEEN 0 AND 1),
    attempt            smallint    CHECK (attempt > 0),
    elapsed_ms         integer     CHECK (elapsed_ms BETWEEN 0 AND 172800000),
    details            jsonb
);

CREATE INDEX event_session ON event (session_id, occurred_at);
CREATE INDEX event_received ON event USING brin (received_at) WITH (autosummarize = on);

COMMENT ON TABLE  event                    IS 'What viewers watched and answered, one row an event. What an event left out is NULL.';
COMMENT ON COLUMN event.event_id           IS 'Made by the client; the dedupe key.';
COMMENT ON COLUMN event.type               IS 'What happened, such as video.paused or item.answered.';
COMMENT ON COLUMN event.session_id         IS 'One mount of one player.';
COMMENT ON COLUMN event.viewer_id          IS 'Opaque pseudonym of the viewer.';
COMMENT ON COLUMN event.content_id         IS 'The video.';
COMMENT ON COLUMN event.item_id            IS 'The question or other item inside the video.';
COMMENT ON COLUMN event.occurred_at        IS 'When it happened, after skew correction of the client''s clock.';
COMMENT ON COLUMN event.client_occurred_at IS 'When it happened by the client''s own clock.';
COMMENT ON COLUMN event.received_at        IS 'When intake took the batch.';
COMMENT ON COLUMN event.seq                IS 'Counts up by one within a session; a gap is measured loss.';
COMMENT ON COLUMN event.position_ms        IS 'Playhead, milliseconds into the video.';
COMMENT ON COLUMN event.rate               IS 'Playback rate; NULL means 1.';
COMMENT ON COLUMN event.watched            IS 'Media intervals in milliseconds played since the session''s previous event that carried one, in the order sent.';
COMMENT ON COLUMN event.played_ms          IS 'Wall time played so far in the session, milliseconds.';
COMMENT ON COLUMN event.answer             IS 'Exactly one of choice, choices, text, number, bool.';
COMMENT ON COLUMN event.correct            IS 'Whether the player judged the answer right.';
COMMENT ON COLUMN event.score              IS 'The player''s score for the answer, 0 to 1.';
COMMENT ON COLUMN event.attempt            IS 'Which attempt at the item, from 1.';
COMMENT ON COLUMN event.elapsed_ms         IS 'Time spent on the item, milliseconds.';
COMMENT ON COLUMN event.details            IS 'Fields without a column of their own, under their own names; the organization''s own fields under ext.';
