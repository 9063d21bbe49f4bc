CREATE TABLE rollbook.write_key (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES rollbook.organization (id),
    digest          bytea       NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    label           text        CHECK (char_length(label) BETWEEN 1 AND 200),
    created_at      timestamptz NOT NULL DEFAULT now(),
    revoked_at      timestamptz
);

CREATE INDEX write_key_organization ON rollbook.write_key (organization_id);

COMMENT ON TABLE  rollbook.write_key                 IS 'Who may write. Rows are never deleted: a revoked key stays known as one.';
COMMENT ON COLUMN rollbook.write_key.id              IS 'Names the key to people; no secret.';
COMMENT ON COLUMN rollbook.write_key.organization_id IS 'Whose events the key may send.';
COMMENT ON COLUMN rollbook.write_key.digest          IS 'SHA-256 of the key. The key itself is shown once and never stored.';
COMMENT ON COLUMN rollbook.write_key.label           IS 'What people call it.';
COMMENT ON COLUMN rollbook.write_key.created_at      IS 'When it was made.';
COMMENT ON COLUMN rollbook.write_key.revoked_at      IS 'When it stopped being valid; NULL: it is.';
