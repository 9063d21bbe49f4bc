-- How the reporter finds what is new: each row carries the transaction that stored it. Two steps, because a default that
-- is not constant, given with the column, would rewrite the table. Rows that are older have none.
ALTER TABLE event ADD COLUMN stored_in bigint;
ALTER TABLE event ALTER COLUMN stored_in SET DEFAULT txid_current();

COMMENT ON COLUMN event.stored_in IS 'The transaction that stored the row, for the service''s own use: who writes rows leaves it to its default. NULL: stored before there was this column.';

-- On a table that is full it is made by a named step of `migrate`, beside those who write.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM event) THEN
        CREATE INDEX event_stored ON event USING brin (stored_in) WITH (autosummarize = on);
    END IF;
END
$$;
