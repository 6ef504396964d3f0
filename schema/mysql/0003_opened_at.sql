-- A time in each call that never changes, so that PostgreSQL can keep calls by
-- month: the first started_at, and within a day of the time that the uniqueid names.
SET @didtail_step = (SELECT if(count(*) = 0,
    'ALTER TABLE call_records ADD COLUMN opened_at BIGINT NOT NULL DEFAULT 0', 'DO 0')
    FROM information_schema.columns WHERE table_schema = database()
    AND table_name = 'call_records' AND column_name = 'opened_at');
PREPARE didtail_step FROM @didtail_step;
EXECUTE didtail_step;
DEALLOCATE PREPARE didtail_step;

UPDATE call_records SET opened_at = CASE
    WHEN substring_index(uniqueid, '.', 1) REGEXP '^[0-9]{10}$'
    THEN least(greatest(started_at, CAST(left(uniqueid, 10) AS SIGNED) - 86400),
               CAST(left(uniqueid, 10) AS SIGNED) + 86400)
    ELSE started_at END;
