-- Marks on roles and schemas name the installation by this: databases are renamed, and restored under other names.
ALTER TABLE rollbook.installation ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();

COMMENT ON COLUMN rollbook.installation.id IS 'Names the installation for good; the COMMENT on each of its roles and on the schema rollbook carries it.';
