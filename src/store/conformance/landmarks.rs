//! What was seen in the binlog is kept with the position.

use super::change::SOURCE;
use super::{Inspect, next};
use crate::binlog::Position;
use crate::landmark::{LANDMARKS_MAX, Landmark, Sight};
use crate::store::StoreError;
use crate::vicidial::{Column, Table};

fn at(place: &str, sight: Sight) -> Landmark {
    Landmark {
        place: place.parse().expect("valid"),
        sight,
    }
}

fn columns(names: &[&str]) -> Sight {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        column_type: "enum('Y','N')".to_owned(),
        charset: Some("latin1".to_owned()),
    };
    Sight::Columns {
        table: Table::Log,
        columns: names.iter().map(column).collect(),
    }
}

fn archived(before: i64) -> Sight {
    Sight::Archived {
        table: Table::CarrierLog,
        before,
    }
}

fn inserted(uniqueid: &str, leads: &[&str]) -> Sight {
    Sight::Inserted {
        uniqueid: uniqueid.to_owned(),
        leads: leads.iter().map(|lead| (*lead).to_owned()).collect(),
    }
}

pub(crate) async fn what_was_seen_is_kept_by_epoch_and_place<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.checkpoint.epoch = 4;
    change.landmarks = vec![
        at("b.000002:4000000000", archived(1_762_900_000)),
        at("b.000001:400", columns(&["lead_id", "status"])),
        at("b.000001:500", inserted("1762956000.1", &["7", "8"])),
        at("b.000001:500", inserted("1762956000.2", &[])),
        at("b.000001:600", columns(&[])),
    ];
    let mut expected = change.landmarks.clone();
    store.commit(&change).await.unwrap();
    expected.sort_by(|one, other| one.place.cmp(&other.place));
    assert_eq!(store.landmarks(SOURCE, 4).await.unwrap(), expected);
    for (source, epoch) in [(SOURCE, 3), (SOURCE, 5), ("other", 4)] {
        assert_eq!(store.landmarks(source, epoch).await.unwrap(), []);
    }
    // Read again, it may be known better, also twice at once.
    let mut again = next(store).await;
    again.checkpoint.epoch = 4;
    again.landmarks = vec![
        at("b.000001:400", columns(&[])),
        at("b.000001:400", columns(&["lead_id"])),
    ];
    expected[0] = again.landmarks[1].clone();
    store.commit(&again).await.unwrap();
    assert_eq!(store.landmarks(SOURCE, 4).await.unwrap(), expected);
    // A commit that fails leaves none.
    let mut late = again.clone();
    late.landmarks = vec![at("b.000009:4", archived(1))];
    let refused = store.commit(&late).await;
    assert!(
        matches!(refused, Err(StoreError::OtherWriter { .. })),
        "{refused:?}"
    );
    assert_eq!(store.landmarks(SOURCE, 4).await.unwrap(), expected);
}

pub(crate) async fn the_oldest_landmarks_are_forgotten<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    let place = |number: u64| Position {
        next: number + 4,
        .."b.000001:4".parse().expect("valid")
    };
    let many = u64::from(LANDMARKS_MAX) + 10;
    let marks = (1..=many).map(|number| Landmark {
        place: place(number),
        sight: archived(1),
    });
    change.landmarks = vec![at("b.000001:4", columns(&["status"]))];
    change.landmarks.extend(marks);
    let epoch = change.checkpoint.epoch;
    store.commit(&change).await.unwrap();
    let kept = store.landmarks(SOURCE, epoch).await.unwrap();
    assert_eq!(kept[0], change.landmarks[0], "another kind");
    assert_eq!(kept.len() as u64, u64::from(LANDMARKS_MAX) + 1);
    assert_eq!(kept[1].place, place(11));
}
