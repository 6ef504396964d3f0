-- A time in each call that never changes, so that servers can keep calls by month:
-- the first started_at, and within a day of the time that the uniqueid names.
ALTER TABLE call_records ADD COLUMN opened_at INTEGER NOT NULL DEFAULT 0;
UPDATE call_records SET opened_at = CASE
    WHEN uniqueid GLOB '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9].*'
      OR uniqueid GLOB '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'
    THEN min(max(started_at, CAST(substr(uniqueid, 1, 10) AS INTEGER) - 86400),
             CAST(substr(uniqueid, 1, 10) AS INTEGER) + 86400)
    ELSE started_at END;
