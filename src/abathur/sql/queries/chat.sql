-- channel: what is known of the chat as a whole. Whoever writes holds it.
SELECT users, messages, counts, outbound, most_users, most_users_at, most_connected, most_connected_at, last_at,
       keep_messages, keep_counts, keep_outbound
FROM abathur_chat_channel WHERE id = 1
-- locking FOR NO KEY UPDATE

-- add_channel: begin with nothing.
INSERT INTO abathur_chat_channel (id) VALUES (1) ON CONFLICT (id) DO NOTHING

-- set_channel: keep what is known of the chat as a whole.
UPDATE abathur_chat_channel
SET users = :users, messages = :messages, counts = :counts, outbound = :outbound, most_users = :most_users,
    most_users_at = :most_users_at, most_connected = :most_connected, most_connected_at = :most_connected_at,
    last_at = :last_at, keep_messages = :keep_messages, keep_counts = :keep_counts, keep_outbound = :keep_outbound
WHERE id = 1

-- set_users: keep what is known of users.
INSERT INTO abathur_chat_users (id, username, first_seen, last_seen, chat_lines, connected, session_start, connections,
                                left_at, ended_at)
VALUES (:id, :username, :first_seen, :last_seen, :chat_lines, :connected, :session_start, :connections,
        :left_at, :ended_at)
ON CONFLICT (id) DO UPDATE
SET first_seen = excluded.first_seen, last_seen = excluded.last_seen, chat_lines = excluded.chat_lines,
    connected = excluded.connected, session_start = excluded.session_start, connections = excluded.connections,
    left_at = excluded.left_at, ended_at = excluded.ended_at

-- user: what is known of one user.
SELECT username, first_seen, last_seen, chat_lines, connected, session_start
FROM abathur_chat_users WHERE username = :username

-- top: who has said most, by the index.
SELECT username, chat_lines FROM abathur_chat_users WHERE chat_lines > 0 ORDER BY chat_lines DESC, id LIMIT :limit

-- here: how many sessions are open.
SELECT COUNT(*) AS n FROM abathur_chat_users WHERE session_start IS NOT NULL

-- end_sessions: end every session that is open, none before it began.
UPDATE abathur_chat_users
SET connected = connected + CASE WHEN session_start < :at THEN :at - session_start ELSE 0 END,
    left_at = CASE WHEN session_start < :at THEN :at ELSE session_start END,
    last_seen = CASE WHEN last_seen < :at THEN :at ELSE last_seen END,
    ended_at = CASE WHEN session_start < :at THEN :at ELSE session_start END,
    session_start = NULL, connections = NULL
WHERE session_start IS NOT NULL

-- add_messages: keep what was said.
INSERT INTO abathur_chat_messages (id, at, username, message) VALUES (:id, :at, :username, :message)

-- forget_messages: let go of what was said long ago.
DELETE FROM abathur_chat_messages WHERE id <= :last

-- recent: what was said last.
SELECT at, username, message FROM abathur_chat_messages
WHERE CAST(:since AS BIGINT) IS NULL OR at >= :since ORDER BY id DESC LIMIT :limit

-- add_counts: keep how many users there were.
INSERT INTO abathur_chat_counts (id, at, users, connected) VALUES (:id, :at, :users, :connected)

-- forget_counts: let go of how many users there were long ago.
DELETE FROM abathur_chat_counts WHERE id <= :last

-- counts: how many users there were lately.
SELECT at, users, connected FROM abathur_chat_counts
WHERE CAST(:since AS BIGINT) IS NULL OR at >= :since ORDER BY id DESC LIMIT :limit

-- status: the fields of the bot's status.
SELECT fields, at FROM abathur_chat_status WHERE id = 1

-- set_status: keep the fields of the bot's status.
INSERT INTO abathur_chat_status (id, fields, at) VALUES (1, :fields, :at)
ON CONFLICT (id) DO UPDATE SET fields = excluded.fields,
  at = CASE WHEN excluded.at > abathur_chat_status.at THEN excluded.at ELSE abathur_chat_status.at END

-- add_outbound: keep a message that is to be sent.
INSERT INTO abathur_chat_outbound (id, message, created_at, max_retries, due_at)
VALUES (:id, :message, :now, :max_retries, :now)

-- outbound: one outbound message.
SELECT status, retries, max_retries, due_at FROM abathur_chat_outbound WHERE id = :id
-- locking FOR NO KEY UPDATE

-- unsent: the oldest messages that are to be sent now.
SELECT id, created_at, message, retries, error FROM abathur_chat_outbound
WHERE status = 'unsent' AND due_at <= :now AND (CAST(:max_retries AS BIGINT) IS NULL OR retries < :max_retries)
ORDER BY id LIMIT :limit

-- end_outbound: note that messages were sent.
UPDATE abathur_chat_outbound SET status = :status, sent_at = :sent_at WHERE id = :id

-- fail_outbound: note that a message could not be sent.
UPDATE abathur_chat_outbound
SET status = :status, retries = :retries, due_at = :due_at, tried_at = :now, error = :error
WHERE id = :id

-- forget_outbound: let go of messages that were sent, or given up, long ago.
DELETE FROM abathur_chat_outbound WHERE id <= :last AND status <> 'unsent'

-- stream: which events of a stream were stored.
SELECT stored FROM abathur_chat_streams WHERE stream = :stream

-- knows_stream: whether events of a stream whose name begins so were stored.
SELECT stream FROM abathur_chat_streams
WHERE substr(stream, 1, length(CAST(:begin AS TEXT))) = CAST(:begin AS TEXT) LIMIT 1

-- set_stream: keep which events of a stream were stored.
INSERT INTO abathur_chat_streams (stream, stored, at) VALUES (:stream, :stored, :at)
ON CONFLICT (stream) DO UPDATE SET stored = excluded.stored, at = excluded.at

-- forget_streams: let go of the streams from which nothing came for longest.
DELETE FROM abathur_chat_streams
WHERE stream NOT IN (SELECT s.stream FROM abathur_chat_streams AS s ORDER BY s.at DESC, s.stream LIMIT :keep)
