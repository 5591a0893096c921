-- announce: say that a runner is at work; said again, only the moment changes.
INSERT INTO task_workers (id, name, agent_types, concurrency, host, pid, started_at, seen_at, projects)
VALUES (:id, :name, :agent_types, :concurrency, :host, :pid, :now, :now, :projects)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at

-- replace: forget the runners of other processes that had this name.
DELETE FROM task_workers WHERE name = :name AND (host <> :host OR pid <> :pid)

-- forget: remove the runners that were not seen for long.
DELETE FROM task_workers WHERE seen_at < :before

-- withdraw: remove one runner.
DELETE FROM task_workers WHERE id = :id

-- list: the runners that have announced themselves, by name.
SELECT id, name, agent_types, concurrency, host, pid, started_at, seen_at, projects FROM task_workers ORDER BY name, id

-- held: how many tasks of which agent types each worker holds.
SELECT worker, agent_type, COUNT(*) AS n FROM tasks WHERE status = 'running' GROUP BY worker, agent_type
