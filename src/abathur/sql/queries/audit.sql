-- append: add rows to the trail.
INSERT INTO audit (timestamp, task_id, action_type, action_data, actor)
VALUES (:timestamp, :task_id, :action_type, :action_data, :actor)

-- last_id: the id of the row that was appended last.
SELECT MAX(id) AS id FROM audit

-- seal: vouch for the rows of one transaction.
INSERT INTO audit_seals (writer, sequence, sealed_at, ids, digests, previous, hash)
VALUES (:writer, :sequence, :sealed_at, :ids, :digests, :previous, :hash)

-- list: rows in the order of writing.
SELECT id, timestamp, actor, agent_id, action_type, task_id, action_data, result FROM audit
WHERE id > :after AND (CAST(:action AS TEXT) IS NULL OR action_type = :action)
ORDER BY id LIMIT :limit

-- of_task: one task's rows in the order of writing.
SELECT id, timestamp, actor, agent_id, action_type, task_id, action_data, result FROM audit
WHERE task_id = :task_id AND id > :after AND (CAST(:action AS TEXT) IS NULL OR action_type = :action)
ORDER BY id LIMIT :limit

-- bounds: where the trail starts and ends.
SELECT (SELECT value FROM abathur_meta WHERE key = 'audit_starts_after') AS starts_after,
       (SELECT MIN(id) FROM audit) AS first_row, (SELECT MAX(id) FROM audit) AS last_row,
       (SELECT MAX(id) FROM audit_seals) AS last_seal

-- adopted: how many rows are older than the trail.
SELECT COUNT(*) AS n FROM audit WHERE id <= :starts_after

-- seals: a page of seals in the order of writing.
SELECT id, writer, sequence, sealed_at, ids, digests, previous, hash FROM audit_seals
WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit

-- rows: what the seals of a page vouch for.
SELECT id, timestamp, agent_id, task_id, action_type, action_data, result, actor FROM audit
WHERE id BETWEEN :first AND :last

-- last_sealed_at: the latest moment that the database has recorded.
SELECT sealed_at FROM audit_seals ORDER BY id DESC LIMIT 1
