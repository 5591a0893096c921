-- add: let tasks wait for others.
INSERT INTO task_dependencies (id, dependent_task_id, prerequisite_task_id, created_at, resolved_at, on_failure)
VALUES (:id, :dependent, :prerequisite, :created_at, :resolved_at, :on_failure)

-- resolve: note that prerequisites are met.
UPDATE task_dependencies SET resolved_at = :at WHERE id = :id

-- above: a task's prerequisites and theirs, all the way up.
WITH RECURSIVE above (dependent, prerequisite) AS (
  SELECT dependent_task_id, prerequisite_task_id FROM task_dependencies WHERE dependent_task_id = :id
  UNION
  SELECT d.dependent_task_id, d.prerequisite_task_id
  FROM task_dependencies AS d JOIN above ON d.dependent_task_id = above.prerequisite
)
SELECT dependent, prerequisite FROM above
