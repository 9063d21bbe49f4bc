SELECT content_id, second, (SELECT count(*) FROM viewing AS v WHERE v.content_id = s.content_id AND v.watched @> at_ms) AS viewers,
       (SELECT count(*) FROM {schema}.event AS e, unnest(e.watched) AS one WHERE e.content_id = s.content_id AND one @> at_ms) AS times
FROM (SELECT content_id, second, 1000 * second + 500 AS at_ms
      FROM (SELECT content_id, max(upper(watched)) AS longest FROM viewing GROUP BY content_id) AS c,
           generate_series(0, longest / 1000) AS second) AS s
