-- requests: what is remembered of requests, given as pairs of plugin and request id.
SELECT r.plugin, r.request_id, r.digest, r.answer, r.made_at
FROM jsonb_array_elements(CAST(CAST(:pairs AS text) AS jsonb)) AS given (pair)
JOIN abathur_row_requests AS r ON r.plugin = given.pair ->> 0 AND r.request_id = given.pair ->> 1

-- purge_requests: forget requests of more than a day ago, a few at a time; none that others are at.
DELETE FROM abathur_row_requests WHERE (plugin, request_id) IN (
    SELECT plugin, request_id FROM abathur_row_requests WHERE made_at <= :before ORDER BY made_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)

-- purge_keys: remove keys whose time is over, a few at a time; none that others are at.
DELETE FROM abathur_row_keys WHERE (plugin, key) IN (
    SELECT plugin, key FROM abathur_row_keys WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
