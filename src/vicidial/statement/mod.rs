//! What a statement in the binlog says about which rows it changed, and how.
//!
//! A source in MIXED or STATEMENT format writes most of VICIdial's changes as
//! the statement's text. What the rows are afterwards the text does not say:
//! functions, defaults, cut-off values and conditions on other columns decide
//! that. But nearly every statement of VICIdial names its rows by `uniqueid`,
//! lead or caller code, in literals (vicidial.md, write sequences), and rows
//! are states: read again later, they are what the statement made of them, or
//! something newer that the stream will come to as well.
//!
//! So a statement yields the keys of the rows to read again. Where it names
//! none, a window of time stands in for them. What it says in literals besides
//! serves for rows that are gone by then.

mod changes;
mod conditions;
mod words;

use sqlparser::ast::Statement as Sql;
use sqlparser::dialect::MySqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::vicidial::cells::WallClock;
use crate::vicidial::fact::Pick;
use crate::vicidial::interpret::SIP_CODES;
use crate::vicidial::{CallPatch, Column, Detail, SipAnswer, Table};

use changes::Context;

/// Longest statement that is taken apart; the server's own limit is
/// `max_allowed_packet`, 16 MB on ViciBox.
const BYTES_MAX: usize = 4 << 20;

/// Operators and words in a statement; VICIdial's longest have some hundred.
/// Chains of them become trees as deep, which are taken down recursively.
const OPERATORS_MAX: usize = 1000;

/// Keys taken from one statement.
const KEYS_MAX: usize = 10_000;

/// Nesting of what is taken apart; VICIdial's has a handful. A level takes some
/// hundred kilobytes of an unoptimised thread's stack, which has two megabytes.
const DEPTH_MAX: usize = 20;

/// A change of rows of one watched table, by a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The table.
    pub table: Table,
    /// Its rows.
    pub rows: WrittenRows,
    /// The statement without its values, for people: what it does, to which
    /// table, and which columns it finds its rows by.
    pub shape: String,
}

/// Which rows a statement changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenRows {
    /// Those with one of these keys.
    Keyed(Box<KeyedRows>),
    /// The caller code of a call, which the statement itself says, and says for sure.
    Link(Link),
    /// It does not say: those of a time, as far as it is bounded.
    Window {
        /// The first wall clock that is in.
        from: Option<WallClock>,
        /// The last wall clock that is in.
        until: Option<WallClock>,
    },
    /// Any of a small table.
    All,
    /// Rows were archived: those from before this wall clock, or all.
    Archived {
        /// The first wall clock that stays.
        before: Option<WallClock>,
    },
}

/// Rows that are found by a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyedRows {
    /// A column with an index.
    pub column: &'static str,
    /// Its values.
    pub values: Vec<String>,
    /// Values that the statement gave it: its rows may be found by these since.
    pub new_values: Vec<String>,
    /// Which of the rows with these keys.
    pub among: Among,
    /// What else happened to them.
    pub effect: Effect,
    /// The new rows as the statement says them, one for each of the values;
    /// none where rows that were there may have been changed instead.
    pub inserted: Vec<SaidRow>,
    /// What an UPDATE sets columns to, as far as it says so in literals.
    pub set: SaidRow,
    /// Caller codes that the statement says, should the rows not say them any more.
    pub links: Vec<Link>,
}

/// Columns and their values as a statement says them; `None` is NULL, or what
/// only the server could tell.
pub type SaidRow = Vec<(String, Option<String>)>;

/// What narrows rows down that are found by a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Among {
    /// Those of this caller code.
    pub caller_code: Option<String>,
    /// Those whose `uniqueid` begins so.
    pub prefix: Option<String>,
    /// Those of this lead.
    pub lead_id: Option<u64>,
    /// Those that had one of these statuses; any where there are none.
    pub statuses: Vec<String>,
    /// Those that had these values.
    pub was: SaidRow,
    /// Those from this wall clock on.
    pub since: Option<WallClock>,
    /// One of them, or all.
    pub pick: Pick,
    /// There is more that narrows them down, and cannot be told here.
    pub and_more: bool,
}

/// What a statement did to calls besides changing columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// It gave one of them another `uniqueid`.
    Renamed {
        /// The new one.
        to: String,
        /// The old one, where the statement says it; else the second that it
        /// names is [`Among::prefix`].
        from: Option<String>,
    },
    /// It deleted one, as VICIdial's clean-up of duplicates does.
    Deleted,
}

/// A caller code of a call, as `vicidial_log_extended` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `uniqueid` of the call.
    pub uniqueid: String,
    /// The code: V… or M….
    pub caller_code: String,
    /// `lead_id`, where it is said.
    pub lead_id: Option<u64>,
    /// `call_date`, where it is said.
    pub call_date: Option<WallClock>,
}

/// What a statement did to watched tables. `named` are those that its text
/// names somewhere; `columns` tells a table's columns in order, for INSERTs
/// that do not name them; `time` is when it ran, in seconds since 1970 (UTC).
///
/// A statement that cannot be understood changed anything in any of them.
#[must_use]
pub fn written(
    text: &[u8],
    named: &[Table],
    columns: impl Fn(Table) -> Vec<String>,
    time: i64,
) -> Vec<Written> {
    let Some(parsed) = parse(text) else {
        return named
            .iter()
            .map(|table| changes::anything(*table, "a statement that cannot be read", None))
            .collect();
    };
    let context = Context {
        named,
        columns: &columns,
        time,
    };
    parsed
        .iter()
        .flat_map(|statement| context.written(statement))
        .collect()
}

/// What literals change a call's row to, as `columns` store them.
#[must_use]
pub fn patch(said: &SaidRow, columns: &[Column]) -> CallPatch {
    let text = |name: &str| stored(said, columns, name);
    let number = |name: &str| text(name)?.trim().parse::<i64>().ok();
    CallPatch {
        uniqueid: text("uniqueid"),
        lead_id: number("lead_id").and_then(|lead| lead.try_into().ok()),
        status: text("status"),
        user: text("user"),
        campaign_id: text("campaign_id"),
        term_reason: text("term_reason"),
        list_id: number("list_id").and_then(|list| list.try_into().ok()),
        called_count: number("called_count").and_then(|count| count.try_into().ok()),
        length_in_sec: number("length_in_sec"),
        ended_at: number("end_epoch"),
    }
}

/// What a row says that a statement changed after it was copied: the copy, with
/// what the statement set. Of dials and carriers' rows only the ending changes.
#[must_use]
pub fn patched(copy: &Detail, said: &SaidRow, columns: &[Column]) -> Detail {
    let text = |name: &str| stored(said, columns, name);
    let number = |name: &str| text(name)?.trim().parse::<u16>().ok();
    let mut detail = copy.clone();
    match &mut detail {
        Detail::Dial { sip, .. } => {
            if let Some(code) = number("sip_hangup_cause").filter(|code| SIP_CODES.contains(code)) {
                *sip = Some(SipAnswer {
                    code,
                    reason: text("sip_hangup_reason").unwrap_or_default(),
                });
            }
        }
        Detail::Carrier { ending, .. } => {
            if let Some(code) = number("sip_hangup_cause").filter(|code| *code != 0) {
                ending.sip_code = Some(code);
            }
            if let Some(reason) = text("sip_hangup_reason") {
                ending.sip_reason = reason;
            }
            if let Some(cause) = number("hangup_cause") {
                ending.hangup_cause = cause;
            }
            if let Some(status) = text("dialstatus") {
                ending.dial_status = status;
            }
        }
        Detail::Call { .. }
        | Detail::CallRead(_)
        | Detail::CallOfLead(_)
        | Detail::CallDeleted { .. }
        | Detail::CallsOfSecond { .. }
        | Detail::CallAssigned(_)
        | Detail::Link { .. }
        | Detail::Reported { .. }
        | Detail::Posted(_)
        | Detail::Status(_)
        | Detail::LookedUp(_) => {}
    }
    detail
}

fn stored(said: &SaidRow, columns: &[Column], name: &str) -> Option<String> {
    let (_, value) = said.iter().find(|(column, _)| column == name)?;
    let column = columns.iter().find(|column| column.name == name);
    let value = value.as_deref()?;
    Some(column.map_or_else(|| value.to_owned(), |column| column.stored(value)))
}

/// Takes a statement apart; `None` when it cannot be, or is out of proportion.
fn parse(text: &[u8]) -> Option<Vec<Sql>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    // VICIdial's keys are ASCII, whatever the other values are written in.
    let text = String::from_utf8_lossy(text);
    let dialect = MySqlDialect {};
    let tokens = Tokenizer::new(&dialect, &text)
        .tokenize_with_location()
        .ok()?;
    let operators = tokens.iter().filter(|token| is_operator(&token.token));
    if operators.count() > OPERATORS_MAX {
        return None;
    }
    // SET STATEMENT … FOR UPDATE …, ANALYZE UPDATE …: the change is behind it.
    let opening = tokens
        .iter()
        .find(|token| !matches!(token.token, Token::Whitespace(_)));
    let is_wrapped = opening.is_some_and(|token| {
        matches!(&token.token, Token::Word(word)
            if word.value.eq_ignore_ascii_case("SET") || word.value.eq_ignore_ascii_case("ANALYZE"))
    });
    let is_change = |token: &TokenWithSpan| is_change(&token.token);
    let start = match tokens.iter().position(is_change) {
        Some(start) if is_wrapped => start,
        Some(_) | None => 0,
    };
    let tokens = with_joins(tokens.get(start..)?);
    Parser::new(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .ok()
}

/// `UPDATE a, b SET …` as `UPDATE a CROSS JOIN b SET …`, which is the same and
/// which the library can read.
fn with_joins(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is = |token: &TokenWithSpan, wanted: Keyword| matches!(&token.token, Token::Word(word) if word.keyword == wanted);
    let mut words = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let is_update = words.next().is_some_and(|token| is(token, Keyword::UPDATE));
    let set = tokens.iter().position(|token| is(token, Keyword::SET));
    let Some(set) = set.filter(|_| is_update) else {
        return tokens.to_vec();
    };
    let mut depth = 0_usize;
    let mut joined = Vec::with_capacity(tokens.len());
    for (place, token) in tokens.iter().enumerate() {
        if token.token == Token::LParen {
            depth += 1;
        } else if token.token == Token::RParen {
            depth = depth.saturating_sub(1);
        } else if token.token == Token::Comma && place < set && depth == 0 {
            let word = |text| TokenWithSpan::new(Token::make_keyword(text), token.span);
            let space = || TokenWithSpan::new(Token::Whitespace(Whitespace::Space), token.span);
            joined.extend([space(), word("CROSS"), space(), word("JOIN")]);
            continue;
        }
        joined.push(token.clone());
    }
    joined
}

/// The word that begins a change of rows.
fn is_change(token: &Token) -> bool {
    matches!(token, Token::Word(word) if matches!(
        word.keyword,
        Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE | Keyword::REPLACE
    ))
}

/// True for what can make a tree deeper: not for values, names, commas and
/// brackets, of which an INSERT of many rows has any number.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list of tokens; all others are operators"
)]
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword | Keyword::NULL | Keyword::DEFAULT
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
