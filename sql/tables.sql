-- The configured tables as the catalog has them now: one row a column, in order; one row without a
-- column for a table that has none, and one without an oid for a table that is not there.
-- $1 schemas, $2 names, $3 publication.
SELECT w.ord::int4,
       c.oid,
       c.relreplident::text,
       p.pubname IS NOT NULL AS published,
       a.attnum,
       a.attname::text,
       a.atttypid,
       format_type(a.atttypid, a.atttypmod),
       a.atttypmod,
       a.attnotnull,
       -- Column lists came with Postgres 15; generated columns can be sent from 18 on.
       CASE WHEN jsonb_typeof(to_jsonb(p) -> 'attnames') = 'array'
            THEN to_jsonb(p) -> 'attnames' ? a.attname::text
            ELSE a.attgenerated = '' END AS sent,
       array_position(pk.indkey::int2[], a.attnum) AS in_primary_key,
       CASE c.relreplident
            WHEN 'd' THEN array_position(pk.indkey::int2[], a.attnum)
            WHEN 'i' THEN array_position(ri.indkey::int2[], a.attnum)
            WHEN 'f' THEN a.attnum::int4
       END AS in_identity
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, ord)
LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace)
       ON n.nspname = w.schema AND c.relname = w.name AND c.relkind IN ('r', 'p')
LEFT JOIN pg_publication_tables AS p
       ON p.pubname = $3::text AND p.schemaname = w.schema AND p.tablename = w.name
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index AS pk ON pk.indrelid = c.oid AND pk.indisprimary
LEFT JOIN pg_index AS ri ON ri.indrelid = c.oid AND ri.indisreplident
ORDER BY w.ord, a.attnum
