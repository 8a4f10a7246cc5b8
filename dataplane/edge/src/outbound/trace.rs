//! W3C Trace Context: a trace goes on through the edge, with a parent of its own; one that is absent begins here.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Of `00-<32>-<16>-<2>`.
const LENGTH: usize = 55;

/// Puts a new parent id into the headers; says the trace's id.
pub fn carry_on(headers: &mut HeaderMap) -> [u8; 16] {
    let found = read(headers);
    if found.is_none() {
        // It belongs to a parent that cannot be read (section 3.3.1.1).
        headers.remove(&TRACESTATE);
    }
    let mut random = rand::rng();
    // One that begins here is one that the access log may have: "sampled".
    let (trace, flags) = found.unwrap_or_else(|| (random.random(), 1));
    let parent: [u8; 8] = random.random();
    let mut text = [b'-'; LENGTH];
    hex(&mut text[0..2], &[0]);
    hex(&mut text[3..35], &trace);
    hex(&mut text[36..52], &parent);
    hex(&mut text[53..55], &[flags]);
    if let Ok(mut value) = HeaderValue::from_bytes(&text) {
        // It never comes again: kept out of the tables of HTTP/2 it does not push out what does.
        value.set_sensitive(true);
        headers.insert(TRACEPARENT.clone(), value);
    }
    trace
}

fn read(headers: &HeaderMap) -> Option<([u8; 16], u8)> {
    let mut all = headers.get_all(&TRACEPARENT).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let text = one.as_bytes();
    let version = unhex::<1>(text.get(0..2)?)?[0];
    // A later version may say more behind it.
    let longer = version > 0 && text.get(LENGTH) == Some(&b'-');
    if version == 0xff || !(text.len() == LENGTH || longer) {
        return None;
    }
    if [2, 35, 52].iter().any(|at| text.get(*at) != Some(&b'-')) {
        return None;
    }
    let trace = unhex::<16>(text.get(3..35)?)?;
    let parent = unhex::<8>(text.get(36..52)?)?;
    let flags = unhex::<1>(text.get(53..55)?)?[0];
    (trace != [0; 16] && parent != [0; 8]).then_some((trace, flags & 1))
}

fn hex(to: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in to.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(parents: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT.clone(), parent.parse().unwrap());
        }
        headers.insert(TRACESTATE.clone(), "a=b".parse().unwrap());
        carry_on(&mut headers);
        let all: Vec<_> = headers.get_all(&TRACEPARENT).iter().collect();
        assert_eq!(all.len(), 1);
        let text = all[0].to_str().unwrap().to_owned();
        (text, headers.contains_key(&TRACESTATE))
    }

    #[test]
    fn a_trace_goes_on_with_a_new_parent() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let (text, state) = carried(&[good]);
        assert!(text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(text.ends_with("-00") && !text.contains("00f067aa0ba902b7") && state);
        let (text, _) = carried(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"]);
        assert!(text.starts_with("00-4bf9") && text.ends_with("-01") && text.len() == LENGTH);
    }

    #[test]
    fn what_cannot_be_read_is_begun_anew() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for bad in [
            vec![],
            vec![good, good],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
            vec!["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            vec!["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            vec!["00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            vec!["00"],
        ] {
            let (text, state) = carried(&bad);
            assert!(!text.contains("4bf92f35") && !state, "{bad:?}");
            assert_eq!(text.len(), LENGTH);
        }
    }
}
