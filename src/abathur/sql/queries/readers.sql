-- add: begin to read where the trail ends now.
INSERT INTO audit_readers (name, last_id, seen_at)
VALUES (:name, COALESCE((SELECT MAX(id) FROM audit), 0), :now)
ON CONFLICT (name) DO NOTHING

-- hold: be the one who reads on, if nobody else is. Answers with how far the last one was. Whoever gets no further is
-- not seen by that: rows would be kept for it for ever.
UPDATE audit_readers SET holder = :holder, fence = fence + 1, held_until = :until
WHERE name = :name AND (holder = :holder OR held_until <= :now)
RETURNING last_id, fence

-- free: whether nobody else is the one who reads on.
SELECT 1 AS free FROM audit_readers WHERE name = :name AND (holder = :holder OR held_until <= :now)

-- advance: say how far it was read, and hold it for longer. Nothing is changed when it is somebody else's.
UPDATE audit_readers SET last_id = :last_id, held_until = :until, seen_at = :now
WHERE name = :name AND fence = :fence
RETURNING fence

-- let_go: let somebody else read on at once.
UPDATE audit_readers SET held_until = 0 WHERE name = :name AND fence = :fence

-- slowest: how far all readers are that were seen lately.
SELECT MIN(last_id) AS id FROM audit_readers WHERE seen_at > :since

-- behind: how far each reader is.
SELECT name, last_id, seen_at, (SELECT COALESCE(MAX(id), 0) FROM audit) AS newest FROM audit_readers ORDER BY name

-- page: what follows in the trail, with the tasks that it is about.
SELECT a.id, a.timestamp, a.actor, a.action_type, a.task_id, a.action_data,
       t.agent_type, t.project_id, t.parent_task_id, t.summary
FROM audit AS a LEFT JOIN tasks AS t ON t.id = a.task_id
WHERE a.id > :after ORDER BY a.id LIMIT :limit
