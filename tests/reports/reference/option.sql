SELECT content_id, item_id, choice, count(DISTINCT viewer_id) FILTER (WHERE first) AS first_viewers,
       count(DISTINCT viewer_id) FILTER (WHERE NOT first) AS last_viewers
FROM (SELECT viewer_id, content_id, item_id, true AS first, first_answer AS answer FROM answer
      UNION ALL SELECT viewer_id, content_id, item_id, false, last_answer FROM answer) AS a,
     LATERAL (SELECT answer ->> 'choice' AS choice WHERE answer ? 'choice'
              UNION ALL SELECT one FROM jsonb_array_elements_text(coalesce(answer -> 'choices', '[]')) AS one) AS c
GROUP BY content_id, item_id, choice
