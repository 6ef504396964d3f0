//! One connection that sends a script's steps, as patient as VICIdial's daemons
//! are when the server goes away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use crate::database::Target;
use crate::script::Step;

/// How long a lost server is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const DUPLICATE_KEY: u16 = 1062;
const SHUTTING_DOWN: u16 = 1053;

pub struct Session {
    target: Target,
    latin1: bool,
    /// The binlog shall bear the calls' own times.
    stamped: bool,
    conn: Conn,
}

impl Session {
    pub async fn open(target: &Target, latin1: bool, stamped: bool) -> Result<Self> {
        Ok(Self {
            target: target.clone(),
            latin1,
            stamped,
            conn: target.connect().await?,
        })
    }

    pub async fn close(self) -> Result<()> {
        Ok(self.conn.disconnect().await?)
    }

    /// Sends a step's statements. A server that went away is waited for, and
    /// gets them again one by one, because some may have been done.
    pub async fn send(&mut self, step: Step, stop: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut may_collide = step.may_collide;
        let mut packets = VecDeque::from([step.statements.join(";")]);
        while let Some(sql) = packets.front() {
            let mut packet = self.bytes(sql);
            if self.stamped {
                packet.splice(0..0, format!("SET timestamp={};", step.at).into_bytes());
            }
            match self.conn.query_drop(packet).await {
                Ok(()) => {}
                Err(Error::Server(error)) if error.code == DUPLICATE_KEY && may_collide => {}
                Err(Error::Server(error)) if error.code == DUPLICATE_KEY => {
                    bail!("a row is there already: write with another --seed ({error})")
                }
                Err(Error::Server(error)) if error.code != SHUTTING_DOWN => bail!("{error}: {sql}"),
                Err(error) => {
                    self.reconnect(deadline, stop)
                        .await
                        .with_context(|| error.to_string())?;
                    if packets.len() == 1 {
                        packets = step.statements.iter().cloned().collect();
                    }
                    may_collide = true;
                    continue;
                }
            }
            packets.pop_front();
        }
        Ok(())
    }

    /// The connection itself, for what is no part of a call.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    async fn reconnect(&mut self, deadline: Instant, stop: &AtomicBool) -> Result<()> {
        loop {
            match self.target.connect().await {
                Ok(conn) => {
                    self.conn = conn;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline || stop.load(Ordering::Relaxed) => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn bytes(&self, sql: &str) -> Vec<u8> {
        if !self.latin1 {
            return sql.as_bytes().to_vec();
        }
        sql.chars()
            .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
            .collect()
    }
}
