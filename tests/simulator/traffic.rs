//! Writes many calls at once: the steps of one call in their order, those of
//! different calls mixed over several connections, as VICIdial's many processes
//! mix them.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::database::{Target, binlog_end, is_latin1};
use crate::noise::Noise;
use crate::random::Random;
use crate::script::{Attempt, Script, Step};
use crate::session::Session;
use crate::stories;
use crate::upkeep::{self, Format, Job};
use crate::world::World;

/// A second of a call takes this long when calls have a rate.
const PACE: f64 = 0.04;
const LONGEST_PAUSE: Duration = Duration::from_secs(6);
/// Pauses from here on let other calls pass when there is no rate.
const LONG_PAUSE: i64 = 120;
/// Steps after which a session like a dialplan script's is opened again.
const STEPS_OF_A_SCRIPT: u32 = 40;
/// How long somebody may take to see that it is night.
const LONGEST_NIGHT: Duration = Duration::from_secs(120);
/// How often a process's next statement comes before anybody else's.
const IN_A_ROW: f64 = 0.4;

#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    target: Target,
    /// How many calls to write; 0 goes on until stopped
    #[arg(long, default_value_t = 1000)]
    calls: u64,
    /// Calls begun per second; 0 is as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// The same seed and --epoch write the same calls; another seed writes other leads
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many connections write
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Rows of other tables per row of a watched one; 0 writes none at all
    #[arg(long, default_value_t = 19.0)]
    noise: f64,
    /// How many rows one statement of noise changes at most; with 1 every row
    /// of noise is a row event of its own, which costs the server more
    #[arg(long, default_value_t = 5)]
    noise_width: u64,
    /// How many caller IDs the calls use
    #[arg(long, default_value_t = 24)]
    dids: u64,
    /// Spread the calls over so many days before the present
    #[arg(long, default_value_t = 1)]
    days: u64,
    /// The share of calls that somebody corrects later
    #[arg(long, default_value_t = 0.03)]
    corrections: f64,
    /// The present, as UNIX seconds, instead of the clock's
    #[arg(long)]
    epoch: Option<i64>,
    /// The zone of the dialers' wall clocks, e.g. America/New_York
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Run VICIdial's nightly jobs in the middle of the calls: archiving,
    /// wiping, rebuilding and exporting
    #[arg(long)]
    upkeep: bool,
    /// In the middle of the calls set the server's binlog_format to this. Half
    /// of the sessions are opened again now and then, as those of web pages and
    /// dialplan scripts are; the others keep their format, as the dialer's do
    #[arg(long, value_name = "FORMAT", value_enum, ignore_case = true)]
    format_later: Option<Format>,
    /// Let the calls end and nobody write before a job takes rows away, as at
    /// night: put the binlog's end into FILE, and wait until somebody removes it
    #[arg(long, value_name = "FILE")]
    nights: Option<PathBuf>,
    /// Also write which kind of call each attempt was, as JSON
    #[arg(long, value_name = "FILE")]
    kinds: Option<PathBuf>,
    /// Say every second how far it is
    #[arg(long)]
    progress: bool,
}

impl Run {
    /// Whether the calls have a clock of their own, which the binlog bears too.
    fn has_own_clock(&self) -> bool {
        self.epoch.is_some() || self.days > 1
    }
}

struct Flight {
    script: Script,
    ready: Instant,
}

struct Board {
    flights: Vec<Flight>,
    /// Calls in a long pause, by the number of calls to begin before it ends.
    parked: BTreeMap<(u64, u64), Script>,
    begun: u64,
    busy: usize,
    /// Nobody writes until the job that is to come is done.
    is_night: bool,
    noise: Noise,
    random: Random,
    jobs: VecDeque<(u64, Job)>,
    /// The calls' own clock.
    now: i64,
    attempts: Vec<Attempt>,
}

struct Traffic {
    run: Run,
    world: World,
    epoch: i64,
    started: Instant,
    board: Mutex<Board>,
    stop: AtomicBool,
    finished: AtomicU64,
    watched_rows: AtomicU64,
    noise_rows: AtomicU64,
}

enum Turn {
    Step(Script),
    Job(Job, i64),
    Wait,
    Over,
}

pub async fn run(args: Run) -> Result<()> {
    let mut conn = args.target.connect().await?;
    let latin1 = is_latin1(&mut conn).await?;
    let mut jobs = VecDeque::new();
    if args.upkeep {
        anyhow::ensure!(args.calls > 0, "--upkeep needs to know how many --calls");
        upkeep::prepare(&mut conn).await?;
        jobs.extend(upkeep::schedule(args.seed, args.calls, args.days));
    }
    if let Some(format) = args.format_later {
        jobs.push_back((args.calls / 2, Job::Format(format)));
        jobs.make_contiguous().sort_by_key(|(call, _)| *call);
    }
    conn.disconnect().await?;
    let mut world = World::new(args.seed, args.dids, &args.zone, latin1)?;
    world.has_own_clock = args.has_own_clock();
    if args.upkeep {
        // Long enough after it was added for no call to be before it.
        world.new_status_from = args.calls * upkeep::NEW_STATUS_PERCENT / 100 + 300;
    }
    let board = Board {
        flights: Vec::new(),
        parked: BTreeMap::new(),
        begun: 0,
        busy: 0,
        is_night: false,
        noise: Noise::new(args.seed, args.noise_width),
        random: Random::for_call(args.seed, u64::MAX - 1),
        jobs,
        now: 0,
        attempts: Vec::new(),
    };
    let traffic = Arc::new(Traffic {
        epoch: crate::now(args.epoch),
        run: args,
        world,
        started: Instant::now(),
        board: Mutex::new(board),
        stop: AtomicBool::new(false),
        finished: AtomicU64::new(0),
        watched_rows: AtomicU64::new(0),
        noise_rows: AtomicU64::new(0),
    });
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..traffic.run.connections.max(1) {
        let traffic = Arc::clone(&traffic);
        let is_script = traffic.run.format_later.is_some() && worker % 2 == 0;
        workers.spawn(async move {
            let result = work(&traffic, is_script).await;
            if result.is_err() {
                traffic.stop.store(true, Ordering::Relaxed);
            }
            result
        });
    }
    attend(&traffic, &mut workers).await?;
    if let Some(file) = &traffic.run.kinds {
        std::fs::write(file, kinds(&traffic.board().attempts))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    println!("{}", traffic.summary());
    Ok(())
}

fn kinds(attempts: &[Attempt]) -> String {
    let attempts = attempts.iter().map(|attempt| {
        serde_json::json!({
            "lead_id": attempt.lead_id,
            "dialled": attempt.dialled,
            "caller_code": attempt.caller_code,
            "kind": attempt.kind,
            "story": attempt.story,
            "corrected": attempt.corrected,
        })
    });
    serde_json::Value::Array(attempts.collect()).to_string()
}

/// Waits for the workers; a signal makes them stop after their statement.
async fn attend(traffic: &Traffic, workers: &mut tokio::task::JoinSet<Result<()>>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            joined = workers.join_next() => match joined {
                None => return outcome,
                Some(result) => {
                    let result = result.context("a worker ended abnormally").and_then(|inner| inner);
                    outcome = outcome.and(result);
                }
            },
            _ = interrupt.recv() => traffic.stop.store(true, Ordering::Relaxed),
            _ = terminate.recv() => traffic.stop.store(true, Ordering::Relaxed),
            _ = tick.tick() => if traffic.run.progress {
                eprintln!("{}", traffic.summary());
            },
        }
    }
}

/// Does what is to be done next until all is over; `is_script` says that its
/// sessions are short.
async fn work(traffic: &Traffic, is_script: bool) -> Result<()> {
    let open = || {
        Session::open(
            &traffic.run.target,
            traffic.world.latin1,
            traffic.run.has_own_clock(),
        )
    };
    let mut session = open().await?;
    let mut steps = 0;
    loop {
        if is_script && steps >= STEPS_OF_A_SCRIPT {
            session.close().await?;
            session = open().await?;
            steps = 0;
        }
        match traffic.turn() {
            Turn::Over => break,
            Turn::Job(job, now) => {
                if let Some(file) = traffic.night_before(job) {
                    traffic.rest(&mut session, file).await?;
                }
                upkeep::work(session.conn(), &traffic.world, job, now).await?;
                let mut board = traffic.board();
                board.busy -= 1;
                board.is_night = false;
            }
            Turn::Wait => tokio::time::sleep(Duration::from_millis(5)).await,
            Turn::Step(mut script) => {
                if let Some(step) = traffic.packet(&mut script) {
                    session.send(step, &traffic.stop).await?;
                    steps += 1;
                }
                traffic.put_back(script);
            }
        }
    }
    session.close().await
}

impl Traffic {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does next: a random call of those that can go on.
    fn turn(&self) -> Turn {
        let mut board = self.board();
        if self.stop.load(Ordering::Relaxed) {
            return Turn::Over;
        }
        if board.is_night {
            return Turn::Wait;
        }
        // At night nobody is called any more, and the calls of the day end first.
        let job_due = board.jobs.front().filter(|(call, _)| *call <= board.begun);
        let is_evening = job_due.is_some_and(|(_, job)| self.night_before(*job).is_some());
        let goes_on = is_evening && (!board.flights.is_empty() || board.busy > 0);
        if !goes_on {
            self.begin_calls(&mut board);
        }
        if !goes_on
            && board
                .jobs
                .front()
                .is_some_and(|(call, _)| *call <= board.begun)
        {
            let now = board.now;
            if let Some((_, job)) = board.jobs.pop_front() {
                board.busy += 1;
                board.is_night = self.night_before(job).is_some();
                return Turn::Job(job, now);
            }
        }
        let now = Instant::now();
        let count = board.flights.len();
        if count > 0 {
            let first = board.random.between(0, count as u64 - 1) as usize;
            let found = (0..count)
                .map(|nth| (first + nth) % count)
                .find(|&at| board.flights[at].ready <= now);
            if let Some(at) = found {
                board.busy += 1;
                return Turn::Step(board.flights.swap_remove(at).script);
            }
        }
        let over =
            count == 0 && board.busy == 0 && board.parked.is_empty() && self.all_begun(&board);
        if over { Turn::Over } else { Turn::Wait }
    }

    /// Where to say that a night before a job has come, if there is one.
    fn night_before(&self, job: Job) -> Option<&Path> {
        self.run.nights.as_deref().filter(|_| job.takes_rows_away())
    }

    /// Waits until everything is written and somebody has seen it.
    async fn rest(&self, session: &mut Session, file: &Path) -> Result<()> {
        while self.board().busy > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let end = binlog_end(session.conn()).await?;
        let whole = file.with_extension("new");
        std::fs::write(&whole, end).with_context(|| format!("cannot write {}", whole.display()))?;
        std::fs::rename(&whole, file)?;
        let began = Instant::now();
        while file.exists() && !self.stop.load(Ordering::Relaxed) {
            anyhow::ensure!(
                began.elapsed() < LONGEST_NIGHT,
                "nobody removed {}",
                file.display()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn all_begun(&self, board: &Board) -> bool {
        self.run.calls > 0 && board.begun >= self.run.calls
    }

    /// Starts the calls that are due, and wakes those whose pause is over.
    fn begin_calls(&self, board: &mut Board) {
        let due = if self.run.rate > 0.0 {
            (self.started.elapsed().as_secs_f64() * self.run.rate) as u64 + 1
        } else {
            board.begun
                + (self.run.connections * 12).saturating_sub(board.flights.len() + board.busy)
                    as u64
        };
        let due = if self.run.calls > 0 {
            due.min(self.run.calls)
        } else {
            due
        };
        while board.begun < due {
            let script = self.script(board);
            board.begun += 1;
            board.flights.push(Flight {
                script,
                ready: Instant::now(),
            });
        }
        let drained = self.all_begun(board) && board.flights.is_empty();
        while let Some(entry) = board.parked.first_entry() {
            if entry.key().0 > board.begun && !drained {
                break;
            }
            let script = entry.remove();
            board.flights.push(Flight {
                script,
                ready: Instant::now(),
            });
        }
    }

    fn script(&self, board: &mut Board) -> Script {
        let run = &self.run;
        let call = board.begun;
        let dialled = self.dialled(call, board);
        board.now = board.now.max(dialled);
        let script = stories::tell(&self.world, call, dialled, run.corrections, run.noise);
        let mut script = script.finish(|| board.noise.next());
        if run.kinds.is_some() {
            board.attempts.append(&mut script.attempts);
        }
        self.watched_rows
            .fetch_add(script.watched_rows, Ordering::Relaxed);
        self.noise_rows
            .fetch_add(script.noise_rows, Ordering::Relaxed);
        script
    }

    /// When a call was dialled, by its own clock. The calls of one day end
    /// about now; those of more days are spread evenly, or, when nobody knows
    /// how many will come, at random.
    fn dialled(&self, call: u64, board: &mut Board) -> i64 {
        let run = &self.run;
        let span = if run.days > 1 {
            run.days as f64 * 86_400.0
        } else {
            3600.0
        };
        let share = if run.calls > 0 {
            call as f64 / run.calls as f64
        } else {
            board.random.fraction()
        };
        let seconds = match (run.days > 1, run.rate > 0.0) {
            // As much faster than the clock as the pauses are shorter.
            (false, true) if run.epoch.is_some() => call as f64 / run.rate / PACE,
            (false, true) => call as f64 / run.rate,
            _ => share * span - span,
        };
        // Long enough ago for the call to be over.
        self.epoch + seconds as i64 - 300
    }

    /// The call's next step, and at full speed sometimes those that the same
    /// process would send right after it.
    fn packet(&self, script: &mut Script) -> Option<Step> {
        let mut packet = script.steps.pop_front()?;
        while self.run.rate <= 0.0
            && !packet.may_collide
            && script.steps.front().is_some_and(|next| next.pause == 0)
            && self.board().random.chance(IN_A_ROW)
        {
            let Some(next) = script.steps.pop_front() else {
                break;
            };
            packet.statements.extend(next.statements);
            packet.may_collide = next.may_collide;
        }
        Some(packet)
    }

    fn put_back(&self, script: Script) {
        let mut board = self.board();
        board.busy -= 1;
        let Some(next) = script.steps.front() else {
            self.finished.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let pause = next.pause;
        let now = Instant::now();
        if self.run.rate > 0.0 {
            let wait = Duration::from_secs_f64(pause as f64 * PACE).min(LONGEST_PAUSE);
            board.flights.push(Flight {
                script,
                ready: now + wait,
            });
        } else if pause >= LONG_PAUSE {
            let key = (board.begun + (pause / 60) as u64 * 4, board.random.next());
            board.parked.insert(key, script);
        } else {
            board.flights.push(Flight { script, ready: now });
        }
    }

    fn summary(&self) -> String {
        let finished = self.finished.load(Ordering::Relaxed);
        let watched = self.watched_rows.load(Ordering::Relaxed);
        let noise = self.noise_rows.load(Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64();
        format!(
            "{finished} calls in {seconds:.1} s ({:.0}/s), about {watched} watched and {noise} other rows ({:.1} %)",
            finished as f64 / seconds,
            100.0 * noise as f64 / (watched + noise).max(1) as f64,
        )
    }
}
