-- How long answers took, appended to the item's part, of which there is another one for about every 256 answers: see
-- gather/times.rs. It runs after answering.sql, in its transaction: items have their rows, with these attempts. What it gives
-- are items of which so many times have come since they were last counted that they are to be counted again, the worst first.
WITH items AS MATERIALIZED (
    SELECT new.content_id, new.item_id, new.first, new.last, old.attempts,
           old.attempts - old.counted_attempts - greatest({loose_times}, old.counted_times / 2) AS overdue
    FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[]) AS new (content_id, item_id, first, last)
    CROSS JOIN LATERAL (SELECT o.attempts, o.counted_attempts, o.counted_times
                        FROM {schema}.report_item_sum AS o
                        WHERE o.build = {build} AND o.content_id = new.content_id AND o.item_id = new.item_id
                        LIMIT 1) AS old
),
appended AS (
    INSERT INTO {schema}.report_elapsed_part AS kept (build, content_id, item_id, part, elapsed_ms)
    SELECT {build}, content_id, item_id, attempts / 256, ($5::integer[])[first:last]
    FROM items
    ON CONFLICT (build, content_id, item_id, part) DO UPDATE SET elapsed_ms = kept.elapsed_ms || excluded.elapsed_ms
)
SELECT content_id, item_id FROM items WHERE overdue >= 0 ORDER BY overdue DESC LIMIT {most}
