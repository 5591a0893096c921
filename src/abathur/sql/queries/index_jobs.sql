-- insert: a new job.
INSERT INTO index_jobs (id, plan_id, project_id, root, scope, force, open, follows)
VALUES (:id, :plan_id, :project_id, :root, :scope, :force, 1, :follows)

-- open: the jobs that may not have ended, the oldest first, with the status of their tasks.
SELECT j.id, j.plan_id, j.project_id, j.root, j.scope, j.force, j.follows, t.status, p.status AS plan_status
FROM index_jobs AS j LEFT JOIN tasks AS t ON t.id = j.id LEFT JOIN tasks AS p ON p.id = j.plan_id
WHERE j.open = 1 ORDER BY j.id

-- one: a job, and its task.
SELECT j.id, j.plan_id, j.project_id, j.root, j.scope, j.force, j.follows, j.plan, t.status, t.error_message,
       p.status AS plan_status, p.error_message AS plan_error, r.database_name
FROM index_jobs AS j
JOIN tasks AS t ON t.id = j.id
LEFT JOIN tasks AS p ON p.id = j.plan_id
LEFT JOIN projects AS r ON r.id = j.project_id
WHERE j.id = :id

-- last: the last jobs of all projects, the newest first.
SELECT j.id FROM index_jobs AS j JOIN tasks AS t ON t.id = j.id ORDER BY j.id DESC LIMIT :limit

-- recent: the last jobs of a project, the newest first.
SELECT j.id FROM index_jobs AS j JOIN tasks AS t ON t.id = j.id WHERE j.project_id = :project_id ORDER BY j.id DESC LIMIT :limit

-- close: a job has ended.
UPDATE index_jobs SET open = 0 WHERE id = :id

-- set_follows: which jobs a job waits for.
UPDATE index_jobs SET follows = :follows WHERE id = :id

-- forget: jobs whose tasks were pruned.
DELETE FROM index_jobs WHERE open = 0 AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = index_jobs.id)

-- set_plan: what the walk of a job has found.
UPDATE index_jobs SET plan = :plan WHERE id = :id
