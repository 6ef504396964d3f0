//! PURE: reads up to a place that the protocol cannot name.
//!
//! A dump is asked for in 32 bits, and a file passes 4 GiB where one
//! transaction is that large. What stands behind it, until the next file
//! begins, is reached by asking for the whole file and passing over what is in
//! front: slow, and it happens once in the life of such a file.

use crate::binlog::{ARTIFICIAL_FLAG, EventHeader, FIRST_EVENT_OFFSET, Kind, end_of};

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in front of the place.
    Drop,
    /// It is made up for the stream, and does not tell of the place.
    Pass,
    /// It begins at the place: this one and all that follow are wanted.
    Arrived,
    /// The place is inside of it.
    Inside,
}

/// The way from a file's start to a place in it.
#[derive(Debug)]
pub(super) struct Skip {
    /// Offset of the next event.
    offset: u64,
    to: u64,
    /// The file's own first event has come, and what follows may be dropped.
    described: bool,
}

impl Skip {
    /// To this offset.
    pub(super) fn to(to: u64) -> Self {
        Self {
            offset: FIRST_EVENT_OFFSET,
            to,
            described: false,
        }
    }

    /// Takes the next event of the stream.
    pub(super) fn event(&mut self, header: &EventHeader) -> Verdict {
        let kind = Kind::of(header.code);
        let made_up = header.flags & ARTIFICIAL_FLAG != 0
            || kind == Kind::Heartbeat
            || (kind == Kind::Rotate && header.timestamp == 0);
        if made_up {
            return Verdict::Pass;
        }
        if self.offset >= self.to {
            return Verdict::Arrived;
        }
        self.offset = end_of(self.offset, header);
        if self.offset > self.to {
            return Verdict::Inside;
        }
        // The reader needs it, and knows it for a repeated one.
        let is_description = kind == Kind::FormatDescription && !self.described;
        self.described |= is_description;
        if is_description {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// An event of `size` bytes that ends at `end`, or does not say where.
    fn event(code: u8, size: u64, end: Option<u64>) -> EventHeader {
        EventHeader {
            timestamp: 1_700_000_000,
            code,
            server_id: 1,
            size: u32::try_from(size).expect("an event's size"),
            end_low: end.map_or(0, |end| u32::try_from(end % (1 << 32)).expect("low bits")),
            flags: 0,
        }
    }

    #[test]
    fn a_place_behind_4_gib_is_reached_whether_events_tell_their_end_or_not() {
        let place = FIRST_EVENT_OFFSET + 100 + 5 * GIB;
        for tell in [true, false] {
            let mut skip = Skip::to(place);
            let mut rotate = event(4, 40, None);
            rotate.timestamp = 0;
            assert_eq!(skip.event(&rotate), Verdict::Pass);
            assert_eq!(skip.event(&event(15, 100, Some(104))), Verdict::Pass);
            for number in 1..=5 {
                let end = tell.then_some(104 + number * GIB);
                assert_eq!(skip.event(&event(30, GIB, end)), Verdict::Drop, "{number}");
                assert_eq!(skip.event(&event(27, 40, None)), Verdict::Pass);
            }
            assert_eq!(skip.event(&event(162, 42, None)), Verdict::Arrived);
        }
    }

    #[test]
    fn a_place_inside_of_an_event_is_noticed() {
        let mut skip = Skip::to(4 * GIB + 7);
        for _ in 0..4 {
            assert_eq!(skip.event(&event(30, GIB, None)), Verdict::Drop);
        }
        assert_eq!(skip.event(&event(30, 1000, None)), Verdict::Inside);
    }
}
