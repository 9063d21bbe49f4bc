-- An offset means something only within one life of a topic, so watermarks speak of a generation.
CREATE TABLE rollbook.log (
    generation  integer     PRIMARY KEY CHECK (generation > 0),
    kind        text        NOT NULL CHECK (kind IN ('kafka', 'embedded')),
    name        text        NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE  rollbook.log             IS 'Lives of the log, one row each; the highest generation is the current one.';
COMMENT ON COLUMN rollbook.log.generation  IS 'What watermarks, held records and dead letters refer to.';
COMMENT ON COLUMN rollbook.log.kind        IS 'kafka or embedded.';
COMMENT ON COLUMN rollbook.log.name        IS 'The Kafka topic, or the name of the embedded log.';
COMMENT ON COLUMN rollbook.log.declared_at IS 'When setup was told of it.';
