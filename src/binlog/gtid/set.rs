//! MySQL's GTIDs: `source:number`, or `source:tag:number` since 8.3.
//!
//! A position is the set of all transactions that were executed, kept as
//! intervals for each source and tag, as in `@@GLOBAL.gtid_executed`
//! (<https://dev.mysql.com/doc/refman/9.0/en/replication-gtids-concepts.html>).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;

/// Most intervals kept. One per source is usual; a replica that commits out of
/// order has a few more for seconds. What does not fit is left out: a set that
/// is too small makes didtail read something twice, never skip it.
const INTERVALS_MAX: usize = 1024;

/// Longest tag (`GTID_TAG_MAX_LENGTH`).
const TAG_BYTES_MAX: usize = 32;

/// Largest transaction number (`GNO_END` is 2^63 - 1).
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Who numbers transactions: a server's UUID, and a tag, mostly empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidSource {
    /// `@@server_uuid` of the server that first wrote the transaction.
    pub uuid: [u8; 16],
    /// Lower-case letters, digits and `_`; empty without a tag.
    pub tag: Box<str>,
}

impl fmt::Display for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.uuid)?;
        if self.tag.is_empty() {
            return Ok(());
        }
        write!(f, ":{}", self.tag)
    }
}

/// One MySQL transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceGtid {
    /// Who numbered it.
    pub source: GtidSource,
    /// Its number, from 1.
    pub number: u64,
}

impl fmt::Display for SourceGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

impl SourceGtid {
    /// Reads a GTID event (code 33): a byte of flags, the UUID, the number.
    pub(in crate::binlog) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = Bytes::new(body);
        bytes.take(1)?;
        let uuid = uuid(&mut bytes)?;
        let number = bytes.uint(8)?;
        Self::checked(uuid, "", number)
    }

    /// Reads a tagged GTID event (code 42): a message of `mysql::serialization`
    /// with its version, its size and the last field that must be understood,
    /// then fields by ascending number: 0 flags, 1 UUID, 2 number, 3 tag
    /// (`Gtid_event::define_fields` in MySQL's `control_events.h`).
    pub(in crate::binlog) fn decode_tagged(body: &[u8]) -> Result<Self, DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Malformed("the tagged GTID");
        let mut bytes = Bytes::new(body);
        if varint(&mut bytes)? != 1 {
            return Err(DecodeError::Malformed("the version of the tagged GTID"));
        }
        varint(&mut bytes)?;
        varint(&mut bytes)?;
        let mut field = varint(&mut bytes)?;
        if field == 0 {
            varint(&mut bytes)?;
            field = varint(&mut bytes)?;
        }
        if field != 1 {
            return Err(MALFORMED);
        }
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            *byte = u8::try_from(varint(&mut bytes)?).map_err(|_| MALFORMED)?;
        }
        if varint(&mut bytes)? != 2 {
            return Err(MALFORMED);
        }
        // Signed: twice the number, and one less for the negative ones.
        let number = varint(&mut bytes)?;
        if number & 1 == 1 {
            return Err(MALFORMED);
        }
        let mut tag = "";
        if varint(&mut bytes)? == 3 {
            let length = usize::try_from(varint(&mut bytes)?).map_err(|_| MALFORMED)?;
            let name = bytes.take(length)?;
            tag = std::str::from_utf8(name).map_err(|_| MALFORMED)?;
        }
        Self::checked(uuid, tag, number >> 1)
    }

    fn checked(uuid: [u8; 16], name: &str, number: u64) -> Result<Self, DecodeError> {
        if number == 0 || number > NUMBER_MAX {
            return Err(DecodeError::Malformed("the number of the GTID"));
        }
        let tag = tag(name).ok_or(DecodeError::Malformed("the tag of the GTID"))?;
        Ok(Self {
            source: GtidSource { uuid, tag },
            number,
        })
    }
}

/// A set of MySQL transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet {
    /// First and last number, both in the set; invariant: ascending, none
    /// touching the next, none empty.
    intervals: BTreeMap<GtidSource, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// True without a transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Whether a transaction is in the set.
    #[must_use]
    pub fn contains(&self, gtid: &SourceGtid) -> bool {
        self.contains_all(&gtid.source, (gtid.number, gtid.number))
    }

    /// Whether every transaction of another set is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut all = other.each();
        all.all(|(source, interval)| self.contains_all(source, interval))
    }

    /// Adds a transaction.
    pub fn insert(&mut self, gtid: &SourceGtid) {
        self.insert_all(&gtid.source, (gtid.number, gtid.number));
    }

    /// Adds every transaction of another set.
    pub fn merge(&mut self, other: &Self) {
        for (source, interval) in other.each() {
            self.insert_all(source, interval);
        }
    }

    /// Forgets sources of which another set has nothing.
    pub(super) fn retain_sources_of(&mut self, other: &Self) {
        let named = &other.intervals;
        self.intervals
            .retain(|source, _| named.contains_key(source));
    }

    /// Lets each source's first interval begin at 1.
    pub(super) fn fill_below(&mut self) {
        for (first, _) in self.intervals.values_mut().filter_map(|of| of.first_mut()) {
            *first = 1;
        }
    }

    fn each(&self) -> impl Iterator<Item = (&GtidSource, (u64, u64))> {
        let all = self.intervals.iter();
        all.flat_map(|(source, of)| of.iter().map(move |interval| (source, *interval)))
    }

    fn contains_all(&self, source: &GtidSource, (first, last): (u64, u64)) -> bool {
        let of = self.intervals.get(source);
        of.is_some_and(|of| of.iter().any(|(from, to)| *from <= first && last <= *to))
    }

    fn insert_all(&mut self, source: &GtidSource, (mut first, mut last): (u64, u64)) {
        let count: usize = self.intervals.values().map(Vec::len).sum();
        let of = self.intervals.entry(source.clone()).or_default();
        // Nearly always the newest interval grows by one.
        if let Some((_, to)) = of.last_mut()
            && to.checked_add(1) == Some(first)
        {
            *to = last;
            return;
        }
        let touches =
            |from: u64, to: u64| from <= last.saturating_add(1) && first <= to.saturating_add(1);
        let is_new = !of.iter().any(|(from, to)| touches(*from, *to));
        if is_new && count >= INTERVALS_MAX {
            if of.is_empty() {
                self.intervals.remove(source);
            }
            return;
        }
        of.retain(|(from, to)| {
            let joins = *from <= last.saturating_add(1) && first <= to.saturating_add(1);
            if joins {
                first = first.min(*from);
                last = last.max(*to);
            }
            !joins
        });
        let at = of.partition_point(|(from, _)| *from < first);
        of.insert(at, (first, last));
    }

    /// Reads the body of a PREVIOUS_GTIDS event (`Gtid_set::encode`): a count of
    /// sources, whose top byte is 1 where tags follow the UUIDs and the count
    /// then stands in bits 8 to 55; of each source its UUID, its tag, and the
    /// first numbers in and behind each of its intervals.
    pub(in crate::binlog) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Malformed("the set of previous GTIDs");
        let mut bytes = Bytes::new(body);
        let head = bytes.uint(8)?;
        let (tagged, sources) = match head >> 56 {
            0 => (false, head),
            1 => (true, (head >> 8) & 0xffff_ffff_ffff),
            _ => return Err(MALFORMED),
        };
        let mut set = Self::default();
        for _source in 0..sources {
            let uuid = uuid(&mut bytes)?;
            let mut name = "";
            if tagged {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| MALFORMED)?;
                name = std::str::from_utf8(bytes.take(length)?).map_err(|_| MALFORMED)?;
            }
            let tag = tag(name).ok_or(MALFORMED)?;
            let source = GtidSource { uuid, tag };
            for _interval in 0..bytes.uint(8)? {
                let (first, behind) = (bytes.uint(8)?, bytes.uint(8)?);
                if first == 0 || behind <= first {
                    return Err(MALFORMED);
                }
                set.insert_all(&source, (first, behind - 1));
            }
        }
        Ok(set)
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&[u8; 16]> = None;
        for (GtidSource { uuid, tag }, intervals) in &self.intervals {
            if before != Some(uuid) {
                f.write_str(if before.is_some() { "," } else { "" })?;
                write_uuid(f, uuid)?;
                before = Some(uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                write!(f, ":{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = ();

    /// As servers write it: `UUID:1-5:7:tag:1-3,UUID:1`, with white space
    /// behind the commas.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let mut words = part.split(':').map(str::trim);
            let uuid = parse_uuid(words.next().ok_or(())?).ok_or(())?;
            let mut source = GtidSource {
                uuid,
                tag: Box::default(),
            };
            let mut numbers = 0;
            for word in words {
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    let (first, last) = word.split_once('-').unwrap_or((word, word));
                    let number = |n: &str| n.trim().parse::<u64>().map_err(|_| ());
                    let (first, last) = (number(first)?, number(last)?);
                    if first == 0 || last < first || last > NUMBER_MAX {
                        return Err(());
                    }
                    set.insert_all(&source, (first, last));
                    numbers += 1;
                } else {
                    source.tag = tag(&word.to_ascii_lowercase()).ok_or(())?;
                    if source.tag.is_empty() {
                        return Err(());
                    }
                }
            }
            if numbers == 0 {
                return Err(());
            }
        }
        Ok(set)
    }
}

fn uuid(bytes: &mut Bytes<'_>) -> Result<[u8; 16], DecodeError> {
    let taken = bytes.take(16)?.first_chunk().copied();
    taken.ok_or(DecodeError::Malformed("the UUID of the GTID"))
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (i, byte) in uuid.iter().enumerate() {
        let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(f, "{dash}{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(uuid)
}

/// A tag, if it can be one; the empty one too.
fn tag(name: &str) -> Option<Box<str>> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = !name.starts_with(|c: char| c.is_ascii_digit());
    (begins && name.len() <= TAG_BYTES_MAX && name.bytes().all(fits)).then(|| name.into())
}

/// A number of `mysql::serialization`: the ones at the low end of the first
/// byte say how many bytes follow; the number is in the bits above, low first.
fn varint(bytes: &mut Bytes<'_>) -> Result<u64, DecodeError> {
    let first = bytes.u8()?;
    let more = first.trailing_ones();
    let rest = bytes.uint(usize::try_from(more).unwrap_or(0))?;
    if more >= 7 {
        return Ok(rest);
    }
    let low = u64::from(first) >> (more + 1);
    let high = rest
        .checked_shl(7 - more)
        .filter(|high| high >> (7 - more) == rest);
    high.map(|high| high | low)
        .ok_or(DecodeError::Malformed("a number of the GTID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect("a set")
    }

    fn gtid(name: &str, number: u64) -> SourceGtid {
        SourceGtid::checked(parse_uuid(A).expect("a uuid"), name, number).expect("valid")
    }

    #[test]
    fn sets_are_read_as_servers_write_them_and_joined() {
        for (text, plain) in [
            (format!("{A}:1-5"), format!("{A}:1-5")),
            (format!("{A}:1-5:7:6"), format!("{A}:1-7")),
            (
                format!("{B}:3,\n{}:2:1", A.to_uppercase()),
                format!("{A}:1-2,{B}:3"),
            ),
            (
                format!("{A}:1-5:Audit:1-2:9"),
                format!("{A}:1-5:audit:1-2:9"),
            ),
            (format!("{A}:a:1,{A}:4"), format!("{A}:4:a:1")),
        ] {
            assert_eq!(set(&text).to_string(), plain, "{text}");
        }
        for bad in [
            A.to_owned(),
            format!("{A}:"),
            format!("{A}:0"),
            format!("{A}:5-4"),
            format!("{A}:x"),
            format!("{A}:1-x"),
            format!("{A}:9223372036854775808"),
            format!("{}:1", &A[1..]),
        ] {
            assert!(bad.parse::<GtidSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gaps_close_and_sets_are_compared() {
        let mut growing = set(&format!("{A}:1-3"));
        for number in [5, 7, 4, 6] {
            growing.insert(&gtid("", number));
        }
        assert_eq!(growing.to_string(), format!("{A}:1-7"));
        growing.insert(&gtid("t", 1));
        assert!(growing.contains(&gtid("t", 1)) && !growing.contains(&gtid("t", 2)));
        assert!(growing.covers(&set(&format!("{A}:2-7:t:1"))));
        assert!(!growing.covers(&set(&format!("{A}:2-8"))));
        assert!(!growing.covers(&set(&format!("{B}:1"))));
        assert!(growing.covers(&GtidSet::default()));
    }

    #[test]
    fn a_set_stays_bounded_and_never_claims_too_much() {
        let mut full = GtidSet::default();
        for number in 1..=4000_u64 {
            full.insert(&gtid("", number * 2));
        }
        let (_, intervals) = full.intervals.iter().next().expect("a source");
        assert_eq!(intervals.len(), INTERVALS_MAX);
        full.insert(&gtid("other", 1));
        assert_eq!(full.intervals.len(), 1);
        full.insert(&gtid("", 3));
        assert!(full.contains(&gtid("", 3)), "a gap can close");
    }

    #[test]
    fn previous_gtids_are_read_with_and_without_tags() {
        let uuid = parse_uuid(A).expect("a uuid");
        let mut body = 1_u64.to_le_bytes().to_vec();
        body.extend(uuid);
        for number in [2_u64, 1, 6, 8, 9] {
            body.extend(number.to_le_bytes());
        }
        let read = GtidSet::decode(&body).expect("a set");
        assert_eq!(read.to_string(), format!("{A}:1-5:8"));
        let mut tagged = ((1_u64 << 56) | (1 << 8) | 1).to_le_bytes().to_vec();
        tagged.extend(uuid);
        tagged.extend(b"\x06abc");
        for number in [1_u64, 1, 3] {
            tagged.extend(number.to_le_bytes());
        }
        let read = GtidSet::decode(&tagged).expect("a set");
        assert_eq!(read.to_string(), format!("{A}:abc:1-2"));
        for cut in 0..body.len() {
            assert!(GtidSet::decode(&body[..cut]).is_err(), "{cut}");
        }
        let mut many = u64::MAX.to_le_bytes().to_vec();
        many[7] = 0;
        assert!(GtidSet::decode(&many).is_err());
    }

    #[test]
    fn numbers_of_the_serialization_library_are_read() {
        for (bytes, number) in [
            (&b"\x00"[..], 0_u64),
            (b"\x02", 1),
            (b"\xfe", 127),
            (b"\x01\x02", 128),
            (b"\xfd\x03", 255),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        ] {
            assert_eq!(varint(&mut Bytes::new(bytes)), Ok(number), "{bytes:?}");
        }
        assert!(varint(&mut Bytes::new(b"\xff\x01")).is_err());
    }

    #[test]
    fn a_tagged_gtid_is_read() {
        let mut body = vec![0x02, 0x60, 0x08, 0x00, 0x02, 0x02];
        for byte in parse_uuid(A).expect("a uuid") {
            if byte < 128 {
                body.push(byte << 1);
            } else {
                body.extend([(byte << 2) | 1, byte >> 6]);
            }
        }
        // Number 7, then the tag.
        body.extend([0x04, 7 << 2, 0x06, 0x06]);
        body.extend(b"abc");
        let read = SourceGtid::decode_tagged(&body).expect("a GTID");
        assert_eq!(read.to_string(), format!("{A}:abc:7"));
        for cut in 0..body.len() {
            assert!(SourceGtid::decode_tagged(&body[..cut]).is_err(), "{cut}");
        }
    }
}
