-- add_root: a directory that is indexed, if it is new.
INSERT INTO index_roots (root) VALUES (:root) ON CONFLICT (root) DO NOTHING

-- root: a directory that is indexed.
SELECT id, root, indexed_at FROM index_roots WHERE root = :root

-- roots: every directory that was indexed, the last one first.
SELECT id, root, indexed_at FROM index_roots ORDER BY indexed_at DESC, id DESC

-- move_root: a directory has another place now.
UPDATE index_roots SET root = :root WHERE id = :id

-- date_root: when a directory was indexed.
UPDATE index_roots SET indexed_at = :now WHERE root = :root

-- remove_root: forget a directory without files.
DELETE FROM index_roots WHERE id = :id

-- put_files: a new file, or what an indexed one is now.
INSERT INTO index_files (root_id, path, size, mtime_ns, sha256, chunks, skipped, indexed_at)
VALUES (:root_id, :path, :size, :mtime_ns, :sha256, :chunks, :skipped, :now)
ON CONFLICT (root_id, path) DO UPDATE SET
  size = excluded.size, mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, chunks = excluded.chunks,
  skipped = excluded.skipped, indexed_at = excluded.indexed_at

-- touch_files: the content is the same, and its time is another.
UPDATE index_files SET size = :size, mtime_ns = :mtime_ns WHERE id = :id

-- add_chunks: the chunks of files.
INSERT INTO index_chunks (file_id, ordinal, first_line, last_line, head, body, folded)
VALUES (:file_id, :ordinal, :first_line, :last_line, :head, :body, :folded)

-- remove_chunks: the chunks of a file.
DELETE FROM index_chunks WHERE file_id = :id

-- remove_files: a file without chunks.
DELETE FROM index_files WHERE id = :id

-- totals: how much is in the index.
SELECT (SELECT count(*) FROM index_files WHERE skipped IS NULL) AS files, (SELECT count(*) FROM index_chunks) AS chunks
