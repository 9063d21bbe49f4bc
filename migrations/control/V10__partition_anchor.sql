-- Where a loader begins. Written in the database that holds the rows, so that the two go back in time together.
CREATE TABLE rollbook.partition_anchor (
    generation  integer     NOT NULL REFERENCES rollbook.log (generation),
    partition   integer     NOT NULL CHECK (partition >= 0),
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    record_id   uuid,
    written_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, partition)
);

COMMENT ON TABLE  rollbook.partition_anchor             IS 'How far each partition of the log is safe. A loader begins here, never at what the consumer group has committed.';
COMMENT ON COLUMN rollbook.partition_anchor.generation  IS 'Which life of the log the offset belongs to.';
COMMENT ON COLUMN rollbook.partition_anchor.partition   IS 'Partition of the log.';
COMMENT ON COLUMN rollbook.partition_anchor.next_offset IS 'The next offset to read: below it every record was stored, held or written down when this was written.';
COMMENT ON COLUMN rollbook.partition_anchor.record_id   IS 'The record just below it, which tells one life of the log from another; NULL: that one cannot be decoded, or there is none.';
COMMENT ON COLUMN rollbook.partition_anchor.written_at  IS 'When a loader moved it last.';
