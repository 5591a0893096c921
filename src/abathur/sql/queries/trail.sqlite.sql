-- issued: the last id that was given to an audit row, whether its row is still there or not.
SELECT seq AS id FROM sqlite_sequence WHERE name = 'audit'
