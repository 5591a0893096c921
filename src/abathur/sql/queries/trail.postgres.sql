-- issued: the last id that was given to an audit row, whether its row is still there or not.
SELECT value AS id FROM abathur_meta WHERE key = 'audit_issued'

-- reserve: give ids to some rows that are to be appended; answers with the last of them. Who is here holds the row.
UPDATE abathur_meta
SET value = CAST(GREATEST(CAST(value AS BIGINT), (SELECT MAX(id) FROM audit)) + CAST(:n AS BIGINT) AS TEXT)
WHERE key = 'audit_issued'
RETURNING CAST(value AS BIGINT) AS id
