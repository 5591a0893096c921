-- find: the table of a plugin that has this name, and what is kept for it if it was unregistered.
SELECT t.id, t.declaration, t.state, h.revision
FROM abathur_row_tables AS t JOIN abathur_row_heads AS h ON h.id = t.id
WHERE t.plugin = :plugin AND t.name = :name AND t.state <> 'replaced'

-- registered: the tables of a plugin.
SELECT t.id, t.name, t.declaration, h.revision
FROM abathur_row_tables AS t JOIN abathur_row_heads AS h ON h.id = t.id
WHERE t.plugin = :plugin AND t.state = 'registered' AND t.state <> 'replaced' ORDER BY t.name

-- count_tables: how many tables a plugin has, those included that are kept for their rows.
SELECT count(*) AS n FROM abathur_row_tables WHERE plugin = :plugin AND state <> 'replaced'

-- declared: every table that may have rows.
SELECT id, name, declaration FROM abathur_row_tables WHERE state <> 'replaced' ORDER BY id

-- add_table: issue a number to a table, from which its physical name is made.
INSERT INTO abathur_row_tables (plugin, name, declaration, state, registered_at, changed_at)
VALUES (:plugin, :name, :declaration, 'registered', :now, :now) RETURNING id

-- add_head: what writes to a new table look at.
INSERT INTO abathur_row_heads (id, revision, last_id) VALUES (:id, 1, 0)

-- redeclare: change the schema of a table, or its state.
UPDATE abathur_row_tables SET declaration = :declaration, state = :state, changed_at = :now WHERE id = :id

-- next_revision: let everybody find out that a schema has changed; waits for writes that go by the old one.
UPDATE abathur_row_heads SET revision = revision + 1 WHERE id = :id RETURNING revision

-- revision: which schema a table has now.
SELECT revision FROM abathur_row_heads WHERE id = :id
-- locking FOR SHARE

-- take_ids: ids for new rows, if the table still has this schema.
UPDATE abathur_row_heads SET last_id = last_id + :n WHERE id = :id AND revision = :revision RETURNING last_id

-- forget_request: make room for a request id that was used more than a day ago.
DELETE FROM abathur_row_requests WHERE plugin = :plugin AND request_id = :request_id

-- remember: keep the first answer to a request.
INSERT INTO abathur_row_requests (plugin, request_id, digest, answer, made_at)
VALUES (:plugin, :request_id, :digest, :answer, :made_at)

-- put_key: keep a value under a key.
INSERT INTO abathur_row_keys (plugin, key, value, expires_at, changed_at)
VALUES (:plugin, :key, :value, :expires_at, :changed_at)
ON CONFLICT (plugin, key) DO UPDATE
SET value = excluded.value, expires_at = excluded.expires_at, changed_at = excluded.changed_at

-- key: the value under a key, unless its time is over.
SELECT value FROM abathur_row_keys
WHERE plugin = :plugin AND key = :key AND (expires_at IS NULL OR expires_at > :now)

-- delete_key: remove a key; tells until when its value was kept.
DELETE FROM abathur_row_keys WHERE plugin = :plugin AND key = :key RETURNING expires_at

-- keys: those from one on, before another one if given.
SELECT key FROM abathur_row_keys
WHERE plugin = :plugin AND key >= :first AND (CAST(:before AS TEXT) IS NULL OR key < :before)
  AND (expires_at IS NULL OR expires_at > :now)
ORDER BY key LIMIT :limit
