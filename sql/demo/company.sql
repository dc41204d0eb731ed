-- Companies as the CRM should have them. Times are whole seconds there.
SELECT id,
       name,
       parent_id,
       industry,
       website,
       phone,
       street,
       city,
       postal_code,
       country,
       employees::text,
       annual_revenue::text,
       health::text,
       is_partner::text,
       founded_on::text,
       array_to_string(segments, ';'),
       notes,
       to_char(date_trunc('second', created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'),
       lock_version::text,
       'true'
FROM company
WHERE $1::text IS NULL OR id = $1
