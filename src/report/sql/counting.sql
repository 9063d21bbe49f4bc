-- Times that answers to some items took are counted: of each there is one from then on, with how many answers took it. Parts
-- that were counted have numbers below 0, which no answer's part has.
WITH gone AS (
    DELETE FROM {schema}.report_elapsed_part AS p
    USING unnest($1::text[], $2::text[]) WITH ORDINALITY AS item (content_id, item_id, n)
    WHERE p.build = {build} AND p.content_id = item.content_id AND p.item_id = item.item_id
    RETURNING item.n, p.elapsed_ms, p.answers
),
parts AS MATERIALIZED (
    SELECT n, part, array_agg(ms) AS elapsed_ms, array_agg(answers) AS answers
    FROM (SELECT n, ms, sum(coalesce(answers, 1)::double precision)::bigint AS answers, (row_number() OVER () - 1) / 1024 AS part
          FROM (SELECT n, unnest(elapsed_ms) AS ms, unnest(answers) AS answers FROM gone) AS each
          GROUP BY n, ms) AS counted
    GROUP BY n, part
),
keep_items AS (
    UPDATE {schema}.report_item_sum AS kept
    SET counted_attempts = kept.attempts, counted_times = counted.times
    FROM (SELECT n, sum(cardinality(elapsed_ms)) AS times FROM parts GROUP BY n) AS counted
    JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS item (content_id, item_id, n) USING (n)
    WHERE kept.build = {build} AND kept.content_id = item.content_id AND kept.item_id = item.item_id
)
INSERT INTO {schema}.report_elapsed_part (build, content_id, item_id, part, elapsed_ms, answers)
SELECT {build}, item.content_id, item.item_id, -1 - parts.part, parts.elapsed_ms, parts.answers
FROM parts
JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS item (content_id, item_id, n) USING (n)
