//! The dashboard, the alert rules and the operators' guide name what `/metrics` prints,
//! and nothing else.

use std::collections::BTreeSet;

use yaml_rust2::{Yaml, YamlLoader};

use super::{NOON, exposition, vitals};
use crate::api::Condition;

const RULES: &str = include_str!("../../../packaging/prometheus/didtail.rules.yml");
const DASHBOARD: &str = include_str!("../../../packaging/grafana/didtail.json");
const GUIDE: &str = include_str!("../../../packaging/docs/operations.md");

/// Name, kind and help of every metric that is printed.
fn printed() -> Vec<(String, String, String)> {
    let text = exposition(&vitals(), Some(NOON)).expect("it prints");
    let after = |begin: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(begin));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(name, rest)| (name.to_owned(), rest.trim_end_matches('.').to_owned()))
            .collect()
    };
    let kinds = after("# TYPE ");
    let helps = after("# HELP ");
    assert_eq!(kinds.len(), helps.len());
    kinds
        .into_iter()
        .zip(helps)
        .map(|((name, kind), (same, help))| {
            assert_eq!(name, same);
            (name, kind, help)
        })
        .collect()
}

/// The names of the series that are printed.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, kind, _) in printed() {
        let endings: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// Demands that an expression is about series that there are.
fn check(expression: &str) {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: Vec<&str> = words.filter(|word| word.starts_with("didtail_")).collect();
    assert!(!named.is_empty(), "about nothing: {expression}");
    let series = series();
    for name in named {
        assert!(series.contains(name), "no series {name}: {expression}");
    }
    for rest in expression.split("condition=\"").skip(1) {
        let value = rest.split('"').next().unwrap_or_default();
        let known = Condition::ALL.iter().any(|one| one.as_str() == value);
        assert!(known, "no condition {value}: {expression}");
    }
}

fn rules() -> Vec<Yaml> {
    let documents = YamlLoader::load_from_str(RULES).expect("YAML");
    let rules = documents[0]["groups"][0]["rules"].clone();
    rules.into_vec().expect("a list of rules")
}

#[test]
fn every_alert_is_about_something_and_says_what_to_do() {
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name");
        check(rule["expr"].as_str().expect(name));
        let severity = rule["labels"]["severity"].as_str().expect(name);
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        for text in ["summary", "description"] {
            assert!(
                rule["annotations"][text].as_str().is_some(),
                "{name}: {text}"
            );
        }
        let line = format!("| `{name}` | {severity} | ");
        assert!(GUIDE.contains(&line), "the guide does not know {name}");
    }
}

#[test]
fn every_panel_is_about_something() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "an id twice");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            check(target["expr"].as_str().expect("an expression"));
            assert_eq!(target["datasource"]["uid"], "${datasource}");
        }
    }
    for list in ["templating", "annotations"] {
        assert!(dashboard[list]["list"].is_array(), "{list}");
    }
    let source = &dashboard["templating"]["list"][1]["query"]["query"];
    check(source.as_str().expect("a query"));
    check(
        dashboard["annotations"]["list"][0]["expr"]
            .as_str()
            .expect("an expression"),
    );
}

#[test]
fn the_guide_explains_every_metric() {
    for (name, kind, help) in printed() {
        let name = match kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name,
        };
        let line = format!("| `{name}` | {kind} | {help} |");
        assert!(GUIDE.contains(&line), "{line}");
    }
    let explained = GUIDE.lines().filter(|line| line.starts_with("| `didtail_"));
    let unknown = explained.filter(|line| !line.contains('{')).count();
    assert_eq!(unknown, printed().len(), "and no other");
}
