-- issued: the last id that was given to an audit row, whether its row is still there or not.
SELECT seq AS id FROM sqlite_sequence WHERE name = 'audit'

-- reserve: give ids to some rows that are to be appended; answers with the last of them.
SELECT MAX(COALESCE((SELECT MAX(id) FROM audit), 0),
           COALESCE((SELECT CAST(seq AS INTEGER) FROM sqlite_sequence WHERE name = 'audit'), 0)) + :n AS id
