-- What matters of each table beside its columns. $1 schemas, $2 names, $3 publication.
SELECT w.ord::int4,
       c.relkind::text,
       c.relpersistence::text,
       c.relispartition,
       has_schema_privilege(n.oid, 'USAGE'),
       has_table_privilege(c.oid, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE') AS ours,
       to_jsonb(p) ->> 'rowfilter',
       -- A column list leaves out a column that could be sent.
       jsonb_typeof(to_jsonb(p) -> 'attnames') = 'array' AND EXISTS (
           SELECT FROM pg_attribute AS a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             AND NOT to_jsonb(p) -> 'attnames' ? a.attname::text) AS listed,
       -- Columns that are sent and may not be read.
       ARRAY(SELECT a.attname::text
             FROM pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND CASE WHEN a.attgenerated <> ''
                         AND current_setting('server_version_num')::int4 < 180000 THEN false
                        WHEN jsonb_typeof(to_jsonb(p) -> 'attnames') = 'array'
                        THEN to_jsonb(p) -> 'attnames' ? a.attname::text
                        ELSE a.attgenerated = '' END
               AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
             ORDER BY a.attnum) AS unreadable,
       -- Some column may be read.
       has_any_column_privilege(c.oid, 'SELECT'),
       row_security_active(c.oid)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, ord)
JOIN pg_namespace AS n ON n.nspname = w.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
LEFT JOIN pg_publication_tables AS p
       ON p.pubname = $3::text AND p.schemaname = w.schema AND p.tablename = w.name
ORDER BY w.ord
