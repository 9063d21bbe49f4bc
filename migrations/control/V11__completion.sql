-- From which share of a content on its reports call a viewer done. An organization's own decision.
ALTER TABLE rollbook.organization
    ADD COLUMN IF NOT EXISTS completion numeric(7, 6) NOT NULL DEFAULT 0.9 CHECK (completion > 0 AND completion <= 1);

COMMENT ON COLUMN rollbook.organization.completion IS 'The share of a content''s duration from which on its reports count a viewer as having completed it.';
