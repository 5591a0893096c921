-- state: how many pages the tables take with their indexes. The server gives free ones to new rows by itself.
SELECT CAST(COALESCE(SUM(pg_total_relation_size(c.oid)), 0) / CAST(current_setting('block_size') AS BIGINT) AS BIGINT)
         AS pages,
       CAST(0 AS BIGINT) AS free, CAST(current_setting('block_size') AS BIGINT) AS page_size,
       CAST(0 AS BIGINT) AS auto_vacuum
FROM pg_class AS c
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema()) AND c.relkind = 'r'

-- shrink: nothing that we could give back without a long lock.
SELECT 1 AS done
