-- The database user for didtail, on the VICIdial server: it reads, and writes nothing.
--
-- Change the password and the host ('%' is any) first, then, as an administrator:
--   mysql --force < replication-user.sql
-- (--force goes on where an older VICIdial lacks one of the tables; `didtail
-- doctor` says which grants are missing.)
-- The database is VICIdial's, `asterisk` unless it was named otherwise.

CREATE USER IF NOT EXISTS 'didtail'@'%' IDENTIFIED BY 'CHANGE-ME';

-- To receive the binlog, and to ask where it ends and which files there are.
-- MariaDB before 10.5 and MySQL have no BINLOG MONITOR; they call it REPLICATION
-- CLIENT, and MariaDB 10.5 and newer read that name as BINLOG MONITOR.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'didtail'@'%';

-- Optional, MariaDB 10.5 and newer: lets `didtail doctor` see (SHOW REPLICA HOSTS) that
-- another replica uses its server_id already, instead of running into it.
-- GRANT REPLICATION MASTER ADMIN ON *.* TO 'didtail'@'%';

-- Optional, MariaDB 10.5 and newer: lets `didtail doctor` see whether this server
-- is itself a replica. Where it is the primary, nothing is lost without it.
-- GRANT SLAVE MONITOR ON *.* TO 'didtail'@'%';

-- Optional, where binlog_format is MIXED or STATEMENT: lets didtail see the triggers
-- that write VICIdial's call tables, which such a binlog does not show; it does not
-- start beside one. The grant also lets this user make some.
-- GRANT TRIGGER ON `asterisk`.* TO 'didtail'@'%';

-- To read the columns of these tables and the flags of the statuses; the rows again
-- where the binlog has a statement or a part of a row (binlog_format MIXED or
-- STATEMENT, binlog_row_image MINIMAL); and the calls for `backfill` and `verify`.
GRANT SELECT ON `asterisk`.`vicidial_log` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_log_extended` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_carrier_log` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_dial_log` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_dial_cid_log` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_statuses` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_campaign_statuses` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_tiltx_shaken_log` TO 'didtail'@'%';

-- VICIdial's archives of the same tables: `backfill` and `verify` read the calls
-- there that the nightly job has moved away. Without these grants they go by the
-- tables above alone and name what they did not read; `didtail doctor` does too.
GRANT SELECT ON `asterisk`.`vicidial_log_archive` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_log_extended_archive` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_carrier_log_archive` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_dial_log_archive` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_dial_cid_log_archive` TO 'didtail'@'%';
GRANT SELECT ON `asterisk`.`vicidial_tiltx_shaken_log_archive` TO 'didtail'@'%';
