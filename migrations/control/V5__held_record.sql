-- Records of an organization whose schema cannot take them now. They wait here, in order, instead of in the log.
CREATE TABLE rollbook.held_record (
    generation      integer     NOT NULL REFERENCES rollbook.log (generation),
    partition       integer     NOT NULL CHECK (partition >= 0),
    log_offset      bigint      NOT NULL CHECK (log_offset >= 0),
    organization_id uuid        NOT NULL REFERENCES rollbook.organization (id),
    record          bytea       NOT NULL,
    events          integer     NOT NULL CHECK (events >= 0),
    reason          text        NOT NULL,
    held_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, partition, log_offset)
);

CREATE INDEX held_record_organization ON rollbook.held_record (organization_id, generation, partition, log_offset);

COMMENT ON TABLE  rollbook.held_record                 IS 'Accepted records that wait until their organization''s schema can take them.';
COMMENT ON COLUMN rollbook.held_record.generation      IS 'Which life of the log the offset belongs to.';
COMMENT ON COLUMN rollbook.held_record.partition       IS 'Partition of the log.';
COMMENT ON COLUMN rollbook.held_record.log_offset      IS 'Offset of the record itself.';
COMMENT ON COLUMN rollbook.held_record.organization_id IS 'The organization that the record names.';
COMMENT ON COLUMN rollbook.held_record.record          IS 'The message value, as it was in the log.';
COMMENT ON COLUMN rollbook.held_record.events          IS 'How many events it carries.';
COMMENT ON COLUMN rollbook.held_record.reason          IS 'Why the schema could not take it.';
COMMENT ON COLUMN rollbook.held_record.held_at         IS 'When it was put here.';

-- A record must not be held for an organization that is being removed: removal deletes what is held, and what came
-- a moment later would stay for ever. The loader may not lock the organization's row itself, so this does: whoever
-- comes second waits, and sees what the first one did.
CREATE FUNCTION rollbook.skip_record_of_removed_organization() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM rollbook.organization WHERE id = NEW.organization_id AND state <> 'removed' FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION rollbook.skip_record_of_removed_organization() FROM PUBLIC;

CREATE TRIGGER skip_record_of_removed_organization BEFORE INSERT ON rollbook.held_record
    FOR EACH ROW EXECUTE FUNCTION rollbook.skip_record_of_removed_organization();
