-- known: the files of a directory that are in the index, all or those at and below one path.
SELECT id, path, size, mtime_ns FROM index_files
WHERE root_id = :root_id
  AND (:scope = '' OR path = :scope OR substr(path, 1, length(:scope) + 1) = :scope || '/')

-- files_at: what the index knows of some paths.
SELECT f.id, f.path, f.size, f.mtime_ns, f.sha256
FROM json_each(:paths) AS wanted JOIN index_files AS f ON f.root_id = :root_id AND f.path = wanted.value

-- search: the chunks that answer a query, the best first.
SELECT r.root, f.path, c.first_line, c.last_line, c.body, hit.score
FROM (SELECT rowid AS id, -bm25(index_text) AS score FROM index_text
      WHERE index_text MATCH :query ORDER BY bm25(index_text), rowid LIMIT :limit) AS hit
JOIN index_chunks AS c ON c.id = hit.id
JOIN index_files AS f ON f.id = c.file_id
JOIN index_roots AS r ON r.id = f.root_id
ORDER BY hit.score DESC, c.id

-- done: what the batches of a job have done so far.
SELECT t.status, count(*) AS batches, max(t.error_message) AS error,
       coalesce(sum(json_extract(c.result, '$.files')), 0) AS files,
       coalesce(sum(json_extract(c.result, '$.indexed')), 0) AS indexed,
       coalesce(sum(json_extract(c.result, '$.unchanged')), 0) AS unchanged,
       coalesce(sum(json_extract(c.result, '$.removed')), 0) AS removed,
       coalesce(sum(json_extract(c.result, '$.chunks')), 0) AS chunks,
       coalesce(sum(json_extract(c.result, '$.binary')), 0) AS binary,
       coalesce(sum(json_extract(c.result, '$.unreadable')), 0) AS unreadable,
       coalesce(sum(json_extract(c.result, '$.other')), 0) AS other
FROM tasks AS t LEFT JOIN task_content AS c ON c.task_id = t.id
WHERE t.parent_task_id = :id AND t.agent_type = 'abathur.index.batch' GROUP BY t.status
