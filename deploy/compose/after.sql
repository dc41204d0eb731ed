-- After sql/roles.sql: the third table, and a password for this machine.
GRANT SELECT ON public.deal TO syncline;
ALTER ROLE syncline PASSWORD 'syncline';
