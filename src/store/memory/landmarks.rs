//! The landmarks of one source and epoch in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::binlog::Position;
use crate::landmark::{LANDMARKS_MAX, Landmark};
use crate::store::landmark::{kind, subject};

/// Landmarks by place, kind and subject.
pub(super) type Landmarks = BTreeMap<(Position, &'static str, String), Landmark>;

/// Adds landmarks, in the place of those that are there.
pub(super) fn add(landmarks: &mut Landmarks, new: &[Landmark]) {
    for landmark in new {
        let sight = &landmark.sight;
        let key = (
            landmark.place.clone(),
            kind(sight),
            subject(sight).to_owned(),
        );
        landmarks.insert(key, landmark.clone());
    }
    trim(landmarks);
}

/// Forgets the oldest landmarks of each kind beyond the limit.
fn trim(landmarks: &mut Landmarks) {
    let kinds: BTreeSet<&'static str> = landmarks.keys().map(|(_, kind, _)| *kind).collect();
    for kind in kinds {
        let of_kind = landmarks.keys().filter(|key| key.1 == kind);
        let newest_first = of_kind.rev().skip(LANDMARKS_MAX as usize);
        let gone: Vec<_> = newest_first.cloned().collect();
        for key in gone {
            landmarks.remove(&key);
        }
    }
}
