//! `didtail explain`: the history behind one call's or one DID's numbers.

mod story;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::stats::find_did;
use super::{Options, output, runtime, screen, time};
use crate::ledger::{
    Attribution, CODE_WINDOW_SECONDS, Call, CallKey, ChangeEntry, Dial, DialKey, Keys,
    LEAD_WINDOW_SECONDS, Loaded, Subject,
};
use crate::store::{DidSummary, Filter, SqlStore, Store as _};
use story::Line;

/// Show what is behind a call's or a DID's numbers: every row that changed them
///
/// For a call (its uniqueid) or a dial (its caller code): each row of VICIdial's
/// tables that changed it, where in the binlog the row is, what it changed, and
/// what that added to or took from the numbers. For a DID: its numbers, and the
/// newest changes of them. The changes of the last retention.history_days are
/// kept. Reads the store; the daemon may run. Times are RFC 3339, in UTC, with
/// --json too.
///
/// Examples:
///   didtail explain 1731448000.123
///   didtail explain V1121500070000012345
///   didtail explain +13125550100 --limit 100 --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// A uniqueid, a caller code, or a DID
    #[arg(value_name = "UNIQUEID|DID")]
    what: String,

    /// Changes of a DID's numbers shown, the newest
    #[arg(long, value_name = "ROWS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load_alone()?;
    let url = config.store.address();
    let explained = runtime()?.block_on(explain(&url, arguments))?;
    let Some(explained) = explained else {
        return Err(Failure::operator(
            format!(
                "`{}` is no uniqueid, caller code or DID in the store",
                arguments.what
            ),
            "`didtail stats` shows the DIDs. A call is not there before its first row was \
             applied (`didtail status`), when it is not an outbound one, when it was made \
             before didtail began, or when it is older than [retention] keeps (its numbers stay)",
        ));
    };
    if options.json {
        return Ok(output::print_json(&explained.document)?);
    }
    Ok(output::print(&explained.text)?)
}

/// Characters of a line where the output is no terminal.
const WIDTH: usize = 100;

/// The same in both forms.
struct Explained {
    text: String,
    document: Value,
}

/// `None` for what the store does not know.
async fn explain(url: &str, arguments: &Arguments) -> anyhow::Result<Option<Explained>> {
    let store = SqlStore::open_read(url).await?;
    let what = arguments.what.trim();
    let mut found = Vec::new();
    for source in store.sources().await? {
        let asked = Keys {
            uniqueids: [what.to_owned()].into(),
            caller_codes: [what.to_uppercase()].into(),
            ..Keys::default()
        };
        let loaded = store.load(&source, "", &asked).await?;
        found.push((source, loaded));
    }
    if let Some(explained) = explain_found(&store, &found).await? {
        return Ok(Some(explained));
    }
    if let Some(did) = find_did(&store, None, what).await? {
        return explain_did(&store, &did, arguments.limit).await.map(Some);
    }
    // Last, because it looks through the whole history.
    for (source, loaded) in &mut found {
        if let Some(key) = store.renamed(source, what).await? {
            *loaded = load(&store, source, &Subject::Call(key)).await?;
        }
    }
    explain_found(&store, &found).await
}

/// The calls, and where there are none the dials, of each source.
async fn explain_found(
    store: &SqlStore,
    found: &[(String, Loaded)],
) -> anyhow::Result<Option<Explained>> {
    let mut texts = Vec::new();
    let mut documents = Vec::new();
    for (source, loaded) in found {
        for (key, call) in &loaded.calls {
            let dials = dials_of(store, source, key, call).await?;
            let lines = lines_of_call(store, source, key, call, &dials).await?;
            texts.push(told(&describe_call(source, key, call, &dials), &lines));
            documents.push(json!({
                "source": source,
                "uniqueid": key.uniqueid,
                "lead_id": key.lead_id,
                "now": time::told(json!(call)),
                "changes": lines.iter().map(Line::document).collect::<Vec<_>>(),
            }));
        }
        if loaded.calls.is_empty() {
            for (key, dial) in &loaded.dials {
                let lines = story::of_dial(key, dial, history(store, source, key).await?)?;
                texts.push(told(&describe_dial(source, key, dial), &lines));
                documents.push(json!({
                    "source": source,
                    "caller_code": key.caller_code,
                    "opened_at": time::format(key.opened_at),
                    "now": time::told(json!(dial)),
                    "changes": lines.iter().map(Line::document).collect::<Vec<_>>(),
                }));
            }
        }
    }
    Ok((!documents.is_empty()).then(|| Explained {
        text: texts.join("\n"),
        document: json!({ "explained": documents }),
    }))
}

async fn explain_did(store: &SqlStore, did: &str, limit: u32) -> anyhow::Result<Explained> {
    let filter = Filter {
        did: Some(did.to_owned()),
        ..Filter::default()
    };
    let mut lines = Vec::new();
    for (source, subject) in store.behind(did, limit).await? {
        let found = load(store, &source, &subject).await?;
        let entries = store.history(&source, &subject).await?;
        lines.extend(match &subject {
            Subject::Call(key) => match found.calls.get(key) {
                Some(call) => story::of_call(key, call, entries)?,
                None => continue,
            },
            Subject::Dial(key) => match found.dials.get(key) {
                Some(dial) => story::of_dial(key, dial, entries)?,
                None => continue,
            },
        });
    }
    lines.retain(|line| line.is_about(did));
    story::sort(&mut lines);
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    lines.drain(..lines.len().saturating_sub(shown));
    let summary = store.summaries(None, &filter).await?;
    Ok(Explained {
        text: told_of_did(did, summary.first(), &lines),
        document: json!({
            "did": did,
            "now": time::told(json!(summary.first())),
            "changes": lines.iter().map(Line::document).collect::<Vec<_>>(),
        }),
    })
}

async fn load(store: &SqlStore, source: &str, subject: &Subject) -> anyhow::Result<Loaded> {
    let mut keys = Keys::default();
    match subject {
        Subject::Call(key) => keys.uniqueids.insert(key.uniqueid.clone()),
        Subject::Dial(key) => keys.caller_codes.insert(key.caller_code.clone()),
    };
    Ok(store.load(source, "", &keys).await?)
}

/// The dials that have something to say of a call: that of its caller code, and
/// what is known by its `uniqueid`.
async fn dials_of(
    store: &SqlStore,
    source: &str,
    key: &CallKey,
    call: &Call,
) -> anyhow::Result<Vec<(DialKey, Dial)>> {
    let by_lead = call.attribution == Attribution::Lead;
    let earliest = call.started_at.saturating_sub(LEAD_WINDOW_SECONDS);
    let keys = Keys {
        uniqueids: [key.uniqueid.clone()].into(),
        caller_codes: call.caller_code.clone().into_iter().collect(),
        lead_ids: Some(key.lead_id).filter(|_| by_lead).into_iter().collect(),
        lead_times: by_lead.then_some((earliest, call.started_at)),
        ..Keys::default()
    };
    let loaded = store.load(source, "", &keys).await?;
    let near = |dial: &DialKey| {
        dial.opened_at.abs_diff(call.started_at) <= CODE_WINDOW_SECONDS.unsigned_abs()
    };
    Ok(loaded
        .dials
        .into_iter()
        .filter(|(key, _)| near(key))
        .collect())
}

async fn lines_of_call(
    store: &SqlStore,
    source: &str,
    key: &CallKey,
    call: &Call,
    dials: &[(DialKey, Dial)],
) -> anyhow::Result<Vec<Line>> {
    let entries = store.history(source, &Subject::Call(key.clone())).await?;
    let mut lines = story::of_call(key, call, entries)?;
    for (key, dial) in dials {
        lines.extend(story::of_dial(
            key,
            dial,
            history(store, source, key).await?,
        )?);
    }
    story::sort(&mut lines);
    Ok(lines)
}

async fn history(
    store: &SqlStore,
    source: &str,
    key: &DialKey,
) -> anyhow::Result<Vec<ChangeEntry>> {
    Ok(store.history(source, &Subject::Dial(key.clone())).await?)
}

fn describe_call(
    source: &str,
    key: &CallKey,
    call: &Call,
    dials: &[(DialKey, Dial)],
) -> Vec<(&'static str, String)> {
    let or_none = |text: &str| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text.to_owned()
        }
    };
    let counts = match (call.counted, call.removed, &call.did) {
        (_, true, _) => "no: VICIdial removed it as a duplicate".to_owned(),
        (false, ..) => "no: its disposition is not final".to_owned(),
        (true, _, did) => format!(
            "as {}{}{}, {}",
            call.outcome.as_str(),
            if call.successful { ", a success" } else { "" },
            if call.dnc { ", do not call" } else { "" },
            match did {
                Some(_) => format!("on {}", call.day),
                None => "without a DID".to_owned(),
            }
        ),
    };
    let did = match &call.did {
        Some(did) => format!("{did}, by {}", story::way(call.attribution)),
        None if dials.iter().any(|(_, dial)| dial.is_logged()) => {
            "none: it was dialled without a caller ID".to_owned()
        }
        None => "not known: no dial of it is".to_owned(),
    };
    let mut carrier = Vec::new();
    carrier.extend(
        call.sip_code
            .map(|code| format!("SIP {code} {}", call.sip_reason)),
    );
    carrier.extend(
        call.hangup_cause
            .map(|cause| format!("Q.850 cause {cause}")),
    );
    vec![
        (
            "call",
            format!("{} of lead {}, source {source}", key.uniqueid, key.lead_id),
        ),
        ("began", time::format(call.started_at)),
        ("disposition", or_none(&call.disposition)),
        ("counts", counts),
        ("DID", did),
        (
            "caller code",
            or_none(call.caller_code.as_deref().unwrap_or_default()),
        ),
        ("campaign", or_none(&call.campaign_id)),
        ("agent", or_none(&call.agent_id)),
        (
            "length",
            call.duration_seconds
                .map_or("not known".to_owned(), |s| format!("{s} s")),
        ),
        ("term reason", or_none(&call.term_reason)),
        ("carrier", or_none(&carrier.join(", "))),
    ]
}

fn describe_dial(source: &str, key: &DialKey, dial: &Dial) -> Vec<(&'static str, String)> {
    let did = dial.did.clone().unwrap_or_else(|| "none".to_owned());
    let mut pairs = vec![
        ("dial", format!("{}, source {source}", key.caller_code)),
        ("dialled", time::format(dial.dialed_at)),
        ("DID", did),
        (
            "counts",
            if dial.counted { "as a dial" } else { "no" }.to_owned(),
        ),
        (
            "call",
            dial.uniqueid.clone().unwrap_or_else(|| "none".to_owned()),
        ),
    ];
    if let Some(reported) = &dial.reported {
        pairs.push(("reported", reported.clone()));
    }
    pairs
}

fn told_of_did(did: &str, summary: Option<&DidSummary>, lines: &[Line]) -> String {
    let mut pairs = vec![("DID", did.to_owned())];
    if let Some(row) = summary {
        pairs.push(("dials", row.dials.to_string()));
        pairs.push(("calls", row.total_calls.to_string()));
        pairs.push(("successful", row.successful_calls.to_string()));
        let last = row.last_call_at.map_or("none".to_owned(), time::format);
        pairs.push(("last call", last));
    }
    format!(
        "{}\nThe newest changes of these numbers:\n{}",
        output::pairs(&pairs),
        story(lines)
    )
}

/// What something is now, then how it became so.
fn told(now: &[(&str, String)], lines: &[Line]) -> String {
    format!("{}\n{}", output::pairs(now), story(lines))
}

fn story(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "No change is kept: see retention.history_days.\n".to_owned();
    }
    let width = screen::width().map_or(WIDTH, |width| usize::from(width).clamp(40, 120));
    lines.iter().map(|line| line.text(width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::on_each;
    use crate::cli::snapshots::assert_snapshot;
    use crate::ledger::{Outcome, Tracked as _};

    #[test]
    fn stories_are_as_agreed_on() {
        let key = CallKey {
            uniqueid: "1772351880.123".to_owned(),
            lead_id: 42,
        };
        let sale = Call {
            caller_code: Some("V3010758000000000042".to_owned()),
            did: Some("+12125550100".to_owned()),
            attribution: Attribution::CallerCode,
            campaign_id: "TESTCAMP".to_owned(),
            agent_id: "6666".to_owned(),
            disposition: "SALE".to_owned(),
            outcome: Outcome::Answered,
            successful: true,
            counted: true,
            duration_seconds: Some(169),
            term_reason: "CALLER".to_owned(),
            hangup_cause: Some(16),
            sip_code: Some(200),
            sip_reason: "OK".to_owned(),
            started_at: 1_772_351_880,
            day: "2026-03-01".to_owned(),
            ..Call::default()
        };
        let in_call = Call {
            disposition: "INCALL".to_owned(),
            outcome: Outcome::Other,
            successful: false,
            counted: false,
            duration_seconds: None,
            ..sale.clone()
        };
        let entry = |event: &str, was| ChangeEntry {
            event: event.to_owned(),
            table: "vicidial_log".to_owned(),
            was,
            left: None,
        };
        let entries = vec![
            entry("mysql-bin.000012:4711/0@1772351880", None),
            entry(
                "mysql-bin.000012:9422/1@1772352051",
                Some(sale.replaced(&in_call)),
            ),
        ];
        let lines = story::of_call(&key, &sale, entries).expect("its own values");
        let summary = DidSummary {
            dials: 4723,
            total_calls: 4711,
            successful_calls: 471,
            last_call_at: Some(1_772_351_880),
            ..DidSummary::default()
        };
        let call = on_each("didtail explain 1772351880.123", || {
            told(&describe_call("main", &key, &sale, &[]), &lines)
        });
        let did = on_each("didtail explain +12125550100", || {
            told_of_did("+12125550100", Some(&summary), &lines[1..])
        });
        let none = on_each("didtail explain +12125550100, nothing kept", || {
            told_of_did("+12125550100", Some(&summary), &[])
        });
        assert_snapshot("explain.txt", &(call + &did + &none));
    }
}
