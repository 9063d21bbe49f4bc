-- A loader that finds that Postgres went back in time says so here, for `status`.
ALTER TABLE rollbook.partition_anchor ADD COLUMN rewound_at timestamptz;

COMMENT ON COLUMN rollbook.partition_anchor.rewound_at IS 'When a loader found last that Postgres had gone back behind what it once confirmed, and had the log bring it again; NULL: never.';
