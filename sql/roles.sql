-- The least rights that Syncline's role needs. Run it as a superuser (or the managed service's
-- administrator), in the database that is read.
--
-- The password is set apart from here, so that it reaches neither a file nor the server's log:
--   \password syncline

CREATE ROLE syncline LOGIN REPLICATION;
-- Amazon RDS and Aurora have no REPLICATION attribute to give:
--   GRANT rds_replication TO syncline;

-- To connect, and to read existing rows (backfill, reconciliation). The stream itself needs no right
-- on the tables.
GRANT CONNECT ON DATABASE app TO syncline;
GRANT USAGE ON SCHEMA public TO syncline;
GRANT SELECT ON public.company, public.customer TO syncline;

-- Where policies (row level security) would hide rows of these tables from it:
--   ALTER ROLE syncline BYPASSRLS;

-- Watermarks and heartbeats need a function that everybody may run, unless that was revoked
-- (Postgres 17 and newer: four arguments, boolean, text, text, boolean):
--   GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, text) TO syncline;

-- The publication is made by the owner of its tables; see publication.sql. No right to write is
-- needed anywhere: watermarks and heartbeats are logical messages.

-- pg_hba.conf: a replication connection to a database matches that database's lines, not the keyword
-- "replication".
--   hostssl  app  syncline  <address>/32  scram-sha-256
