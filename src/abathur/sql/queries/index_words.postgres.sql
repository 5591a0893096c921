-- known: the files of a directory that are in the index, all or those at and below one path.
SELECT id, path, size, mtime_ns FROM index_files
WHERE root_id = :root_id
  AND (CAST(:scope AS text) = '' OR path = :scope
       OR substr(path, 1, length(CAST(:scope AS text)) + 1) = CAST(:scope AS text) || '/')

-- files_at: what the index knows of some paths.
SELECT f.id, f.path, f.size, f.mtime_ns, f.sha256
FROM jsonb_array_elements_text(CAST(:paths AS jsonb)) AS wanted (value)
JOIN index_files AS f ON f.root_id = :root_id AND f.path = wanted.value

-- search: the chunks that answer a query, the best first.
SELECT r.root, f.path, c.first_line, c.last_line, c.body, hit.score
FROM (SELECT c.id, CAST(ts_rank_cd(c.terms, asked.query, 1) AS double precision) AS score
      FROM to_tsquery('simple', CAST(:query AS text)) AS asked (query), index_chunks AS c
      WHERE c.terms @@ asked.query ORDER BY 2 DESC, 1 LIMIT :limit) AS hit
JOIN index_chunks AS c ON c.id = hit.id
JOIN index_files AS f ON f.id = c.file_id
JOIN index_roots AS r ON r.id = f.root_id
ORDER BY hit.score DESC, c.id

-- done: what the batches of a job have done so far.
SELECT t.status, count(*) AS batches, max(t.error_message) AS error,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'files' AS bigint)), 0) AS bigint) AS files,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'indexed' AS bigint)), 0) AS bigint) AS indexed,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'unchanged' AS bigint)), 0) AS bigint) AS unchanged,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'removed' AS bigint)), 0) AS bigint) AS removed,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'chunks' AS bigint)), 0) AS bigint) AS chunks,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'binary' AS bigint)), 0) AS bigint) AS binary,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'unreadable' AS bigint)), 0) AS bigint) AS unreadable,
       CAST(coalesce(sum(CAST(CAST(c.result AS jsonb) ->> 'other' AS bigint)), 0) AS bigint) AS other
FROM tasks AS t LEFT JOIN task_content AS c ON c.task_id = t.id
WHERE t.parent_task_id = :id AND t.agent_type = 'abathur.index.batch' GROUP BY t.status
