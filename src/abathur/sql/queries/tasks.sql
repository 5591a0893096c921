-- insert: make tasks.
INSERT INTO tasks (prompt, agent_type, priority, max_execution_timeout_seconds, created_by, session_id, source,
                   deadline, estimated_duration_seconds, summary, max_attempts, run_at, lift_at, project_id,
                   id, parent_task_id, status, submitted_at, last_updated_at, rank, unmet, dependents, input_data)
VALUES (:prompt, :agent_type, :priority, :timeout, :created_by, :session, :source,
        :deadline, :estimated_duration, :summary, :max_attempts, :run_at, :lift_at, :project,
        :id, :parent, :status, :submitted_at, :last_updated_at, :rank, :unmet, :dependents, '{}')

-- claim: give a task to a worker for as long as its lease lasts.
-- Here and below, `|| ''` keeps PostgreSQL from looking for the row in a partial index: with statistics from
-- before the queue grew it takes that for tiny, and reads all of it.
UPDATE tasks SET status = 'running', fence = fence + 1, attempt = attempt + 1, worker = :worker,
                 lease_expires_at = :lease_expires_at, started_at = :started_at, last_updated_at = :at
WHERE id = :id AND fence = :fence AND status || '' = 'ready'

-- complete: end a claim well, if its fence still holds.
UPDATE tasks SET status = 'completed', lease_expires_at = NULL, completed_at = :completed_at, last_updated_at = :at
WHERE id = :id AND fence = :fence AND status || '' = 'running'

-- end_attempt: end a claim without completing its task, if its fence still holds.
UPDATE tasks SET status = :status, lease_expires_at = NULL, attempt = :attempt, run_at = :run_at,
                 error_message = COALESCE(:error, error_message), completed_at = :completed_at, last_updated_at = :at
WHERE id = :id AND fence = :fence AND status || '' = 'running'

-- extend: renew the lease of a claim, if its fence still holds.
UPDATE tasks SET lease_expires_at = :lease_expires_at
WHERE id = :id AND fence = :fence AND status || '' = 'running'

-- promote: make tasks ready whose time has come.
UPDATE tasks SET status = 'ready', last_updated_at = :at WHERE id = :id AND status || '' = 'scheduled'

-- lift: put tasks in front, once, because their deadline is near.
UPDATE tasks SET rank = rank - :by, lift_at = NULL WHERE id = :id

-- meet: count down a task's unmet prerequisites, which may change its status.
UPDATE tasks SET unmet = :unmet, status = :status, last_updated_at = :at WHERE id = :id

-- end: fail or cancel a task that nobody works on.
UPDATE tasks SET status = :status, lease_expires_at = NULL, error_message = :error, completed_at = :at,
                 last_updated_at = :at
WHERE id = :id

-- revive: give a failed or cancelled task another set of attempts.
UPDATE tasks SET status = :status, attempt = 0, unmet = :unmet, completed_at = NULL, last_updated_at = :at
WHERE id = :id

-- reconcile: bring a task that was adrift to a status of today.
UPDATE tasks SET status = :status, unmet = :unmet, last_updated_at = :at WHERE id = :id

-- weigh: move a prerequisite forward for each task that newly waits for it.
UPDATE tasks SET rank = rank - :by, dependents = dependents + :more WHERE id = :id

-- overdue: whether there are tasks that have come due, whose lease is over, or whose deadline is near.
SELECT EXISTS (SELECT 1 FROM tasks WHERE status = 'scheduled' AND run_at <= :now) AS due,
       EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND lease_expires_at <= :now) AS expired,
       EXISTS (SELECT 1 FROM tasks WHERE status = 'ready' AND lift_at IS NOT NULL AND lift_at <= :now) AS near

-- due: scheduled tasks whose time has come.
SELECT id, agent_type FROM tasks WHERE status = 'scheduled' AND run_at <= :now ORDER BY run_at LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- near: ready tasks whose deadline is near.
SELECT id FROM tasks WHERE status = 'ready' AND lift_at IS NOT NULL AND lift_at <= :now ORDER BY lift_at LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- expired: running tasks whose lease is over.
SELECT id, agent_type, fence, attempt, max_attempts, worker, started_at, error_message FROM tasks
WHERE status = 'running' AND lease_expires_at <= :now ORDER BY lease_expires_at LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- leaseless: running tasks of older databases, which have no lease.
SELECT id, agent_type, fence, attempt, max_attempts, worker, started_at, error_message FROM tasks
WHERE status = 'running' AND lease_expires_at IS NULL LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- ready: the next ready tasks of one agent type.
SELECT id, rank FROM tasks WHERE status = 'ready' AND agent_type = :agent_type ORDER BY rank, id LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- next: the same, whole tasks, as `batches.read` has them.
SELECT t.id, t.prompt, t.agent_type, t.priority, t.status, t.input_data, t.result_data, t.error_message,
       t.max_execution_timeout_seconds, t.submitted_at, t.started_at, t.completed_at, t.last_updated_at,
       t.created_by, t.parent_task_id, t.session_id, t.source, t.deadline, t.estimated_duration_seconds,
       t.summary, t.fence, t.attempt, t.max_attempts, t.worker, t.lease_expires_at, t.run_at, t.rank, t.unmet,
       t.project_id, c.input, c.result
FROM tasks AS t LEFT JOIN task_content AS c ON c.task_id = t.id
WHERE t.status = 'ready' AND t.agent_type = :agent_type ORDER BY t.rank, t.id LIMIT :limit
-- locking FOR NO KEY UPDATE OF t SKIP LOCKED

-- next_ready_type: the next agent type that has ready tasks, by one look into the index.
SELECT MIN(agent_type) AS agent_type FROM tasks WHERE status = 'ready' AND agent_type > :after

-- ready_of: the next ready tasks of one agent type of one project.
SELECT id, rank FROM tasks WHERE status = 'ready' AND project_id = :project AND agent_type = :agent_type
ORDER BY rank, id LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- next_ready_type_of: the next agent type of which a project has ready tasks, by one look into the index.
SELECT MIN(agent_type) AS agent_type FROM tasks
WHERE status = 'ready' AND project_id = :project AND agent_type > :after

-- left_of: whether a project has tasks of an agent type that are to run yet.
SELECT EXISTS (SELECT 1 FROM tasks WHERE status = 'ready' AND project_id = :project AND agent_type = :agent_type)
    OR EXISTS (SELECT 1 FROM tasks
               WHERE status = 'running' AND project_id = :project AND agent_type = :agent_type)
    OR EXISTS (SELECT 1 FROM tasks
               WHERE status = 'scheduled' AND project_id = :project AND agent_type = :agent_type)
    OR EXISTS (SELECT 1 FROM tasks
               WHERE status = 'pending' AND project_id = :project AND agent_type = :agent_type) AS is_left

-- next_due: when the next scheduled task comes due.
SELECT MIN(run_at) AS at FROM tasks WHERE status = 'scheduled'

-- next_expiry: when the next lease ends.
SELECT MIN(lease_expires_at) AS at FROM tasks WHERE status = 'running'

-- adrift: tasks that an older version left in a status of its own, or without an unmet prerequisite.
SELECT id, agent_type, status, run_at FROM tasks
WHERE status = 'pending' OR (status = 'blocked' AND unmet = 0) LIMIT :limit
-- locking FOR NO KEY UPDATE SKIP LOCKED

-- page: ids in order, from one id on, that fit the filters.
SELECT id FROM tasks
WHERE id > :after AND (CAST(:status AS TEXT) IS NULL OR status = :status)
  AND (CAST(:agent_type AS TEXT) IS NULL OR agent_type = :agent_type)
  AND (CAST(:parent AS TEXT) IS NULL OR parent_task_id = :parent)
  AND (CAST(:project AS TEXT) IS NULL OR project_id = :project)
ORDER BY id LIMIT :limit

-- page_back: ids in reverse order, from one id back, that fit the filters.
SELECT id FROM tasks
WHERE (CAST(:after AS TEXT) = '' OR id < :after) AND (CAST(:status AS TEXT) IS NULL OR status = :status)
  AND (CAST(:agent_type AS TEXT) IS NULL OR agent_type = :agent_type)
  AND (CAST(:parent AS TEXT) IS NULL OR parent_task_id = :parent)
  AND (CAST(:project AS TEXT) IS NULL OR project_id = :project)
ORDER BY id DESC LIMIT :limit

-- by_prefix: the ids that begin with a prefix.
SELECT id FROM tasks WHERE id >= :prefix AND id < :beyond ORDER BY id LIMIT 2

-- newest: the newest tasks whose ids begin with a prefix.
SELECT id, status, summary FROM tasks WHERE id >= :prefix AND id < :beyond ORDER BY id DESC LIMIT :limit

-- attempts: what became of a task's attempts that did not complete it.
SELECT task_id, fence, attempt, worker, started_at, ended_at, outcome, error FROM task_attempts
WHERE task_id = :id ORDER BY fence

-- add_attempts: keep what became of attempts.
INSERT INTO task_attempts (task_id, fence, attempt, worker, started_at, ended_at, outcome, error)
VALUES (:id, :fence, :attempt, :worker, :started_at, :ended_at, :outcome, :error)
ON CONFLICT (task_id, fence) DO UPDATE SET ended_at = excluded.ended_at, outcome = excluded.outcome,
                                           error = excluded.error

-- progress: what a handler last said about how far it is.
SELECT task_id, fraction, message, updated_at FROM task_progress WHERE task_id = :id

-- set_progress: keep what a handler says about how far it is.
INSERT INTO task_progress (task_id, fraction, message, updated_at) VALUES (:id, :fraction, :message, :now)
ON CONFLICT (task_id) DO UPDATE SET fraction = excluded.fraction, message = excluded.message,
                                    updated_at = excluded.updated_at

-- counts: how many tasks of each agent type have each status.
SELECT agent_type, status, n FROM task_counts WHERE n > 0

-- count: add to the counts that are kept.
INSERT INTO task_counts (agent_type, status, n) VALUES (:agent_type, :status, :n)
ON CONFLICT (agent_type, status) DO UPDATE SET n = task_counts.n + excluded.n

-- forget_counts: make room for counts that are counted anew.
DELETE FROM task_counts WHERE n IS NOT NULL

-- recount: count all tasks, which reads all of them.
INSERT INTO task_counts (agent_type, status, n)
SELECT agent_type, status, COUNT(*) FROM tasks GROUP BY agent_type, status

-- add_input: keep the inputs of tasks.
INSERT INTO task_content (task_id, input) VALUES (:id, :input)

-- add_result: keep the results of tasks.
INSERT INTO task_content (task_id, result) VALUES (:id, :result)
ON CONFLICT (task_id) DO UPDATE SET result = excluded.result

-- add_keys: keep idempotency keys.
INSERT INTO task_keys (key, task_id, digest) VALUES (:key, :id, :digest)

-- ended: of a page of tasks, from an id back, those that had ended by some day.
SELECT p.id, p.status, p.completed_at
FROM (SELECT id, status, completed_at FROM tasks WHERE id < :before ORDER BY id DESC LIMIT :limit) AS p
WHERE p.status IN ('completed', 'failed', 'cancelled') AND substr(p.completed_at, 1, 10) <= :day

-- page_start: where a page of tasks, from an id back, begins.
SELECT MIN(p.id) AS id, COUNT(*) AS n
FROM (SELECT id FROM tasks WHERE id < :before ORDER BY id DESC LIMIT :limit) AS p
