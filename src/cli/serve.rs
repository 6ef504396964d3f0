//! `didtail serve`: the HTTP API of a store that a daemon elsewhere fills.

use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use super::reload::Reload;
use super::run::{identity, shutdown_signal};
use super::{Options, service};
use crate::api::Server;
use crate::config::Config;
use crate::engine::{self, Desk};
use crate::telemetry::{self, spawn_named};

/// Answer over HTTP from a store that `didtail run` fills, until stopped
///
/// For an API that is to be up while the daemon is not, or on another machine. Needs
/// `[api] listen` and `[store]`: the store's file on the daemon's machine, or PostgreSQL,
/// MySQL or MariaDB from anywhere. No source is connected to and no state file is opened.
/// The `[[source]]` sections are the daemon's, without their passwords: their names and
/// tenants say in which source a posted call is. Without any nothing can be posted.
///
/// What is posted is durable when it is answered, and in the numbers within a second or
/// two after the daemon that has the source's lease takes it. `[attribution]` must be as
/// the daemon's. A daemon without `[api]` is to be started again once, after the first
/// `didtail api-key create`, or a call that VICIdial renames may become two.
///
/// A store that is away, not made yet or of an older version is waited for; its tables
/// are the daemon's, and never changed. A store of a newer version ends it (exit code 4).
///
/// `/healthz` says who has the lease of each source, and 503 where nobody has it or the
/// store is away; `/readyz` whether the store can be used. How far the numbers are, the
/// daemon's own `/healthz` and `/metrics` say.
///
/// SIGTERM and Ctrl-C take no more requests, let those under way end within 5 seconds,
/// and close the store then. SIGHUP reads the configuration again: the log level and the
/// certificate hold at once. Under systemd (Type=notify) it is ready once the store is open.
///
/// Examples:
///   didtail serve
///   didtail serve --config /etc/didtail/serve.toml
///   DIDTAIL_API__LISTEN=127.0.0.1:5001 didtail serve
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn run(options: &Options, _arguments: &Arguments) -> Result<(), Failure> {
    let overrides = options.overrides_of_serving();
    let config = options.begin(Config::load(&overrides)?)?;
    let Some(listen) = config.api.as_ref().map(|api| api.listen) else {
        return Err(Failure::operator(
            "the configuration does not say where to listen",
            "set listen in [api], e.g. \"127.0.0.1:5000\"; where a daemon on this machine has \
             that, another port",
        ));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let vitals = engine::vitals_of_serving(&config);
        let tls = identity(&config)?;
        let reload = Reload::new(overrides, &config, tls.clone())?;
        let shutdown = shutdown_signal()?;
        service::report(Arc::clone(&vitals), shutdown.clone());
        if let Some(hangups) = Reload::hangups()? {
            spawn_named("reload", reload.listen(hangups));
        }
        spawn_named("repeats", telemetry::limit_repeats());
        let desk = Desk::of(&config);
        let server = Server::start(listen, tls, Arc::clone(&vitals), Arc::clone(&desk)).await?;
        let done = engine::serve(&config, &vitals, &desk, shutdown, server.stop()).await;
        telemetry::tell_repeats(true);
        done?;
        tracing::info!("stopped; everything that was answered is in the store");
        Ok(())
    })
}
