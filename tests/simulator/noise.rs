//! The rest of a VICIdial binlog: agents' screens refreshing every second,
//! servers saying that they live, queues and counters. A reader of calls must
//! get past it; nothing in it is about a call's outcome.

use crate::random::Random;
use crate::world::{AGENTS, SERVERS};

pub struct Noise {
    random: Random,
    /// Rows that one statement changes at most.
    width: u64,
    serial: u64,
}

impl Noise {
    pub fn new(seed: u64, width: u64) -> Self {
        Self {
            random: Random::for_call(seed, u64::MAX),
            width: width.clamp(1, AGENTS),
            serial: seed % 1000 * 1_000_000,
        }
    }

    /// How many rows the statements change, and the statements.
    pub fn next(&mut self) -> (u64, Vec<String>) {
        self.serial += 1;
        let kind = self.random.weighted(&[
            (50.0, Noise::agents as fn(&mut Self) -> (u64, Vec<String>)),
            (12.0, Noise::servers),
            (8.0, Noise::campaign_counters),
            (8.0, Noise::manager),
            (8.0, Noise::hopper),
            (8.0, Noise::channels),
            (6.0, Noise::queued_calls),
        ]);
        kind(self)
    }

    fn agents(&mut self) -> (u64, Vec<String>) {
        let first = 6001 + self.random.between(0, AGENTS - self.width);
        let users: Vec<String> = (first..first + self.width)
            .map(|user| format!("'{user}'"))
            .collect();
        let id = self.random.between(10_000_000, 99_999_999);
        (
            self.width,
            vec![format!(
                "UPDATE vicidial_live_agents set random_id='{id}',last_update_time=NOW() where user IN({}) and server_ip='{}'",
                users.join(","),
                SERVERS[0]
            )],
        )
    }

    fn servers(&mut self) -> (u64, Vec<String>) {
        // A time that moves on whatever the clock does, so that the row changes.
        let tick = self.serial % 86_400;
        let server = SERVERS[(self.serial % 2) as usize];
        (
            1,
            vec![format!(
                "UPDATE server_updater set last_update=ADDDATE('2024-11-01 00:00:00', INTERVAL {} SECOND) where server_ip='{server}'",
                tick + self.serial / 86_400
            )],
        )
    }

    fn campaign_counters(&mut self) -> (u64, Vec<String>) {
        let calls = self.random.between(1, 999_999);
        (
            3,
            vec![format!(
                "UPDATE vicidial_campaign_stats set calls_today='{calls}',answers_today='{}',drops_today_pct='{}',update_time=NOW()",
                calls / 4,
                calls % 5
            )],
        )
    }

    fn rows(&self, row: impl Fn(u64) -> String) -> String {
        (0..self.width).map(row).collect::<Vec<_>>().join(",")
    }

    fn manager(&mut self) -> (u64, Vec<String>) {
        let id = format!("ZZ{:010}", self.serial);
        let rows = self.rows(|nth| format!("('',NOW(),'NEW','N','{}','SIP/agent-{nth}','Command','{id}','Command: core show channels')", SERVERS[0]));
        (
            3 * self.width,
            vec![
                format!(
                    "INSERT INTO vicidial_manager (uniqueid,entry_date,status,response,server_ip,channel,action,callerid,cmd_line_b) values{rows}"
                ),
                format!("UPDATE vicidial_manager set status='SENT' where callerid='{id}'"),
                format!("DELETE from vicidial_manager where callerid='{id}'"),
            ],
        )
    }

    /// Leads far beyond those that are called, so that no call is touched.
    fn hopper(&mut self) -> (u64, Vec<String>) {
        let first = 3_000_000_000 + self.serial % 10_000_000 * 50;
        let rows = self.rows(|nth| {
            format!(
                "('{}','SALESEST','READY','','101','-5.00','','NONE','0','S')",
                first + nth
            )
        });
        (
            2 * self.width,
            vec![
                format!(
                    "INSERT INTO vicidial_hopper (lead_id,campaign_id,status,user,list_id,gmt_offset_now,state,alt_dial,priority,source) values{rows}"
                ),
                format!(
                    "DELETE from vicidial_hopper where lead_id IN({})",
                    (first..first + self.width)
                        .map(|lead| lead.to_string())
                        .collect::<Vec<_>>()
                        .join(",")
                ),
            ],
        )
    }

    fn channels(&mut self) -> (u64, Vec<String>) {
        let name = format!("SIP/gs{:010}", self.serial);
        let rows = self.rows(|nth| format!("('{name}-{nth}','{}','SIP','8600051','')", SERVERS[1]));
        let names: Vec<String> = (0..self.width)
            .map(|nth| format!("'{name}-{nth}'"))
            .collect();
        (
            2 * self.width,
            vec![
                format!(
                    "INSERT INTO live_channels (channel,server_ip,channel_group,extension,channel_data) values{rows}"
                ),
                format!(
                    "DELETE FROM live_channels where server_ip='{}' and channel IN({})",
                    SERVERS[1],
                    names.join(",")
                ),
            ],
        )
    }

    /// Calls waiting for an agent count their seconds in the table itself.
    fn queued_calls(&mut self) -> (u64, Vec<String>) {
        let id = format!("Q{:010}", self.serial);
        let width = self.width.min(3);
        let rows = (0..width)
            .map(|_| format!("('{}','SALESEST','LIVE','0','{id}','START')", SERVERS[0]))
            .collect::<Vec<_>>()
            .join(",");
        (
            3 * width,
            vec![
                format!(
                    "INSERT INTO vicidial_auto_calls (server_ip,campaign_id,status,lead_id,callerid,stage) values{rows}"
                ),
                format!("UPDATE vicidial_auto_calls set stage='LIVE-1' where callerid='{id}'"),
                format!("DELETE from vicidial_auto_calls where callerid='{id}'"),
            ],
        )
    }
}
