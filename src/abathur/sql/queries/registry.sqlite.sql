-- lock: let nobody else change the registry; here nobody else writes meanwhile.
SELECT 1 AS locked
