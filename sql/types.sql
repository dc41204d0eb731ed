-- Types that are not built into every server: what was made by initdb, extensions and users.
SELECT t.oid,
       n.nspname::text,
       t.typname::text,
       t.typtype::text,
       t.typbasetype,
       t.typtypmod,
       CASE WHEN t.typlen = -1 AND t.typsubscript = 'array_subscript_handler'::regproc
            THEN t.typelem ELSE 0 END AS element,
       t.typdelim::text
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.oid >= 10000
ORDER BY t.oid
