-- The publication that Syncline reads, for when its role may not make it. Run it as the owner of the
-- tables, before the replication slot is made: a slot cannot be read with a publication that is
-- younger than itself.
--
-- publish_via_partition_root: changes of a partition carry the name and the columns of its root.

CREATE PUBLICATION syncline
    FOR TABLE public.company, public.customer
    WITH (publish_via_partition_root = true);

-- Later:
--   ALTER PUBLICATION syncline ADD TABLE public.invoice;
