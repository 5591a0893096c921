-- lost_leases: running tasks whose leases ended long ago.
SELECT COUNT(*) AS n, MIN(id) AS id, MIN(lease_expires_at) AS since FROM tasks
WHERE status = 'running' AND lease_expires_at <= :before

-- leaseless: running tasks of older databases, which no lease will ever end.
SELECT COUNT(*) AS n, MIN(id) AS id FROM tasks WHERE status = 'running' AND lease_expires_at IS NULL

-- adrift: tasks in a status of the past, or blocked by nothing.
SELECT COUNT(*) AS n, MIN(id) AS id FROM tasks WHERE status = 'pending' OR (status = 'blocked' AND unmet = 0)

-- overdue: scheduled tasks whose time came long ago.
SELECT COUNT(*) AS n, MIN(id) AS id, MIN(run_at) AS since FROM tasks
WHERE status = 'scheduled' AND run_at <= :before

-- dead_ends: blocked tasks whose prerequisite has ended without success, and that wait for its retry.
SELECT d.dependent_task_id AS id, d.prerequisite_task_id AS cause, p.status AS status, COUNT(*) OVER () AS n
FROM task_dependencies AS d
JOIN tasks AS p ON p.id = d.prerequisite_task_id
JOIN tasks AS t ON t.id = d.dependent_task_id
WHERE d.resolved_at IS NULL AND d.on_failure = 'block' AND p.status IN ('failed', 'cancelled')
  AND t.status = 'blocked'
ORDER BY d.dependent_task_id LIMIT 1

-- first_ready: the next task of an agent type, and since when it is ready.
SELECT id, last_updated_at FROM tasks WHERE status = 'ready' AND agent_type = :agent_type ORDER BY rank, id LIMIT 1

-- at_work: how many tasks of an agent type are held by a lease.
SELECT COUNT(*) AS n FROM tasks WHERE status = 'running' AND lease_expires_at > :now AND agent_type = :agent_type
