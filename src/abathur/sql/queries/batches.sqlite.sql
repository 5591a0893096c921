-- read: whole tasks, by id.
SELECT t.id, t.prompt, t.agent_type, t.priority, t.status, t.input_data, t.result_data, t.error_message,
       t.max_execution_timeout_seconds, t.submitted_at, t.started_at, t.completed_at, t.last_updated_at,
       t.created_by, t.parent_task_id, t.session_id, t.source, t.deadline, t.estimated_duration_seconds,
       t.summary, t.fence, t.attempt, t.max_attempts, t.worker, t.lease_expires_at, t.run_at, t.rank, t.unmet,
       t.project_id, c.input, c.result
FROM json_each(:ids) AS wanted
JOIN tasks AS t ON t.id = wanted.value
LEFT JOIN task_content AS c ON c.task_id = t.id

-- brief: what the moves of tasks are decided on, by id.
SELECT t.id, t.agent_type, t.status, t.fence, t.attempt, t.max_attempts, t.worker, t.started_at, t.unmet,
       t.run_at, t.dependents, t.parent_task_id
FROM json_each(:ids) AS wanted JOIN tasks AS t ON t.id = wanted.value

-- held: the claims of a batch `[[id, fence], ...]` that still hold.
SELECT t.id, t.agent_type, t.fence, t.attempt, t.max_attempts, t.worker, t.started_at
FROM json_each(:claims) AS claim
JOIN tasks AS t ON t.id = json_extract(claim.value, '$[0]')
WHERE t.fence = json_extract(claim.value, '$[1]') AND t.status = 'running'

-- keys: what is known of idempotency keys.
SELECT k.key, k.task_id, k.digest FROM json_each(:keys) AS wanted JOIN task_keys AS k ON k.key = wanted.value

-- waiting_for: the open edges to tasks that have ended.
SELECT d.id, d.dependent_task_id, d.prerequisite_task_id, d.on_failure, t.agent_type, t.status, t.unmet, t.run_at
FROM json_each(:ids) AS ended
JOIN task_dependencies AS d ON d.prerequisite_task_id = ended.value AND d.resolved_at IS NULL
JOIN tasks AS t ON t.id = d.dependent_task_id

-- prerequisites: what tasks wait for, met or not.
SELECT d.id, d.dependent_task_id, d.prerequisite_task_id, d.on_failure, d.resolved_at, p.status, p.summary
FROM json_each(:ids) AS wanted
JOIN task_dependencies AS d ON d.dependent_task_id = wanted.value
JOIN tasks AS p ON p.id = d.prerequisite_task_id

-- children: the tasks that are parts of others.
SELECT t.id, t.agent_type, t.status, t.fence, t.attempt, t.worker, t.parent_task_id
FROM json_each(:ids) AS wanted JOIN tasks AS t ON t.parent_task_id = wanted.value

-- adopt_edges: fill edges from the JSON that older tasks keep in `dependencies`.
INSERT OR IGNORE INTO task_dependencies (id, dependent_task_id, prerequisite_task_id, created_at, resolved_at)
SELECT t.id || ':' || p.id, t.id, p.id, t.submitted_at,
       CASE WHEN p.status = 'completed' THEN COALESCE(p.completed_at, p.submitted_at) END
FROM json_each(:ids) AS adrift
JOIN tasks AS t ON t.id = adrift.value
JOIN json_each(CASE WHEN json_valid(t.dependencies) THEN t.dependencies ELSE '[]' END) AS wanted
JOIN tasks AS p ON p.id = wanted.value AND p.id <> t.id

-- trail_of: what the trail says about tasks.
SELECT a.id, a.timestamp, a.agent_id, a.task_id, a.action_type, a.action_data, a.result, a.actor
FROM json_each(:ids) AS wanted JOIN audit AS a ON a.task_id = wanted.value

-- told_after: the tasks of which the trail tells something after a row.
SELECT DISTINCT a.task_id FROM json_each(:ids) AS wanted JOIN audit AS a ON a.task_id = wanted.value
WHERE a.id > :after

-- remove_trail: remove rows of the trail, by id; only while the guard is up.
DELETE FROM audit WHERE id IN (SELECT value FROM json_each(:ids))

-- removable: the tasks of a batch, and whether something needs them that is left when those in `going` are gone.
SELECT t.id, t.agent_type, t.status, t.completed_at, t.parent_task_id,
       EXISTS (SELECT 1 FROM task_dependencies AS d JOIN tasks AS w ON w.id = d.dependent_task_id
               WHERE d.prerequisite_task_id = t.id AND w.status NOT IN ('completed', 'failed', 'cancelled'))
       OR EXISTS (SELECT 1 FROM task_dependencies AS d JOIN tasks AS w ON w.id = d.dependent_task_id
                  WHERE d.prerequisite_task_id = t.id AND d.resolved_at IS NULL
                    AND w.id NOT IN (SELECT value FROM json_each(:going)))
       OR EXISTS (SELECT 1 FROM tasks AS p
                  WHERE p.id = t.parent_task_id AND p.status NOT IN ('completed', 'failed', 'cancelled'))
       OR EXISTS (SELECT 1 FROM tasks AS c
                  WHERE c.parent_task_id = t.id AND c.id NOT IN (SELECT value FROM json_each(:going))) AS is_needed
FROM json_each(:ids) AS wanted JOIN tasks AS t ON t.id = wanted.value

-- that_need: the parts of tasks, and those that a retry would let wait for them.
SELECT c.id FROM json_each(:ids) AS wanted JOIN tasks AS c ON c.parent_task_id = wanted.value
UNION
SELECT d.dependent_task_id FROM json_each(:ids) AS wanted
JOIN task_dependencies AS d ON d.prerequisite_task_id = wanted.value AND d.resolved_at IS NULL

-- unmet_within: what tasks of a batch never got, as far as it is of the batch too; a retry waits for it.
SELECT d.dependent_task_id, d.prerequisite_task_id
FROM json_each(:ids) AS wanted
JOIN task_dependencies AS d ON d.dependent_task_id = wanted.value AND d.resolved_at IS NULL
WHERE d.prerequisite_task_id IN (SELECT value FROM json_each(:ids))

-- remove_content: remove the inputs and results of tasks.
DELETE FROM task_content WHERE task_id IN (SELECT value FROM json_each(:ids))

-- remove_attempts: remove what is known of the attempts of tasks.
DELETE FROM task_attempts WHERE task_id IN (SELECT value FROM json_each(:ids))

-- remove_progress: remove what handlers said about tasks.
DELETE FROM task_progress WHERE task_id IN (SELECT value FROM json_each(:ids))

-- remove_keys: forget the idempotency keys of tasks.
DELETE FROM task_keys WHERE task_id IN (SELECT value FROM json_each(:ids))

-- remove_edges: remove what tasks waited for.
DELETE FROM task_dependencies WHERE dependent_task_id IN (SELECT value FROM json_each(:ids))

-- remove_edges_to: remove that others waited for tasks.
DELETE FROM task_dependencies WHERE prerequisite_task_id IN (SELECT value FROM json_each(:ids))

-- remove_tasks: remove the tasks themselves, after everything that belongs to them.
DELETE FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))

-- parts: the ids of tasks that are parts of others, in their order.
SELECT t.id, t.parent_task_id FROM json_each(:ids) AS wanted JOIN tasks AS t ON t.parent_task_id = wanted.value
ORDER BY t.id LIMIT :limit

-- states: how tasks stand and what their handlers last said, by id.
SELECT t.id, t.agent_type, t.status, t.summary, t.rank, t.parent_task_id, t.attempt, t.max_attempts, t.worker,
       t.started_at, t.lease_expires_at, t.run_at, t.estimated_duration_seconds, substr(t.error_message, 1, 500) AS error,
       t.project_id, p.fraction, p.message, p.updated_at
FROM json_each(:ids) AS wanted
JOIN tasks AS t ON t.id = wanted.value
LEFT JOIN task_progress AS p ON p.task_id = t.id

-- edges_of: what tasks wait for or have waited for, up to a limit.
SELECT d.dependent_task_id, d.prerequisite_task_id, d.on_failure, d.resolved_at, p.status, p.summary
FROM json_each(:ids) AS wanted
JOIN task_dependencies AS d ON d.dependent_task_id = wanted.value
JOIN tasks AS p ON p.id = d.prerequisite_task_id
LIMIT :limit

-- last_moves: the last row of the trail about each task's status, by id.
SELECT a.task_id, a.timestamp, a.actor, a.action_type, a.action_data
FROM json_each(:ids) AS wanted
JOIN audit AS a ON a.id = (
  SELECT MAX(b.id) FROM audit AS b WHERE b.task_id = wanted.value AND b.action_type LIKE 'task.%'
)

-- above: the edges through which a task waits, and what that waits for, all the way up; met ones are left out.
WITH RECURSIVE above (id) AS (
  SELECT CAST(:id AS TEXT)
  UNION
  SELECT d.prerequisite_task_id
  FROM above
  CROSS JOIN task_dependencies AS d ON d.dependent_task_id = above.id AND d.resolved_at IS NULL
  CROSS JOIN tasks AS p ON p.id = d.prerequisite_task_id AND p.status <> 'completed'
  LIMIT :limit
)
-- CROSS JOIN keeps this order: from a few tasks to their edges, not through all edges that there are.
SELECT d.dependent_task_id AS dependent, d.prerequisite_task_id AS prerequisite, d.on_failure
FROM above
CROSS JOIN task_dependencies AS d ON d.dependent_task_id = above.id AND d.resolved_at IS NULL
CROSS JOIN tasks AS p ON p.id = d.prerequisite_task_id AND p.status <> 'completed'
LIMIT :limit

-- lock: keep tasks as they are until the end of the transaction; here nobody else writes meanwhile.
SELECT 1 AS locked

-- lock_edges: let nobody else add edges to existing tasks; here nobody else writes meanwhile.
SELECT 1 AS locked

-- chat_users: what is known of users of the chat, by name.
SELECT u.id, u.username, u.first_seen, u.last_seen, u.chat_lines, u.connected, u.session_start, u.connections,
       u.left_at, u.ended_at
FROM json_each(:names) AS wanted JOIN abathur_chat_users AS u ON u.username = wanted.value

-- chat_outbound: outbound messages of the chat, by id.
SELECT o.id, o.status FROM json_each(:ids) AS wanted JOIN abathur_chat_outbound AS o ON o.id = wanted.value
