-- One row, whether or not the slot exists: how far the server's WAL is on disk, then the slot.
-- Everything as text, so that it reads the same over both protocols. Columns that only newer
-- versions have are reached through to_jsonb.
SELECT here.flushed::text,
       s.slot_name::text,
       s.slot_type,
       s.plugin::text,
       s.database::text,
       s.active_pid::text,
       a.application_name,
       s.restart_lsn::text,
       s.confirmed_flush_lsn::text,
       s.wal_status,
       to_jsonb(s) ->> 'invalidation_reason',
       pg_wal_lsn_diff(here.flushed, s.restart_lsn)::text
FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                  ELSE pg_current_wal_flush_lsn() END AS flushed) AS here
LEFT JOIN pg_replication_slots AS s ON s.slot_name = $1
LEFT JOIN pg_stat_activity AS a ON a.pid = s.active_pid
