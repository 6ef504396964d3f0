-- When the binlog file of the position was begun, by the source's clock: tells
-- it from another file of that name, after RESET MASTER or a restore.
ALTER TABLE checkpoints ADD COLUMN file_begun INTEGER;
