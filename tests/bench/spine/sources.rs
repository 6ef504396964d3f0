//! Two sources, each a server of its own, into one store: with DIDs of their own, and
//! with the same ones, whose statistics both of them write.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::server::Server;
use crate::store::Store;

const CALLS: &str = "10000";

pub(crate) fn measure(server: &Server, stores: &[Store<'_>]) -> anyhow::Result<()> {
    println!("sources: {CALLS} calls of each of two sources, at once into one store");
    let second = Server::start("second")?;
    let servers = [server, &second];
    for server in servers {
        server.sql("RESET MASTER")?;
        server.simulate(&["run", "--calls", CALLS, "--noise", "0"])?;
    }
    for store in stores {
        for round in 0..3 {
            let apart = once(servers, store, &format!("apart{round}"), ["one", "other"])?;
            let shared = once(servers, store, &format!("shared{round}"), ["one", "one"])?;
            println!(
                "  {}: {apart:7.0} watched row changes/s with DIDs of their own, \
                 {shared:7.0} with the same DIDs",
                store.name(),
            );
        }
    }
    Ok(())
}

/// Changes of both by the time of the slower one.
fn once(
    servers: [&Server; 2],
    store: &Store<'_>,
    name: &str,
    tenants: [&str; 2],
) -> anyhow::Result<f64> {
    let folder = servers[0].folder.join(format!("{name}-{}", store.name()));
    std::fs::create_dir_all(&folder)?;
    let password = folder.join("password");
    std::fs::write(&password, "didtail\n")?;
    let mut config = format!(
        "[state]\npath = \"{}\"\n[store]\nurl = \"{}\"\n",
        folder.join("state.db").display(),
        store.address(name)?,
    );
    for ((source, tenant), server) in ["east", "west"].into_iter().zip(tenants).zip(servers) {
        config.push_str(&format!(
            "[[source]]\nname = \"{source}\"\ntenant = \"{tenant}\"\n\
             url = \"mysql://didtail@127.0.0.1:{}/asterisk\"\n\
             password_file = \"{}\"\nstart_at = \"earliest\"\n",
            server.port,
            password.display(),
        ));
    }
    let file = folder.join("didtail.toml");
    std::fs::write(&file, config)?;
    let output = Command::new(env!("CARGO_BIN_EXE_didtail"))
        .args(["run", "--until-caught-up", "--json", "-q", "--config"])
        .arg(&file)
        .stderr(Stdio::inherit())
        .output()
        .context("starting didtail")?;
    ensure!(output.status.success(), "didtail failed");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let all = summary["sources"].as_array().context("two sources")?;
    let of = |what: &'static str| all.iter().filter_map(move |one| one[what].as_f64());
    Ok(of("rows").sum::<f64>() / of("seconds").fold(f64::NAN, f64::max))
}
