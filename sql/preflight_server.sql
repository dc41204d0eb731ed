-- What the server and our role bring along. One row.
SELECT current_setting('wal_level'),
       current_setting('max_replication_slots')::int4,
       (SELECT count(*) FROM pg_replication_slots)::int4,
       current_setting('max_wal_senders')::int4,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender')::int4,
       current_setting('max_slot_wal_keep_size'),
       pg_is_in_recovery(),
       -- The managed services' substitutes for the attribute.
       EXISTS (SELECT FROM pg_roles AS r
               WHERE (r.rolname = current_user AND (r.rolreplication OR r.rolsuper))
                  OR (r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'member'))),
       has_database_privilege(current_database(), 'CREATE'),
       -- Watermarks and heartbeats; its arguments differ between versions.
       (SELECT min(f.oid::regprocedure::text)
        FROM pg_proc AS f
        WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.proname = 'pg_logical_emit_message'
          AND f.proargtypes[2] = 'text'::regtype AND NOT has_function_privilege(f.oid, 'EXECUTE'))
