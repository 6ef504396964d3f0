//! A VICIdial database on a real MySQL or MariaDB server.
//!
//! One connection, opened again when it breaks, answers questions; every open
//! stream has its own. Both are read-only: the server is told so, and nothing
//! here asks for anything but SELECT, SHOW and the binlog.

mod ahead;
mod committed;
mod facts;
mod replica;
mod skip;
mod stream;

use tokio::sync::Mutex;

pub use facts::SourceTimeZone;
pub use stream::MySqlStream;

use replica::Purpose;

use super::settings::ConnectSettings;
use super::wire::{Flavour, QUERY_TIMEOUT, Server, Table, Wire, WireError, text};
use super::{Column, Condition, Located, NextRow, Source, SourceError, TableRow};
use crate::binlog::{GtidPosition, Position};
use crate::vicidial::WallClock;

/// A VICIdial database on a real server.
pub struct MySqlSource {
    settings: ConnectSettings,
    address: String,
    server: Server,
    /// The connection for questions; empty while none is open or one is in use.
    control: Mutex<Option<Wire>>,
}

impl MySqlSource {
    /// Connects, logs in and looks at the server's version.
    ///
    /// # Errors
    /// [`SourceError`] when the server cannot be reached or refuses the login.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, SourceError> {
        let address = settings.address();
        let wire = open(settings)
            .await
            .map_err(|e| SourceError::from_wire(e, &address, "a session"))?;
        Ok(Self {
            settings: settings.clone(),
            address,
            server: wire.server().clone(),
            control: Mutex::new(Some(wire)),
        })
    }

    /// VICIdial's database, as the URL names it.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.settings.database
    }

    /// Flavour and version of the server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The settings that it was connected with.
    #[must_use]
    pub fn settings(&self) -> &ConnectSettings {
        &self.settings
    }

    /// Lets the next question open a new connection.
    async fn forget_connection(&self) {
        drop(self.control.lock().await.take());
    }

    /// The replica id that a daemon would follow the source with, now.
    pub(super) async fn replica_id(&self) -> Result<u32, SourceError> {
        Ok(self.replica(Purpose::Follow).await?.server_id)
    }

    /// Runs a statement; `what` names in words what it asks for.
    pub(crate) async fn ask(&self, what: &str, sql: &str) -> Result<Table, SourceError> {
        let [table] = self.ask_all(what, [sql]).await?;
        Ok(table)
    }

    /// Runs statements one after the other in one session.
    async fn ask_all<const N: usize>(
        &self,
        what: &str,
        statements: [&str; N],
    ) -> Result<[Table; N], SourceError> {
        let answers = self.attempt(statements).await;
        answers.map_err(|e| SourceError::from_wire(e, &self.address, what))
    }

    /// Runs statements on the open connection, or on a new one where that
    /// turns out to have been closed while idle.
    async fn attempt<const N: usize>(
        &self,
        statements: [&str; N],
    ) -> Result<[Table; N], WireError> {
        let mut slot = self.control.lock().await;
        // Taken out, so that a statement that is given up half-way takes its
        // connection with it, and nobody reads the rest of its result.
        if let Some(mut wire) = slot.take() {
            match all(&mut wire, statements).await {
                Err(WireError::Io(_)) => {}
                result => {
                    if is_over(&result) {
                        *slot = Some(wire);
                    }
                    return result;
                }
            }
        }
        let mut wire = open(&self.settings).await?;
        let result = all(&mut wire, statements).await;
        if is_over(&result) {
            *slot = Some(wire);
        }
        result
    }
}

/// Runs statements one after the other, up to the first that fails.
async fn all<const N: usize>(
    wire: &mut Wire,
    statements: [&str; N],
) -> Result<[Table; N], WireError> {
    let mut answers = std::array::from_fn(|_| Table::default());
    for (answer, sql) in answers.iter_mut().zip(statements) {
        *answer = wire.query(sql).await?;
    }
    Ok(answers)
}

/// Whether a session can be used again. One that was refused something between
/// others may be inside a transaction.
fn is_over<const N: usize>(result: &Result<[Table; N], WireError>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => N == 1 && matches!(error, WireError::Refused { .. }),
    }
}

/// Opens a session that can only read, gets text as the bytes that are
/// stored, and sees every TIMESTAMP in UTC.
async fn open(settings: &ConnectSettings) -> Result<Wire, WireError> {
    let mut wire = Wire::connect(settings).await?;
    let seconds = QUERY_TIMEOUT.as_secs();
    let limit = match wire.server().flavour {
        Flavour::MariaDb => format!("max_statement_time = {seconds}"),
        Flavour::MySql => format!("max_execution_time = {}", seconds * 1000),
    };
    wire.query(&format!(
        "SET SESSION character_set_results = NULL, time_zone = '+00:00', sql_mode = '', {limit}"
    ))
    .await?;
    wire.query("SET SESSION TRANSACTION READ ONLY").await?;
    Ok(wire)
}

impl Source for MySqlSource {
    type Stream = MySqlStream;

    async fn stream(&self, from: &Position) -> Result<MySqlStream, SourceError> {
        self.forget_connection().await;
        MySqlStream::open(self, from, Purpose::Follow).await
    }

    async fn look(&self, from: &Position) -> Result<MySqlStream, SourceError> {
        MySqlStream::open(self, from, Purpose::Look).await
    }

    async fn server_now(&self) -> Result<Option<String>, SourceError> {
        // A connection from before may still be one to the old server.
        self.forget_connection().await;
        self.identity().await.map(Some)
    }

    async fn behind(
        &self,
        server: &str,
        read: &GtidPosition,
        read_at: Option<i64>,
    ) -> Result<Located, SourceError> {
        if self.server_now().await?.as_deref() != Some(server) {
            return Err(SourceError::Unreachable {
                address: self.address.clone(),
                detail: "one server or another answers".to_owned(),
            });
        }
        self.behind(read, read_at).await
    }

    async fn head(&self) -> Result<Position, SourceError> {
        Ok(self.binlog_end_and_gtid().await?.0)
    }

    async fn committed(&self, position: &Position, gtid: &GtidPosition) -> Result<(), SourceError> {
        self.until_committed(position, gtid).await
    }

    async fn columns(&self, table: &str) -> Result<Vec<Column>, SourceError> {
        self.table_columns(table).await
    }

    async fn select(
        &self,
        table: &str,
        columns: &[&str],
        condition: Condition<'_>,
    ) -> Result<Vec<TableRow>, SourceError> {
        self.rows_that_meet(table, columns, condition).await
    }

    async fn rows(&self, table: &str, columns: &[&str]) -> Result<Vec<TableRow>, SourceError> {
        self.table_rows(table, columns).await
    }

    async fn next_row(
        &self,
        table: &str,
        column: &str,
        from: WallClock,
        until: WallClock,
    ) -> Result<NextRow, SourceError> {
        self.first_row(table, column, from, until).await
    }

    async fn threads_running(&self) -> Result<Option<u32>, SourceError> {
        self.running().await
    }
}
