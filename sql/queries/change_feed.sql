-- name: number_commits
-- Sets the positions of committed transactions that have none, and returns their number. A standby cannot do this: it
-- shows the transactions that got their positions on the primary.
SELECT CASE WHEN current_setting('transaction_read_only') = 'on' THEN 0 ELSE number_commits(:most) END AS numbered;

-- name: find_position
-- The position of a transaction in the feed.
SELECT seq FROM commits WHERE uuid = :commit AND seq IS NOT NULL;
