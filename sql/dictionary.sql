-- What is said of tables beside their columns and types: comments, labels of enumerations (of arrays
-- of them and of domains too), constraints.
-- $1 table oids.
WITH RECURSIVE base AS (
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, 0 AS depth
    FROM pg_attribute AS a
    WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attrelid, b.attnum, b.attname,
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
           b.depth + 1
    FROM base AS b
    JOIN pg_type AS t ON t.oid = b.type
    WHERE b.depth < 16
      AND (t.typtype = 'd'
           OR t.typlen = -1 AND t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
)
SELECT c.oid, '{}'::int2[] AS columns, 'table' AS kind, '' AS name,
       obj_description(c.oid, 'pg_class') AS text, 0::float8 AS place
FROM pg_class AS c
WHERE c.oid = ANY ($1::oid[]) AND obj_description(c.oid, 'pg_class') IS NOT NULL
UNION ALL
SELECT b.attrelid, ARRAY[b.attnum], 'column', '', col_description(b.attrelid, b.attnum), 0
FROM base AS b
WHERE b.depth = 0 AND col_description(b.attrelid, b.attnum) IS NOT NULL
UNION ALL
SELECT b.attrelid, ARRAY[b.attnum], 'label', '', e.enumlabel::text, e.enumsortorder
FROM base AS b
JOIN pg_enum AS e ON e.enumtypid = b.type
UNION ALL
SELECT k.conrelid, k.conkey, 'constraint', k.conname::text, pg_get_constraintdef(k.oid), 0
FROM pg_constraint AS k
WHERE k.conrelid = ANY ($1::oid[]) AND k.contype IN ('c', 'u', 'f', 'p', 'x') AND k.conkey IS NOT NULL
ORDER BY 1, 3, 4, 2, 6
