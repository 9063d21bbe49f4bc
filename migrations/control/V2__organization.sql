CREATE TABLE rollbook.organization (
    id              uuid        PRIMARY KEY,
    slug            text        NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9_]{1,47}$'),
    name            text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    schema_name     text        NOT NULL UNIQUE CHECK (schema_name = 'org_' || slug),
    state           text        NOT NULL DEFAULT 'provisioning'
                                CHECK (state IN ('provisioning', 'active', 'suspended', 'removed')),
    schema_version  integer     NOT NULL DEFAULT 0 CHECK (schema_version >= 0),
    rate_limit      integer     CHECK (rate_limit > 0),
    allowed_origins text[]      NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE  rollbook.organization                 IS 'Customers of the platform. Rows are never deleted, so that a slug is never used again.';
COMMENT ON COLUMN rollbook.organization.id              IS 'Names the organization for good; every record in the log carries it.';
COMMENT ON COLUMN rollbook.organization.slug            IS 'Names it to people and in requests.';
COMMENT ON COLUMN rollbook.organization.name            IS 'For display only.';
COMMENT ON COLUMN rollbook.organization.schema_name     IS 'The schema that holds its events.';
COMMENT ON COLUMN rollbook.organization.state           IS 'provisioning: being made; active; suspended: intake refuses, the loader still stores; removed: schema, roles and keys are gone.';
COMMENT ON COLUMN rollbook.organization.schema_version  IS 'Newest migration that its schema has, written by provisioning and migrate.';
COMMENT ON COLUMN rollbook.organization.rate_limit      IS 'Events a second that intake takes; NULL: the service''s default.';
COMMENT ON COLUMN rollbook.organization.allowed_origins IS 'Browser origins that may write; empty: every origin.';
COMMENT ON COLUMN rollbook.organization.created_at      IS 'When org add was first called.';
