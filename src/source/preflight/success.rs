//! Does VICIdial have the statuses that count as a success?

use std::collections::BTreeSet;

use super::{Finding, Outcome};
use crate::source::MySqlSource;
use crate::source::wire::text;
use crate::vicidial::Table;

const CHECK: &str = "success";
const EXPECTED: &str = "statuses that VICIdial has";

/// Looks for each of `statuses`, in upper case, in VICIdial's two tables of statuses. One
/// that is in none of them may still be set by a custom script: it is a note, also since a
/// misspelt one counts nothing, and nobody would see why.
pub(super) async fn success(source: &MySqlSource, statuses: &BTreeSet<String>) -> Vec<Finding> {
    let database = source.database();
    let mut known = BTreeSet::new();
    for table in [Table::Statuses, Table::CampaignStatuses] {
        let sql = format!(
            "SELECT DISTINCT UPPER(status) FROM `{database}`.`{}`",
            table.name()
        );
        match source.ask(table.name(), &sql).await {
            Ok(answer) => known.extend(answer.rows.iter().filter_map(|row| text(row.first()?))),
            // That it cannot be read is told of the table itself.
            Err(error) => return vec![Finding::unknown(CHECK, EXPECTED, &error)],
        }
    }
    vec![judge(statuses, &known)]
}

fn judge(statuses: &BTreeSet<String>, known: &BTreeSet<String>) -> Finding {
    let list = |all: &[&str]| all.join(", ");
    let unknown: Vec<&str> = statuses.difference(known).map(String::as_str).collect();
    if unknown.is_empty() {
        let all: Vec<&str> = statuses.iter().map(String::as_str).collect();
        return Finding::new(CHECK, Outcome::Good, EXPECTED, &list(&all));
    }
    let actual = format!(
        "{} is in no table of statuses: if no script sets it, no call of it is a success",
        list(&unknown)
    );
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Finding::new(CHECK, Outcome::Note, EXPECTED, &actual).fix(format!(
        "set success in [dispositions] of the configuration; VICIdial has {}",
        list(&known)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(statuses: &[&str]) -> BTreeSet<String> {
        statuses.iter().map(|&status| status.to_owned()).collect()
    }

    #[test]
    fn a_status_that_nobody_has_is_told() {
        let known = set(&["A", "SALE", "XFER"]);
        let good = judge(&set(&["SALE", "XFER"]), &known);
        assert_eq!(good.outcome, Outcome::Good);
        let odd = judge(&set(&["SALE", "XFERR"]), &known);
        assert_eq!(odd.outcome, Outcome::Note);
        assert!(
            odd.actual.starts_with("XFERR is in no table"),
            "{}",
            odd.actual
        );
        let fix = odd.fix.expect("a way to mend it");
        assert!(fix.ends_with("VICIdial has A, SALE, XFER"), "{fix}");
    }
}
