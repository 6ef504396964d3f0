//! Caller codes: the caller ID *name* by which VICIdial follows a call.
//!
//! A letter, MMDDhhmmss without its first digit, and the lead in ten digits,
//! 20 characters together (vicidial.md section 2, `CALLER_ID_NAME_CODES.txt`).

/// True for the codes of outbound calls: V by the dialer, M by an agent. Other
/// letters name transfers, conferences and logins of the same call.
#[must_use]
pub fn is_outbound(code: &str) -> bool {
    let mut bytes = code.bytes();
    matches!(bytes.next(), Some(b'V' | b'M')) && bytes.next().is_some_and(|b| b.is_ascii_digit())
}

/// The lead in a code: its last ten digits.
#[must_use]
pub fn lead(code: &str) -> Option<u64> {
    const BYTES: usize = 20;
    let digits = code.get(BYTES - 10..)?;
    (code.len() == BYTES)
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|lead| *lead != 0)
}

/// The caller ID in `vicidial_dial_log.outbound_cid`, which holds the code and
/// the number: `"V1112150007000012345" <3125551212>`. `None` without brackets:
/// then the call went out without a caller ID of its own.
#[must_use]
pub fn number_in_brackets(outbound_cid: &str) -> Option<&str> {
    let (_, number) = outbound_cid.strip_suffix('>')?.rsplit_once('<')?;
    Some(number).filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_codes_are_told_from_transfers() {
        assert!(is_outbound("V1112150007000012345"));
        assert!(is_outbound("M1112150007000012345"));
        for other in [
            "Y1112150007000012345",
            "DC943083W0000855319W",
            "VX",
            "",
            "S1",
        ] {
            assert!(!is_outbound(other), "{other}");
        }
    }

    #[test]
    fn a_code_names_its_lead() {
        assert_eq!(lead("V1121500070000012345"), Some(12345));
        for other in [
            "V1112150007",
            "V11121500070000x2345",
            "V1112150007000012345W",
        ] {
            assert_eq!(lead(other), None, "{other}");
        }
    }

    #[test]
    fn the_caller_id_stands_in_brackets() {
        let manual = r#""M1112150007000012345 6666 CAMP" <3125551212>"#;
        assert_eq!(number_in_brackets(manual), Some("3125551212"));
        assert_eq!(number_in_brackets("V1112150007000012345"), None);
        assert_eq!(number_in_brackets(r#""V1" <>"#), None);
    }
}
