CREATE TABLE rollbook.admin_event (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT now(),
    database_login  text        NOT NULL DEFAULT session_user,
    os_user         text,
    client_address  inet        DEFAULT inet_client_addr(),
    action          text        NOT NULL CHECK (action ~ '^[a-z]+(\.[a-z]+)?$'),
    organization_id uuid        REFERENCES rollbook.organization (id),
    what            jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX admin_event_organization ON rollbook.admin_event (organization_id, at);

COMMENT ON TABLE  rollbook.admin_event                 IS 'Who changed what, when. Written in the transaction that made the change.';
COMMENT ON COLUMN rollbook.admin_event.id              IS 'Order of writing.';
COMMENT ON COLUMN rollbook.admin_event.at              IS 'When.';
COMMENT ON COLUMN rollbook.admin_event.database_login  IS 'Who, as Postgres knows them.';
COMMENT ON COLUMN rollbook.admin_event.os_user         IS 'Who, as their own machine says; a hint, no proof.';
COMMENT ON COLUMN rollbook.admin_event.client_address  IS 'From where; NULL: a local socket.';
COMMENT ON COLUMN rollbook.admin_event.action          IS 'The command, such as org.suspend.';
COMMENT ON COLUMN rollbook.admin_event.organization_id IS 'The organization it was about; NULL: the installation.';
COMMENT ON COLUMN rollbook.admin_event.what            IS 'The new values. Never a key or a password.';
