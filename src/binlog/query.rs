//! Statements in the binlog: where groups begin and end, and what else they do.

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;

/// A statement as sent. Its text is bytes: clients write it in their own charset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    /// The session that ran it (`SHOW PROCESSLIST`).
    pub thread_id: u32,
    /// The session's database.
    pub database: &'a [u8],
    /// The text.
    pub statement: &'a [u8],
}

/// What a statement means for the group that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// BEGIN, XA START: the group goes on until it is ended.
    Begin,
    /// COMMIT, XA COMMIT, and ROLLBACK: rows of MyISAM tables are in the log of
    /// a rolled-back transaction because they cannot be rolled back.
    End,
    /// SAVEPOINT, XA END and the like: nothing.
    Nothing,
    /// INSERT, UPDATE, DELETE, REPLACE, LOAD.
    ChangesRows,
    /// Everything else: DDL, FLUSH, OPTIMIZE, GRANT…
    Other,
}

impl<'a> Query<'a> {
    /// Reads a Query event (<https://mariadb.com/kb/en/query_event/>).
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Bytes::new(body);
        let thread_id = bytes.uint(4)?;
        bytes.take(4)?;
        let database_length = usize::from(bytes.u8()?);
        bytes.take(2)?;
        let status_length = usize::try_from(bytes.uint(2)?).unwrap_or(usize::MAX);
        bytes.take(status_length)?;
        let database = bytes.take(database_length)?;
        bytes.take(1)?;
        Ok(Self {
            thread_id: u32::try_from(thread_id).unwrap_or(0),
            database,
            statement: bytes.rest(),
        })
    }

    pub(super) fn meaning(&self) -> Meaning {
        let mut words = Words(self.statement);
        let first = words.next().unwrap_or_default();
        let is = |word: &[u8], wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
        let any = |word: &[u8], wanted: &[&str]| wanted.iter().any(|w| is(word, w));
        if is(first, "COMMIT") {
            return Meaning::End;
        }
        if is(first, "BEGIN") || is(first, "START") {
            return Meaning::Begin;
        }
        if is(first, "ROLLBACK") {
            // ROLLBACK TO savepoint is inside the transaction.
            return match words.next() {
                Some(word) if is(word, "TO") => Meaning::Nothing,
                _ => Meaning::End,
            };
        }
        if is(first, "XA") {
            let second = words.next().unwrap_or_default();
            return if any(second, &["START", "BEGIN"]) {
                Meaning::Begin
            } else if any(second, &["COMMIT", "ROLLBACK"]) {
                Meaning::End
            } else {
                Meaning::Nothing
            };
        }
        if any(first, &["SAVEPOINT", "RELEASE"]) {
            return Meaning::Nothing;
        }
        let changes = |word: &[u8]| any(word, &ROW_CHANGES);
        if changes(first) {
            return Meaning::ChangesRows;
        }
        // SET STATEMENT variable = value FOR statement; ANALYZE [FORMAT = JSON]
        // statement, which is not ANALYZE TABLE.
        if any(first, &["SET", "ANALYZE"]) && words.any(changes) {
            return Meaning::ChangesRows;
        }
        Meaning::Other
    }
}

/// What a statement that is neither rows nor a transaction's end does to the
/// tables that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// TRUNCATE: the rows are gone, the columns stay.
    Emptied,
    /// The columns that were there are as they were; more may follow them:
    /// `ALTER TABLE … ADD`, an index, another engine.
    Extended,
    /// The rows stay; their columns may be others.
    Altered,
    /// DROP, CREATE, RENAME, and what is not understood: rows and columns may
    /// be others.
    Replaced,
}

/// Words of an ALTER TABLE that may change, move or rename a column.
const COLUMN_CHANGES: [&str; 10] = [
    "FIRST",
    "AFTER",
    "CHANGE",
    "MODIFY",
    "DROP",
    "ALTER",
    "CONVERT",
    "CHARACTER",
    "EXCHANGE",
    "ORDER",
];

/// Statements that name tables and leave rows and columns alone.
const HARMLESS: [&str; 9] = [
    "OPTIMIZE", "ANALYZE", "REPAIR", "CHECK", "CHECKSUM", "FLUSH", "GRANT", "REVOKE", "LOCK",
];

/// What holds rows that may go or change with it.
const TABLES: [&str; 4] = ["TABLE", "TABLES", "DATABASE", "SCHEMA"];

/// What CREATE, ALTER and DROP are about besides tables.
const NO_TABLES: [&str; 14] = [
    "INDEX",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "USER",
    "VIEW",
    "ROLE",
    "SERVER",
    "SEQUENCE",
    "PACKAGE",
];

impl Query<'_> {
    /// The part of the statement that names what it defines: what CREATE copies
    /// from, behind LIKE or SELECT, is only read.
    pub(super) fn defining_part(&self) -> &[u8] {
        let mut words = Words(self.statement);
        let is = |word: &[u8], wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
        if !words.next().is_some_and(|first| is(first, "CREATE")) {
            return self.statement;
        }
        while let Some(word) = words.next() {
            if is(word, "LIKE") || is(word, "SELECT") {
                let behind = words.0.len() + word.len();
                let before = self.statement.len().saturating_sub(behind);
                return self.statement.get(..before).unwrap_or(self.statement);
            }
        }
        self.statement
    }

    /// What a statement of [`Meaning::Other`] does to the tables that it names;
    /// `None`: nothing. In doubt it does more.
    pub(super) fn definition(&self) -> Option<Definition> {
        // Versioned comments are run, and read as comments here.
        let hides = |mark: &[u8]| self.statement.windows(mark.len()).any(|w| w == mark);
        if hides(b"/*!") || hides(b"/*M!") {
            return Some(Definition::Replaced);
        }
        let mut words = Words(self.statement);
        let first = words.next().unwrap_or_default();
        let is = |word: &[u8], wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
        let any = |word: &[u8], wanted: &[&str]| wanted.iter().any(|w| is(word, w));
        if any(first, &HARMLESS) {
            return None;
        }
        if is(first, "TRUNCATE") {
            return Some(Definition::Emptied);
        }
        if !any(first, &["CREATE", "DROP", "ALTER"]) {
            return Some(Definition::Replaced);
        }
        // OR REPLACE, DEFINER = …, TEMPORARY and the like stand before it.
        let object = words.find(|word| any(word, &TABLES) || any(word, &NO_TABLES));
        if object.is_some_and(|object| any(object, &NO_TABLES)) {
            return None;
        }
        if !is(first, "ALTER") {
            return Some(Definition::Replaced);
        }
        let words: Vec<_> = words.collect();
        Some(if words.iter().any(|word| is(word, "RENAME")) {
            Definition::Replaced
        } else if words.iter().any(|word| any(word, &COLUMN_CHANGES)) {
            Definition::Altered
        } else {
            Definition::Extended
        })
    }
}

/// Words that begin a statement which changes rows.
const ROW_CHANGES: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH"];

/// The words of a statement, without comments in front of and between them.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self
                .0
                .iter()
                .position(|b| !b.is_ascii_whitespace() && *b != b'(' && *b != b';')?;
            let rest = self.0.get(start..)?;
            if let Some(comment) = rest.strip_prefix(b"/*") {
                let end = comment.windows(2).position(|two| two == b"*/")?;
                self.0 = comment.get(end + 2..)?;
                continue;
            }
            if rest.starts_with(b"#") || rest.starts_with(b"-- ") {
                let end = rest.iter().position(|&b| b == b'\n')?;
                self.0 = rest.get(end..)?;
                continue;
            }
            let end = rest
                .iter()
                .position(|b| !b.is_ascii_alphanumeric() && *b != b'_')
                .unwrap_or(rest.len())
                .max(1);
            let (word, behind) = rest.split_at_checked(end)?;
            self.0 = behind;
            return Some(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(statement: &str) -> Meaning {
        Query {
            thread_id: 1,
            database: b"asterisk",
            statement: statement.as_bytes(),
        }
        .meaning()
    }

    #[test]
    fn groups_begin_and_end_with_the_right_statements() {
        assert_eq!(meaning("COMMIT"), Meaning::End);
        assert_eq!(meaning("BEGIN"), Meaning::Begin);
        assert_eq!(meaning("ROLLBACK"), Meaning::End);
        assert_eq!(meaning("ROLLBACK TO `a`"), Meaning::Nothing);
        assert_eq!(meaning("XA START 'a'"), Meaning::Begin);
        assert_eq!(meaning("XA END 'a'"), Meaning::Nothing);
        assert_eq!(meaning("XA COMMIT 'a'"), Meaning::End);
        assert_eq!(meaning("SAVEPOINT a"), Meaning::Nothing);
    }

    #[test]
    fn a_definition_does_no_less_than_it_says() {
        for (statement, definition) in [
            ("TRUNCATE TABLE a", Some(Definition::Emptied)),
            ("truncate a", Some(Definition::Emptied)),
            ("ALTER TABLE a ADD b INT", Some(Definition::Extended)),
            ("ALTER TABLE `a` ENGINE=InnoDB", Some(Definition::Extended)),
            (
                "ALTER TABLE a ADD `b` INT AFTER c",
                Some(Definition::Altered),
            ),
            ("alter table a modify b INT", Some(Definition::Altered)),
            ("ALTER TABLE a DROP b", Some(Definition::Altered)),
            ("ALTER TABLE a RENAME TO b", Some(Definition::Replaced)),
            ("RENAME TABLE a TO b, c TO a", Some(Definition::Replaced)),
            ("DROP TABLE IF EXISTS a", Some(Definition::Replaced)),
            ("CREATE TABLE a LIKE b", Some(Definition::Replaced)),
            (
                "ALTER TABLE a /*!50100 MODIFY b INT */",
                Some(Definition::Replaced),
            ),
            (
                "START ALTER 1 ALTER TABLE a ADD b INT",
                Some(Definition::Replaced),
            ),
            ("", Some(Definition::Replaced)),
            ("CREATE INDEX i ON a (b)", None),
            ("OPTIMIZE TABLE a", None),
            (
                "CREATE DEFINER=`root`@`localhost` TRIGGER t AFTER UPDATE ON a FOR EACH ROW SET @x=1",
                None,
            ),
            (
                "CREATE OR REPLACE DEFINER=`r`@`%` PROCEDURE p() UPDATE a SET b=1",
                None,
            ),
            ("ALTER ALGORITHM=MERGE VIEW v AS SELECT * FROM a", None),
            ("DROP TRIGGER IF EXISTS a", None),
            (
                "CREATE OR REPLACE TABLE a (b INT, INDEX (b))",
                Some(Definition::Replaced),
            ),
            ("ALTER IGNORE TABLE a ADD b INT", Some(Definition::Extended)),
            ("/* nightly */ optimize table a", None),
            ("GRANT SELECT ON a TO b", None),
        ] {
            let query = Query {
                thread_id: 1,
                database: b"asterisk",
                statement: statement.as_bytes(),
            };
            assert_eq!(query.definition(), definition, "{statement}");
        }
    }

    #[test]
    fn comments_and_case_do_not_hide_what_a_statement_does() {
        let text = "/* dialer */ insert into vicidial_log set uniqueid='1'";
        assert_eq!(meaning(text), Meaning::ChangesRows);
        assert_eq!(meaning("# note\nUPDATE a set b=1"), Meaning::ChangesRows);
        assert_eq!(
            meaning("TRUNCATE TABLE x /* generated by server */"),
            Meaning::Other
        );
        let wrapped = "SET STATEMENT max_statement_time=100 FOR UPDATE vicidial_log SET a=1";
        assert_eq!(meaning(wrapped), Meaning::ChangesRows);
        assert_eq!(meaning("ANALYZE UPDATE a SET b=1"), Meaning::ChangesRows);
        assert_eq!(meaning("ANALYZE TABLE vicidial_log"), Meaning::Other);
        assert_eq!(meaning(""), Meaning::Other);
        assert_eq!(meaning("/* never closed"), Meaning::Other);
    }

    #[test]
    fn what_create_copies_from_is_not_defined() {
        let part = |statement: &'static str| {
            let query = Query {
                thread_id: 1,
                database: b"asterisk",
                statement: statement.as_bytes(),
            };
            String::from_utf8_lossy(query.defining_part()).into_owned()
        };
        for (statement, defines) in [
            ("CREATE TABLE a LIKE b", "CREATE TABLE a "),
            (
                "create table if not exists `a` like b",
                "create table if not exists `a` ",
            ),
            ("CREATE TABLE a AS SELECT * FROM b", "CREATE TABLE a AS "),
            ("CREATE TABLE a (b INT)", "CREATE TABLE a (b INT)"),
            ("DROP TABLE a, b", "DROP TABLE a, b"),
        ] {
            assert_eq!(part(statement), defines);
        }
    }
}
