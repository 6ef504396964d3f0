//! `didtail run`: the daemon.

use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;
use super::reload::Reload;
use super::{Options, output, service, time};
use crate::api::{Server, Tls};
use crate::config::Config;
use crate::engine::{self, Desk, Steering, Summary};
use crate::telemetry::{self, field, spawn_named};

/// Follow VICIdial's binlog and keep the numbers, until stopped
///
/// Goes on where it stopped; the first time at `start_at`. SIGTERM and Ctrl-C
/// let it finish the current transaction; a second one stops it at once.
/// Nothing is lost and nothing is counted twice, however it ends.
///
/// Under systemd (Type=notify) it is ready once every source is followed or another
/// daemon has its lease; of several one that cannot be followed does not count. Its
/// watchdog is fed as long as the loops turn, also while a source or the store is away.
///
/// SIGHUP reads the configuration again: `[dispositions]`, the log level and the API's
/// certificate hold at once, and a log line names the changed keys that hold from the next start on. A
/// configuration that is wrong changes nothing.
///
/// With `[api] listen` it answers over HTTP meanwhile: `/healthz` and `/readyz`
/// whether it is well, `/metrics` for Prometheus, and for who has a key
/// (`didtail api-key create`) the dashboard at `/` and the API under `/api/v1`.
///
/// Examples:
///   didtail run
///   kill -HUP $(pgrep -x didtail)
///   didtail run --until-caught-up --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Apply what the binlog has now, print a summary and stop
    #[arg(long)]
    until_caught_up: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    // Two threads: one reads and decodes, one applies.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let summaries = runtime.block_on(async {
        let until_caught_up = arguments.until_caught_up;
        let vitals = engine::vitals_of(&config);
        let tls = identity(&config)?;
        let reload = Reload::new(options.overrides(), &config, tls.clone())?;
        let steering = Steering {
            shutdown: shutdown_signal()?,
            dispositions: reload.dispositions(),
            vitals: Arc::clone(&vitals),
            desk: Desk::of(&config),
        };
        service::report(Arc::clone(&vitals), steering.shutdown.clone());
        if let Some(hangups) = Reload::hangups()? {
            spawn_named("reload", reload.listen(hangups));
        }
        spawn_named("repeats", telemetry::limit_repeats());
        let server = match &config.api {
            // Whoever ends by itself is not watched.
            Some(api) if !until_caught_up => {
                let desk = Arc::clone(&steering.desk);
                Some(Server::start(api.listen, tls, Arc::clone(&vitals), desk).await?)
            }
            Some(_) | None => None,
        };
        let farewell = async {
            if let Some(server) = server {
                server.stop().await;
            }
        };
        let done = engine::run(config, until_caught_up, steering, farewell).await;
        telemetry::tell_repeats(true);
        done.map_err(Failure::from)
    })?;
    if !arguments.until_caught_up {
        for summary in &summaries {
            last_words(summary);
        }
        return Ok(());
    }
    if options.json {
        match summaries.as_slice() {
            [summary] => output::print_json(&json(summary))?,
            all => {
                let all: Vec<_> = all.iter().map(json).collect();
                output::print_json(&serde_json::json!({ "sources": all }))?;
            }
        }
        return Ok(());
    }
    let texts: Vec<String> = summaries.iter().map(text).collect();
    Ok(output::print(&texts.concat())?)
}

/// The certificate with which the API is to answer.
pub(super) fn identity(config: &Config) -> Result<Option<Tls>, Failure> {
    let identity = config.api.as_ref().and_then(|api| api.tls.as_ref());
    let tls = identity.map(Tls::read).transpose()?;
    if let Some(tls) = &tls {
        tell_trouble(tls);
    }
    Ok(tls)
}

/// Warns of a certificate that clients refuse, or soon will.
pub(super) fn tell_trouble(tls: &Tls) {
    if let Some(trouble) = tls.trouble(time::now()) {
        tracing::warn!(
            { field::HINT } = "renew it, then: systemctl reload didtail",
            "the API's certificate {trouble}"
        );
    }
}

/// What a daemon did, said when it has stopped in order.
fn last_words(summary: &Summary) {
    tracing::info!(
        { field::SOURCE } = summary.source,
        { field::POSITION } = summary.position,
        events = summary.events,
        rows = summary.rows,
        results = summary.results,
        seconds = summary.seconds.round(),
        missing = ?summary.missing.phrases(),
        "stopped; everything up to here is applied"
    );
}

fn json(summary: &Summary) -> serde_json::Value {
    serde_json::json!({
        "source": summary.source,
        "position": summary.position,
        "events": summary.events,
        "rows": summary.rows,
        "results": summary.results,
        "missing": summary.missing.phrases(),
        "seconds": summary.seconds,
    })
}

fn text(summary: &Summary) -> String {
    let mut text = format!(
        "source `{}` is applied up to {}: {} events, {} rows of watched tables, {} results in {:.1} s\n",
        summary.source,
        summary.position,
        summary.events,
        summary.rows,
        summary.results,
        summary.seconds,
    );
    for phrase in summary.missing.phrases() {
        text.push_str(&format!("not in the numbers: {phrase}\n"));
    }
    text
}

/// Turns true at the first SIGTERM or Ctrl-C; a second one ends the process at
/// once, which is harmless: what was not committed is read again.
pub(super) fn shutdown_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    spawn_named("signals", async move {
        for number in 0_u8.. {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            if number > 0 {
                exit_at_once(code);
            }
            tracing::info!("stopping after the current transaction; once more stops at once");
            sender.send_replace(true);
        }
    });
    Ok(receiver)
}

#[expect(
    clippy::exit,
    reason = "the operator asked twice; every kill is harmless"
)]
fn exit_at_once(code: i32) -> ! {
    std::process::exit(code)
}
