//! What calls come to whatever the order of their rows, by a model of its own.

use super::*;

/// Counters by DID, day and campaign, and the newest call and dial by DID.
pub(super) type Expected = (
    BTreeMap<DailyKey, Counters>,
    BTreeMap<String, (Option<i64>, Option<i64>)>,
);

pub(super) fn of_store(dump: &Dump) -> Expected {
    let daily = dump.daily.iter();
    let daily = daily.map(|((_, key), counters)| (key.clone(), *counters));
    let mut last = BTreeMap::new();
    for ((tenant, did), numbers) in &dump.dids {
        assert_eq!(tenant, TENANT);
        if let Some(numbers) = numbers {
            last.insert(did.clone(), (numbers.last_call_at, numbers.last_dial_at));
            let mut sum = Counters::default();
            let days = dump.daily.iter().filter(|((_, key), _)| key.did == *did);
            days.for_each(|(_, counters)| sum += *counters);
            assert_eq!(sum, numbers.counters, "the days of {did} add up");
        }
    }
    (daily.collect(), last)
}

/// What the plans come to, whatever the order.
pub(super) fn counted(plans: &[Plan], by_code: bool) -> Expected {
    let (mut daily, mut last) = Expected::default();
    let dials: Vec<(i64, &Plan)> = (0..)
        .zip(plans)
        .map(|(number, plan)| (NOON + dialed_second(number, plan), plan))
        .collect();
    for (dialed_at, plan) in &dials {
        if let Some(did) = shown(plan) {
            let counters: &mut Counters = daily.entry(key(&did, *dialed_at, "")).or_default();
            counters.dials += 1;
            let (_, newest): &mut (Option<i64>, _) = last.entry(did).or_default();
            *newest = (*newest).max(Some(*dialed_at));
        }
        // Its own dial by its code; else the newest of its lead before it.
        let start = dialed_at + 20;
        let of_call = if plan.linked {
            *plan
        } else {
            let span = start - LEAD_SECONDS..=start;
            let of_lead = dials.iter().filter(|(_, dial)| dial.lead == plan.lead);
            let of_lead = of_lead.filter(|(at, _)| span.contains(at));
            of_lead.max_by_key(|(at, _)| at).expect("its own").1
        };
        let status = plan.corrected.unwrap_or(status(plan));
        let Some(did) = shown(of_call).filter(|_| status != "INCALL") else {
            continue;
        };
        let cause = if by_code { of_call.cause } else { plan.cause };
        let counters = daily.entry(key(&did, start, "SOLAR")).or_default();
        let talks = matches!(plan.kind, Kind::Answered | Kind::Transferred | Kind::Manual);
        counters.total_calls += 1;
        match status {
            "SALE" => {
                counters.successful_calls += 1;
                counters.answered += 1;
                counters.talk_seconds += if talks { plan.seconds.max(0) } else { 0 };
            }
            "AL" => counters.machine += 1,
            "DROP" => counters.dropped += 1,
            _ if cause == Some(21) => counters.blocked += 1,
            "NA" => counters.no_answer += 1,
            "AB" => counters.busy += 1,
            _ => counters.other += 1,
        }
        let (newest, _) = last.entry(did).or_default();
        *newest = (*newest).max(Some(start));
    }
    (daily, last)
}

pub(super) fn shown(plan: &Plan) -> Option<String> {
    (plan.shown != Shown::Nowhere).then(|| format!("+1{}", NUMBERS[plan.number]))
}

/// On the dialer's day.
pub(super) fn key(did: &str, at: i64, campaign: &str) -> DailyKey {
    let local = jiff::Timestamp::from_second(at - BEHIND_UTC).expect("in range");
    DailyKey {
        did: did.to_owned(),
        day: local.strftime("%Y-%m-%d").to_string(),
        campaign_id: campaign.to_owned(),
    }
}
