-- Customers as the CRM should have them, once they have a tier.
SELECT id::text,
       company_id,
       first_name,
       last_name,
       email,
       phone,
       title,
       language::text,
       birthday::text,
       opted_out::text,
       lifetime_value::text,
       to_char(date_trunc('second', last_login) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'),
       preferences::text,
       notes,
       lock_version::text,
       tier
FROM customer
