-- get: one project, by id.
SELECT id, name, description, database_name, state, created_at, updated_at, metadata FROM projects WHERE id = :id

-- named: the projects that bear a name.
SELECT id, name, description, database_name, state, created_at, updated_at, metadata FROM projects
WHERE name = :name ORDER BY id LIMIT :limit

-- page: projects in the order of their ids, from one id on, that fit the filters.
SELECT id, name, description, database_name, state, created_at, updated_at, metadata FROM projects
WHERE id > :after AND (CAST(:name AS TEXT) IS NULL OR name = :name)
  AND (CAST(:state AS TEXT) IS NULL OR state = :state)
ORDER BY id LIMIT :limit

-- owner: the project that has a store.
SELECT id, name FROM projects WHERE database_name = :database_name

-- root: what is known of a directory, by its path.
SELECT root, project_id, seen_at, name, persisted, reason, directory FROM project_roots WHERE root = :root

-- roots_of: the directories of a project, the last seen first.
SELECT root, project_id, seen_at, name, persisted, reason, directory FROM project_roots
WHERE project_id = :project_id ORDER BY seen_at DESC, root

-- same_directory: what is known of a directory by other paths.
SELECT root, project_id, seen_at, name, persisted, reason, directory FROM project_roots
WHERE directory = :directory AND root <> :root ORDER BY root

-- insert: make a project.
INSERT INTO projects (id, name, description, database_name, state, created_at, updated_at, metadata)
VALUES (:id, :name, :description, :database_name, 'provisioning', :now, :now, :metadata)

-- put_root: note a directory of a project; one of another project becomes this one's.
INSERT INTO project_roots (root, project_id, seen_at, name, persisted, reason, directory)
VALUES (:root, :project_id, :now, :name, :persisted, NULL, :directory)
ON CONFLICT (root) DO UPDATE SET project_id = excluded.project_id, seen_at = excluded.seen_at, name = excluded.name,
                                 persisted = excluded.persisted, reason = NULL, directory = excluded.directory

-- see_root: note what a directory and its configuration are like now.
UPDATE project_roots SET name = :name, persisted = :persisted, reason = :reason, directory = :directory, seen_at = :now
WHERE root = :root AND project_id = :project_id

-- forget_root: forget a directory of a project.
DELETE FROM project_roots WHERE root = :root AND project_id = :project_id

-- rename: give a project another name.
UPDATE projects SET name = :name, updated_at = :now WHERE id = :id

-- set_state: note whether a project's store is there.
UPDATE projects SET state = :state, updated_at = :now WHERE id = :id AND state <> :state

-- draw: give a project whose store is not there yet another name for it.
UPDATE projects SET database_name = :database_name, updated_at = :now
WHERE id = :id AND database_name = :before AND state = 'provisioning'

-- add_events: keep what happened to projects.
INSERT INTO project_events (id, project_id, at, kind, actor, detail)
VALUES (:id, :project_id, :at, :kind, :actor, :detail)

-- events: what happened to a project, the last first.
SELECT id, project_id, at, kind, actor, detail FROM project_events WHERE project_id = :project_id
ORDER BY id DESC LIMIT :limit

-- working_directory: where a session works.
SELECT session, directory, seen_at FROM project_sessions WHERE session = :session

-- set_working_directory: note where a session works.
INSERT INTO project_sessions (session, directory, seen_at) VALUES (:session, :directory, :now)
ON CONFLICT (session) DO UPDATE SET directory = excluded.directory, seen_at = excluded.seen_at

-- forget_session: forget where a session works.
DELETE FROM project_sessions WHERE session = :session
