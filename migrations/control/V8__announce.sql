-- Intake and loader keep a snapshot of these tables and read it again when this channel speaks.
CREATE FUNCTION rollbook.announce() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('rollbook_organization', '');
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION rollbook.announce() FROM PUBLIC;

CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rollbook.organization
    FOR EACH STATEMENT EXECUTE FUNCTION rollbook.announce();
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rollbook.write_key
    FOR EACH STATEMENT EXECUTE FUNCTION rollbook.announce();
