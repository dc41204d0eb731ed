-- The publication, if it is there. $1 its name.
SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
FROM pg_publication
WHERE pubname = $1
