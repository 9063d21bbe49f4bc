CREATE TABLE dead_letter (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid        NOT NULL,
    generation   integer     NOT NULL CHECK (generation > 0),
    partition    integer     NOT NULL CHECK (partition >= 0),
    log_offset   bigint      NOT NULL CHECK (log_offset >= 0),
    sqlstate     text        NOT NULL CHECK (sqlstate ~ '^[0-9A-Z]{5}$'),
    reason       text        NOT NULL,
    event        jsonb,
    record       bytea,
    dead_at      timestamptz NOT NULL DEFAULT now(),
    discarded_at timestamptz,
    CONSTRAINT dead_letter_keeps_the_event CHECK (event IS NOT NULL OR record IS NOT NULL)
);

CREATE INDEX dead_letter_event ON dead_letter (event_id);

COMMENT ON TABLE  dead_letter              IS 'Accepted events that Postgres refused as rows. Replay stores them; discard marks them.';
COMMENT ON COLUMN dead_letter.id           IS 'Names the dead letter.';
COMMENT ON COLUMN dead_letter.event_id     IS 'The event''s own id.';
COMMENT ON COLUMN dead_letter.generation   IS 'Which life of the log the offset belongs to.';
COMMENT ON COLUMN dead_letter.partition    IS 'Partition of the log.';
COMMENT ON COLUMN dead_letter.log_offset   IS 'Offset of the record that carried the event.';
COMMENT ON COLUMN dead_letter.sqlstate     IS 'How Postgres refused it.';
COMMENT ON COLUMN dead_letter.reason       IS 'Why, in words.';
COMMENT ON COLUMN dead_letter.event        IS 'The row by column, received_at included; NULL where jsonb refuses it.';
COMMENT ON COLUMN dead_letter.record       IS 'The record''s bytes where event is NULL.';
COMMENT ON COLUMN dead_letter.dead_at      IS 'When it was put here.';
COMMENT ON COLUMN dead_letter.discarded_at IS 'When a person gave it up; NULL: it can be replayed.';
