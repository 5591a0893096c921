-- ahead: how many ready tasks of an agent type come before a task, counted up to a limit.
SELECT COUNT(*) AS n FROM (
  SELECT id FROM tasks
  WHERE status = 'ready' AND agent_type = :agent_type AND (rank, id) < (:rank, :id) LIMIT :limit
) AS before

-- head: since when the task that is next in the queue of an agent type is ready.
SELECT last_updated_at FROM tasks WHERE status = 'ready' AND agent_type = :agent_type ORDER BY rank, id LIMIT 1

-- expired: how many running tasks have a lease that is over.
SELECT COUNT(*) AS n FROM tasks WHERE status = 'running' AND lease_expires_at <= :now

-- first_after: the moment of the first row of the trail above an id.
SELECT timestamp FROM audit WHERE id > :after ORDER BY id LIMIT 1

-- ended: how many tasks ended how since an earlier and since a later moment, in the rows above an id.
SELECT action_type, COUNT(*) AS earlier, COUNT(CASE WHEN timestamp >= :later THEN 1 END) AS later
FROM audit
WHERE id > :after AND timestamp >= :earlier AND action_type IN ('task.completed', 'task.failed')
GROUP BY action_type

-- durations: when the attempts began and ended that completed tasks, in the rows of the trail above an id.
SELECT t.agent_type, t.started_at, t.completed_at FROM audit AS a JOIN tasks AS t ON t.id = a.task_id
WHERE a.id > :after AND a.action_type = 'task.completed' AND t.status = 'completed'
