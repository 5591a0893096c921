-- state: how many pages the file has, and how many of them are free.
SELECT c.page_count AS pages, f.freelist_count AS free, s.page_size AS page_size, v.auto_vacuum AS auto_vacuum
FROM pragma_page_count AS c, pragma_freelist_count AS f, pragma_page_size AS s, pragma_auto_vacuum AS v

-- shrink: move a free page to the end of the file, and cut it off.
PRAGMA incremental_vacuum(1)
