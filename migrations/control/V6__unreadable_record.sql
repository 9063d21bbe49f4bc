-- Not tied to `organization`: the id may be one that nobody ever had.
CREATE TABLE rollbook.unreadable_record (
    generation      integer     NOT NULL REFERENCES rollbook.log (generation),
    partition       integer     NOT NULL CHECK (partition >= 0),
    log_offset      bigint      NOT NULL CHECK (log_offset >= 0),
    organization_id uuid,
    events          integer     CHECK (events >= 0),
    reason          text        NOT NULL,
    record          bytea,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, partition, log_offset)
);

COMMENT ON TABLE  rollbook.unreadable_record                 IS 'Records that belong in no schema: undecodable, of an organization nobody ever had, or of a removed one.';
COMMENT ON COLUMN rollbook.unreadable_record.generation      IS 'Which life of the log the offset belongs to.';
COMMENT ON COLUMN rollbook.unreadable_record.partition       IS 'Partition of the log.';
COMMENT ON COLUMN rollbook.unreadable_record.log_offset      IS 'Offset of the record itself.';
COMMENT ON COLUMN rollbook.unreadable_record.organization_id IS 'The organization that the record names; NULL: it cannot be read.';
COMMENT ON COLUMN rollbook.unreadable_record.events          IS 'How many events it carries; NULL: it cannot be read.';
COMMENT ON COLUMN rollbook.unreadable_record.reason          IS 'Why it belongs nowhere.';
COMMENT ON COLUMN rollbook.unreadable_record.record          IS 'The message value; NULL for a removed organization, whose data is not kept.';
COMMENT ON COLUMN rollbook.unreadable_record.seen_at         IS 'When the loader met it.';
