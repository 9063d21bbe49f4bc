-- Any login of the database can listen and stop reading, until the queue of notifications is full: then every transaction that
-- announces fails. A change of keys must not. Who follows looks by itself every second, too.
CREATE OR REPLACE FUNCTION rollbook.announce() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('rollbook_organization', '');
    END IF;
    RETURN NULL;
END
$$;
