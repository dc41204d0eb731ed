-- A table's name now, and which right on it the role has. $1 oid.
SELECT n.nspname::text,
       c.relname::text,
       c.relkind::text,
       -- LOCK TABLE wants the right on the whole table.
       has_table_privilege(c.oid, 'SELECT')
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid AND c.relkind IN ('r', 'p')
