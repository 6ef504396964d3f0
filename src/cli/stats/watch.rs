//! `didtail stats --watch`: the table drawn anew every second.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::table::ago;
use super::{Overall, Picture, StatsArgs, document, picture, pruned, text};
use crate::cli::failure::Failure;
use crate::cli::{output, screen, time};
use crate::store::{SqlStore, Store as _};
use crate::vicidial::Zone;

/// Time between two pictures.
const REDRAW: Duration = Duration::from_secs(1);

/// Pictures over which calls per second are counted.
const RATE_PICTURES: usize = 10;

/// Lines of a picture that are no rows: the header, an empty line, the table's
/// head and its rule, and the cursor's line.
const OTHER_LINES: usize = 5;

/// Draws until Ctrl-C or SIGTERM, or until nobody reads it any more.
pub(super) async fn run(
    store: &SqlStore,
    sources: &[String],
    zone: &Zone,
    args: &StatsArgs,
    json: bool,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut screen = Screen::enter(!json)?;
    let mut rate = Rate::default();
    loop {
        let rows_max = screen.rows_max(args);
        let picture = picture(store, zone, args, rows_max).await?;
        if json {
            let pruned = pruned(store, zone, args).await?;
            let document = document(&picture, pruned).map_err(anyhow::Error::new)?;
            output::print(&format!("{document}\n"))?;
        } else {
            let mut lines = args.title.clone();
            lines.push(header(store, sources, &picture, &mut rate).await?);
            let width = screen::width();
            // A line that wraps would push the table off the screen.
            let characters = width.map_or(usize::MAX, usize::from);
            for line in &mut lines {
                *line = line.chars().take(characters).collect();
            }
            let table = text(&picture, time::now(), width);
            screen.draw(&format!("{}\n\n{table}", lines.join("\n")))?;
        }
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = tokio::time::sleep(REDRAW) => {}
        }
        if !output::is_read() {
            return Ok(());
        }
    }
}

/// Totals, calls per second, and how fresh the numbers are.
async fn header(
    store: &SqlStore,
    sources: &[String],
    picture: &Picture,
    rate: &mut Rate,
) -> anyhow::Result<String> {
    let now = time::now();
    let mut parts = match picture {
        Picture::Dids(_, all) => rate.parts(all),
        Picture::Split(..) => vec![time::format(now)],
    };
    for source in sources {
        let written = store.progress(source).await?;
        parts.push(match written.and_then(|progress| progress.event_time) {
            Some(at) => format!("{source}: newest change {}", ago(now - at)),
            None => format!("{source}: nothing yet"),
        });
    }
    Ok(parts.join("   "))
}

/// Calls per second over the last pictures.
#[derive(Default)]
struct Rate {
    seen: VecDeque<(Instant, i64)>,
}

impl Rate {
    fn parts(&mut self, all: &Overall) -> Vec<String> {
        self.seen.push_back((Instant::now(), all.calls));
        if self.seen.len() > RATE_PICTURES {
            self.seen.pop_front();
        }
        let mut parts = vec![format!("{} DIDs, {} dials", all.dids, all.dials)];
        let (first, last) = (self.seen.front(), self.seen.back());
        let rate = first.zip(last).and_then(|((then, before), (now, calls))| {
            let seconds = now.duration_since(*then).as_secs_f64();
            (seconds > 0.0).then(|| (calls - before) as f64 / seconds)
        });
        parts.push(match rate {
            Some(rate) => format!("{} calls (+{rate:.1}/s)", all.calls),
            None => format!("{} calls", all.calls),
        });
        parts
    }
}

/// The terminal, given back as it was; the last picture stays on it. Where
/// stdout is no terminal, pictures follow each other.
pub(in crate::cli) struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    pub(in crate::cli) fn enter(wanted: bool) -> std::io::Result<Self> {
        let is_terminal = wanted && std::io::stdout().is_terminal();
        if is_terminal {
            // The other screen, and no cursor.
            output::print("\x1b[?1049h\x1b[?25l")?;
        }
        Ok(Self {
            is_terminal,
            last: String::new(),
        })
    }

    /// As many rows as were asked for and as fit.
    fn rows_max(&self, args: &StatsArgs) -> u32 {
        let Some((_, height)) = screen::size().filter(|_| self.is_terminal) else {
            return args.limit;
        };
        let others = OTHER_LINES + args.title.len();
        let fit = usize::from(height).saturating_sub(others).max(1);
        args.limit.min(u32::try_from(fit).unwrap_or(u32::MAX))
    }

    pub(in crate::cli) fn draw(&mut self, frame: &str) -> std::io::Result<()> {
        if !self.is_terminal {
            return output::print(&format!("{frame}\n"));
        }
        frame.clone_into(&mut self.last);
        // Over the picture before, without clearing first: that would flicker.
        let lines = frame.replace('\n', "\x1b[K\r\n");
        output::print(&format!("\x1b[H{lines}\x1b[J"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            let mut out = std::io::stdout();
            // Nobody is left to tell when the terminal is gone.
            drop(write!(out, "\x1b[?25h\x1b[?1049l{}", self.last));
            drop(out.flush());
        }
    }
}
