-- How far the log is stored in this schema; moves in the transaction that stores the rows. Provisioning adds a CHECK
-- that pins organization_id to this schema's organization, so that a batch in the wrong schema fails here.
CREATE TABLE ingest_watermark (
    generation      integer     NOT NULL CHECK (generation > 0),
    partition       integer     NOT NULL CHECK (partition >= 0),
    organization_id uuid        NOT NULL,
    next_offset     bigint      NOT NULL CHECK (next_offset >= 0),
    last_record_id  uuid        NOT NULL,
    stored          bigint      NOT NULL DEFAULT 0 CHECK (stored >= 0),
    duplicate       bigint      NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
    dead            bigint      NOT NULL DEFAULT 0 CHECK (dead >= 0),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, partition)
) WITH (fillfactor = 50); -- room on the page: every flush updates a row in place, without touching the index

COMMENT ON TABLE  ingest_watermark                 IS 'How far each partition of the log is stored in this schema.';
COMMENT ON COLUMN ingest_watermark.generation      IS 'Which life of the log the offset belongs to.';
COMMENT ON COLUMN ingest_watermark.partition       IS 'Partition of the log.';
COMMENT ON COLUMN ingest_watermark.organization_id IS 'The organization that the records named; a CHECK refuses every other than this schema''s.';
COMMENT ON COLUMN ingest_watermark.next_offset     IS 'The next offset to store: everything below it is stored, dead or a duplicate.';
COMMENT ON COLUMN ingest_watermark.last_record_id  IS 'Id of the record just below next_offset: tells a topic that was made anew.';
COMMENT ON COLUMN ingest_watermark.stored          IS 'Events stored, running total.';
COMMENT ON COLUMN ingest_watermark.duplicate       IS 'Events that were here already, running total.';
COMMENT ON COLUMN ingest_watermark.dead            IS 'Events that went to dead_letter, running total.';
COMMENT ON COLUMN ingest_watermark.updated_at      IS 'When it last moved.';
