//! Other tables' events per second: over 95 % of a VICIdial binlog.

use std::time::{Duration, Instant};

use didtail::binlog::{BinlogFile, GtidPosition, Position, Reader, Step, Watch};
use didtail::source::{ConnectSettings, EventStream as _, MySqlSource, Source as _, TlsMode};
use didtail::vicidial::Table;

use crate::floor::Bare;
use crate::server::{Server, usage};

/// What a logged-in agent's browser does every second: VICIdial's main noise.
const NOISE: &str = "
    DELIMITER //
    CREATE OR REPLACE PROCEDURE asterisk.bench_noise(n INT)
    BEGIN
      DECLARE i INT DEFAULT 0;
      WHILE i < n DO
        UPDATE asterisk.vicidial_live_agents
           SET random_id = i, last_update_time = NOW() WHERE user = 'bench';
        SET i = i + 1;
      END WHILE;
    END //
    DELIMITER ;
    INSERT INTO asterisk.vicidial_live_agents (user, server_ip, lead_id, random_id, status)
      VALUES ('bench', '10.0.0.1', 1, 0, 'READY');
    RESET MASTER;
    CALL asterisk.bench_noise(500000);";

const ROUNDS: usize = 3;

pub(crate) fn measure(server: &Server) -> anyhow::Result<()> {
    server.sql(NOISE)?;
    let (file, end) = server.head()?;
    println!(
        "skip: a backlog of {} MB of vicidial_live_agents",
        end >> 20
    );
    for _round in 0..ROUNDS {
        let (events, wall, cpu) = didtail(server, &file, end)?;
        print("  didtail, one core", events, wall, Some(cpu));
        let mut bare = Bare::dump(server.port, &file)?;
        let start = Instant::now();
        bare.read(events)?;
        print("  bare socket", events, start.elapsed(), None);
    }
    Ok(())
}

fn print(name: &str, events: u64, wall: Duration, cpu: Option<Duration>) {
    let rate = |time: Duration| events as f64 / time.as_secs_f64() / 1e6;
    print!("{name:20} {:5.2} M events/s ({events} events)", rate(wall));
    if let Some(cpu) = cpu {
        print!(", {:5.2} M per second of processor time", rate(cpu));
    }
    println!();
}

/// The real source and the real reader, on one thread.
fn didtail(server: &Server, file: &str, end: u64) -> anyhow::Result<(u64, Duration, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let source = MySqlSource::connect(&settings(server)).await?;
        let position = Position::start_of(BinlogFile::new(file)?);
        let mut stream = source.stream(&position).await?;
        let watch = Watch::new("asterisk", &Table::NAMES);
        let mut reader = Reader::new(watch, position, GtidPosition::default());
        let mut events = 0;
        let cpu = usage("self")?.cpu;
        let start = Instant::now();
        while reader.position().next < end {
            let event = match stream.try_next() {
                Some(event) => event?,
                None => stream.next().await?,
            };
            events += 1;
            let step = reader.event(event)?;
            anyhow::ensure!(matches!(step, Step::Nothing), "a watched event: {step:?}");
        }
        Ok((events, start.elapsed(), usage("self")?.cpu - cpu))
    })
}

pub(crate) fn settings(server: &Server) -> ConnectSettings {
    ConnectSettings {
        name: "bench".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: server.port,
        user: "root".to_owned(),
        password: None,
        database: "asterisk".to_owned(),
        socket: None,
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: None,
    }
}
