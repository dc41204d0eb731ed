-- Deals as the CRM should have them, once closes_on is called close_date.
SELECT company_id || '/' || number,
       company_id,
       customer_id::text,
       title,
       stage::text,
       amount::text,
       discount::text,
       close_date::text,
       to_char(date_trunc('second', won_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'),
       auto_renew::text,
       to_json(products)::text,
       notes,
       lock_version::text
FROM deal
