-- What a new slot waits for: transactions that have written something and have not ended.
SELECT format('pid %s (%s, %s, %s) since %s', pid, usename, coalesce(nullif(application_name, ''), '?'),
              coalesce(state, 'state hidden from us'), coalesce(date_trunc('second', xact_start)::text, '?'))
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT format('prepared transaction %L since %s', gid, date_trunc('second', prepared))
FROM pg_prepared_xacts
