-- append: add rows to the trail.
INSERT INTO audit (id, timestamp, task_id, action_type, action_data, actor)
VALUES (:id, :timestamp, :task_id, :action_type, :action_data, :actor)

-- last_id: the id of the row that was appended last.
SELECT MAX(id) AS id FROM audit

-- seal: vouch for the rows of one transaction. A checkpoint knows the number of the last one that was cut off.
INSERT INTO audit_seals (id, writer, sequence, sealed_at, ids, digests, previous, hash)
VALUES (COALESCE((SELECT MAX(id) FROM audit_seals), (SELECT MAX(last_seal) FROM audit_checkpoints), 0) + 1,
        :writer, :sequence, :sealed_at, :ids, :digests, :previous, :hash)

-- newest_seal_of: the last seal of one writer.
SELECT hash FROM audit_seals WHERE writer = :writer ORDER BY id DESC LIMIT 1

-- oldest_seal: the first seal that is there, and how many digits of digests it keeps.
SELECT ids, length(digests) AS kept FROM audit_seals ORDER BY id LIMIT 1

-- list: rows in the order of writing.
SELECT id, timestamp, actor, agent_id, action_type, task_id, action_data, result FROM audit
WHERE id > :after AND (CAST(:action AS TEXT) IS NULL OR action_type = :action)
ORDER BY id LIMIT :limit

-- of_task: one task's rows in the order of writing.
SELECT id, timestamp, actor, agent_id, action_type, task_id, action_data, result FROM audit
WHERE task_id = :task_id AND id > :after AND (CAST(:action AS TEXT) IS NULL OR action_type = :action)
ORDER BY id LIMIT :limit

-- bounds: where the trail starts and ends.
SELECT (SELECT value FROM abathur_meta WHERE key = 'database_id') AS database_id,
       (SELECT value FROM abathur_meta WHERE key = 'audit_starts_after') AS starts_after,
       (SELECT MIN(id) FROM audit) AS first_row, (SELECT MAX(id) FROM audit_seals) AS last_seal,
       (SELECT MIN(id) FROM audit_seals) AS first_seal,
       (SELECT MIN(last_seal) FROM audit_checkpoints) AS first_checkpoint,
       (SELECT MIN(id) FROM audit_tombstones) AS first_tombstone,
       (SELECT MAX(last_seal) FROM audit_checkpoints) AS last_checkpoint,
       (SELECT MAX(id) FROM audit_tombstones) AS last_tombstone,
       (SELECT COUNT(*) FROM audit_tombstones) AS tombstones

-- beyond: the first row after those that are sealed.
SELECT MIN(id) AS id FROM audit WHERE id > :after

-- start: the last row from before the trail began, and the first seal.
SELECT (SELECT value FROM abathur_meta WHERE key = 'audit_starts_after') AS starts_after,
       (SELECT MIN(id) FROM audit_seals) AS first_seal

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

-- database_id: what tells this database from every other.
SELECT (SELECT value FROM abathur_meta WHERE key = 'database_id') AS database_id

-- seals_since: what the head of the trail joins, in the order of writing.
SELECT id, ids, hash FROM audit_seals WHERE id > :after ORDER BY id LIMIT :limit

-- last_checkpoint: where the head of the trail was computed last.
SELECT last_seal, last_row, hash FROM audit_checkpoints ORDER BY last_seal DESC LIMIT 1

-- lock_checkpoints: let nobody else make a checkpoint meanwhile: each says which one was before it.
SELECT key FROM abathur_meta WHERE key = 'audit_starts_after'
-- locking FOR NO KEY UPDATE

-- add_checkpoint: keep the head of the trail.
INSERT INTO audit_checkpoints (last_seal, last_row, previous, made_at, hash)
VALUES (:last_seal, :last_row, :previous, :made_at, :hash)

-- checkpoints: those made after the seals of a page.
SELECT last_seal, last_row, previous, hash FROM audit_checkpoints
WHERE last_seal > :after AND last_seal <= :last ORDER BY last_seal

-- last_tombstone: the number that was given to a tombstone last.
SELECT MAX(id) AS id FROM audit_tombstones

-- add_tombstone: say which rows were pruned.
INSERT INTO audit_tombstones (id, first_row, last_row, n, made_at, ids, digest)
VALUES (:id, :first_row, :last_row, :n, :made_at, :ids, :digest)

-- tombstones: those of rows between two.
SELECT id, first_row, last_row, n, digest, ids FROM audit_tombstones
WHERE first_row <= :last AND last_row >= :first ORDER BY id

-- orphans: the first row of a page about a task that is not there.
SELECT a.id, a.task_id FROM audit AS a
WHERE a.id BETWEEN :first AND :last AND a.action_type LIKE 'task.%' AND a.task_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = a.task_id)
ORDER BY a.id LIMIT 1

-- raise_guard: let this transaction remove rows from the trail. One that somebody left up goes down with it.
INSERT INTO abathur_meta (key, value) VALUES ('audit_guard', :now)
ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- take_guard_down: nobody else may; it never outlives its transaction.
DELETE FROM abathur_meta WHERE key = 'audit_guard'

-- checkpoint_at: the checkpoint that was made after a seal.
SELECT last_seal, last_row, previous, hash FROM audit_checkpoints WHERE last_seal = :seal

-- first_kept: the first row that is about something else than pruning.
SELECT id FROM audit WHERE id > :after AND action_type NOT IN (:pruned, :cut) ORDER BY id LIMIT 1

-- cut_at: the last checkpoint before a row, within some seals of the start.
SELECT last_seal, last_row, previous, hash FROM audit_checkpoints
WHERE (CAST(:before AS BIGINT) IS NULL OR last_row < :before) AND last_seal BETWEEN :fewest AND :most
ORDER BY last_seal DESC LIMIT 1

-- cut_rows: remove what is left of the rows before a cut: those that tell of pruning.
DELETE FROM audit WHERE id > :after AND id <= :last

-- cut_tombstones: remove the tombstones of rows before a cut.
DELETE FROM audit_tombstones WHERE last_row <= :last

-- cut_seals: remove the seals before a cut.
DELETE FROM audit_seals WHERE id <= :last

-- cut_checkpoints: remove the checkpoints before the one at which the trail is cut.
DELETE FROM audit_checkpoints WHERE last_seal < :before
