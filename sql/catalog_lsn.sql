-- A position behind the commit of every transaction that can be seen now.
SELECT CASE WHEN pg_is_in_recovery()
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_insert_lsn() END::text
