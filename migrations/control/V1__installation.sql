-- What `setup` was told, for the commands that run later with nothing but the administrator's URL.
CREATE TABLE rollbook.installation (
    only_row     boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    role_prefix  text        NOT NULL CHECK (role_prefix ~ '^([a-z][a-z0-9_]{0,7})?$'),
    intake_login text        NOT NULL,
    loader_login text        NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE  rollbook.installation              IS 'One row: what setup was told.';
COMMENT ON COLUMN rollbook.installation.only_row     IS 'Always true, and the key: there is one row.';
COMMENT ON COLUMN rollbook.installation.role_prefix  IS 'Goes before org_… and reader_… in role names; never changes, since the roles carry it.';
COMMENT ON COLUMN rollbook.installation.intake_login IS 'The login role of intake.';
COMMENT ON COLUMN rollbook.installation.loader_login IS 'The login role of the loader: the member of every org_… role.';
COMMENT ON COLUMN rollbook.installation.made_at      IS 'When setup ran for the first time.';
