-- A checkpoint says of which server it is. What lies before it in the binlog
-- (columns, archivings) is kept by the store, together with the position.
ALTER TABLE checkpoints ADD COLUMN server TEXT;          -- what the server calls itself
ALTER TABLE checkpoint_history ADD COLUMN server TEXT;
ALTER TABLE checkpoint_history ADD COLUMN file_begun INTEGER;
UPDATE checkpoints SET server =
    (SELECT identity FROM sources WHERE sources.name = checkpoints.source);
DROP TABLE sources;
DROP TABLE table_schemas;
DROP TABLE archivings;
DROP TABLE inserted;
