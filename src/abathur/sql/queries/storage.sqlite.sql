-- requests: what is remembered of requests, given as pairs of plugin and request id.
SELECT r.plugin, r.request_id, r.digest, r.answer, r.made_at
FROM json_each(:pairs) AS given CROSS JOIN abathur_row_requests AS r
WHERE r.plugin = json_extract(given.value, '$[0]') AND r.request_id = json_extract(given.value, '$[1]')

-- purge_requests: forget requests of more than a day ago, a few at a time.
DELETE FROM abathur_row_requests WHERE (plugin, request_id) IN (
    SELECT plugin, request_id FROM abathur_row_requests WHERE made_at <= :before ORDER BY made_at LIMIT :limit
)

-- purge_keys: remove keys whose time is over, a few at a time.
DELETE FROM abathur_row_keys WHERE (plugin, key) IN (
    SELECT plugin, key FROM abathur_row_keys WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
)
