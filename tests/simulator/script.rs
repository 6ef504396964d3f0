//! What one call does to the database, in order: the statements that VICIdial's
//! daemons and web pages would send for it, and the time between them.

use std::collections::VecDeque;

/// Statements that one process sends in one go, after a pause.
pub struct Step {
    /// How long VICIdial would have waited before this, in seconds.
    pub pause: i64,
    /// When this is sent, by the calls' own clock.
    pub at: i64,
    /// Each is a statement, hence a binlog group, of its own.
    pub statements: Vec<String>,
    /// Whether the last statement may hit a row that is there already, as some
    /// of VICIdial's own do.
    pub may_collide: bool,
}

/// One attempt to reach a number, and what it was to show: for those who ask
/// which kinds of calls a method gets right. No watched table has it.
pub struct Attempt {
    pub lead_id: u64,
    pub dialled: i64,
    pub caller_code: String,
    /// A letter of the kinds of calls, (a) no answer to (h) alternate numbers.
    pub kind: char,
    pub story: &'static str,
    /// Somebody changed its result later.
    pub corrected: bool,
}

pub struct Script {
    pub steps: VecDeque<Step>,
    pub attempts: Vec<Attempt>,
    pub watched_rows: u64,
    pub noise_rows: u64,
    now: i64,
    pause: i64,
    noise: Vec<String>,
    late: Vec<(i64, String)>,
    quiet: bool,
    sparse: bool,
    ratio: f64,
}

impl Script {
    /// `ratio` is how many rows of noise each watched row shall have; without
    /// any, the script holds the watched tables' statements alone.
    pub fn new(ratio: f64, start: i64) -> Self {
        Self {
            steps: VecDeque::new(),
            attempts: Vec::new(),
            now: start,
            late: Vec::new(),
            watched_rows: 0,
            noise_rows: 0,
            pause: 0,
            noise: Vec::new(),
            quiet: ratio <= 0.0,
            sparse: ratio < 4.0,
            ratio,
        }
    }

    /// Time passes before what comes next.
    pub fn pause(&mut self, seconds: i64) {
        self.flush();
        self.pause += seconds;
        self.now += seconds;
    }

    /// It is at least so late, by the calls' own clock.
    pub fn reach(&mut self, epoch: i64) {
        self.flush();
        self.now = self.now.max(epoch);
    }

    /// It is this early, by the calls' own clock: before anything was told.
    pub fn go_back(&mut self, epoch: i64) {
        self.now = epoch;
    }

    /// A statement of another process that comes when all is over.
    pub fn late(&mut self, pause: i64, statement: String) {
        self.late.push((pause, statement));
    }

    /// A statement on tables that nobody counts calls by, sent together with
    /// the next one that matters.
    pub fn noise(&mut self, rows: u64, statement: String) {
        if !self.quiet {
            self.noise_rows += rows;
            self.noise.push(statement);
        }
    }

    /// Noise that is left out where little of it is asked for.
    pub fn more_noise(&mut self, rows: u64, statement: String) {
        if !self.sparse {
            self.noise(rows, statement);
        }
    }

    /// A statement that changes `rows` rows of watched tables.
    pub fn watched(&mut self, rows: u64, statement: String) {
        self.watched_rows += rows;
        self.push(statement, false);
    }

    /// A statement that VICIdial sends although it may fail on a duplicate key.
    pub fn may_collide(&mut self, rows: u64, statement: String) {
        self.watched_rows += rows;
        self.push(statement, true);
    }

    fn push(&mut self, statement: String, may_collide: bool) {
        let mut statements = std::mem::take(&mut self.noise);
        statements.push(statement);
        let pause = std::mem::take(&mut self.pause);
        self.steps.push_back(Step {
            pause,
            at: self.now,
            statements,
            may_collide,
        });
    }

    fn flush(&mut self) {
        if let Some(last) = self.noise.pop() {
            self.push(last, false);
        }
    }

    /// Closes the script; `filler` is asked for noise until there is as much as
    /// was wished, which is spread over the steps.
    pub fn finish(mut self, mut filler: impl FnMut() -> (u64, Vec<String>)) -> Self {
        self.flush();
        for (pause, statement) in std::mem::take(&mut self.late) {
            self.pause(pause);
            self.watched(1, statement);
        }
        if self.quiet {
            return self;
        }
        let wanted = (self.watched_rows as f64 * self.ratio).round() as u64;
        let mut step = 0;
        while self.noise_rows < wanted {
            let (rows, mut statements) = filler();
            let place = step % self.steps.len();
            statements.append(&mut self.steps[place].statements);
            self.steps[place].statements = statements;
            self.noise_rows += rows;
            step += 1;
        }
        self
    }
}
