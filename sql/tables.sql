-- Tables as the catalog has them now, by name or by oid: one row a column, in order; one row without
-- a column for a table that has none, and one without an oid for a table that is not there. Columns
-- that were dropped come too: their numbers are never used again.
-- $1 schemas, $2 names, $3 publication, $4 oids (they follow the names).
WITH wanted AS (
    SELECT w.ord, c.oid
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, ord)
    LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace)
           ON n.nspname = w.schema AND c.relname = w.name
    UNION ALL
    SELECT cardinality($1::text[]) + w.ord, w.oid
    FROM unnest($4::oid[]) WITH ORDINALITY AS w (oid, ord)
)
SELECT w.ord::int4,
       c.oid,
       n.nspname::text,
       c.relname::text,
       c.relreplident::text,
       p.pubname IS NOT NULL AS published,
       a.attnum,
       a.attname::text,
       a.atttypid,
       format_type(a.atttypid, a.atttypmod),
       a.atttypmod,
       a.attnotnull,
       a.attisdropped,
       -- Column lists came with Postgres 15; generated columns can be sent from 18 on (before, the
       -- view names them and they are not).
       CASE WHEN a.attisdropped THEN false
            WHEN a.attgenerated <> '' AND current_setting('server_version_num')::int4 < 180000 THEN false
            WHEN jsonb_typeof(to_jsonb(p) -> 'attnames') = 'array'
            THEN to_jsonb(p) -> 'attnames' ? a.attname::text
            ELSE a.attgenerated = '' END AS sent,
       -- Columns behind the key's (INCLUDE) are in the index and not in the key.
       array_position((pk.indkey::int2[])[0:pk.indnkeyatts - 1], a.attnum) AS in_primary_key,
       CASE c.relreplident
            WHEN 'd' THEN CASE WHEN pk.indimmediate THEN
                 array_position((pk.indkey::int2[])[0:pk.indnkeyatts - 1], a.attnum) END
            WHEN 'i' THEN array_position((ri.indkey::int2[])[0:ri.indnkeyatts - 1], a.attnum)
            WHEN 'f' THEN CASE WHEN NOT a.attisdropped THEN a.attnum::int4 END
       END AS in_identity
FROM wanted AS w
LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace)
       ON c.oid = w.oid AND c.relkind IN ('r', 'p')
LEFT JOIN pg_publication_tables AS p
       ON p.pubname = $3::text AND p.schemaname = n.nspname AND p.tablename = c.relname
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_index AS pk ON pk.indrelid = c.oid AND pk.indisprimary
LEFT JOIN pg_index AS ri ON ri.indrelid = c.oid AND ri.indisreplident
ORDER BY w.ord, a.attnum
