-- How to read one table by pages: one row a column of the key to page by, in the key's order; one
-- row without a column when there is no such key. $1 the table's oid, $2 publication.
SELECT c.relkind::text,
       -- Row filters came with Postgres 15.
       to_jsonb(p) ->> 'rowfilter',
       a.attname::text,
       -- Order and equality are those of the index: only there are the keys unique. A column's own
       -- collation may differ, and an extension's operators need not be on the search path.
       CASE WHEN k.coll <> a.attcollation
            THEN (SELECT format('%I.%I', cn.nspname, co.collname)
                  FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
                  WHERE co.oid = k.coll) END,
       k.opts & 1 = 1 AS descending,
       k.opts & 2 = 2 AS nulls_first,
       -- Of a btree: <, <=, =, >=, >.
       ARRAY(SELECT format('OPERATOR(%I.%s)', opn.nspname, op.oprname)
             FROM pg_opclass AS oc
             JOIN pg_amop AS ao ON ao.amopfamily = oc.opcfamily AND ao.amoppurpose = 's'
              AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
             JOIN pg_operator AS op ON op.oid = ao.amopopr
             JOIN pg_namespace AS opn ON opn.oid = op.oprnamespace
             WHERE oc.oid = k.opclass
             ORDER BY ao.amopstrategy) AS operators
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_publication_tables AS p
       ON p.pubname = $2::text AND p.schemaname = n.nspname AND p.tablename = c.relname
LEFT JOIN LATERAL (
    SELECT i.indkey, i.indcollation, i.indclass, i.indoption, i.indnkeyatts
    FROM pg_index AS i
    WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)
    ORDER BY i.indisprimary DESC
    LIMIT 1
) AS i ON true
LEFT JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[], i.indoption::int2[])
       WITH ORDINALITY AS k (attnum, coll, opclass, opts, place)
       ON k.place <= i.indnkeyatts
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE c.oid = $1::oid
ORDER BY k.place
