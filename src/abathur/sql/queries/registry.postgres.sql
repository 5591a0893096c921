-- lock: let nobody else change the registry until the end of the transaction: two may claim one directory.
SELECT key FROM abathur_meta WHERE key = 'declaration:abathur_projects'
-- locking FOR NO KEY UPDATE
