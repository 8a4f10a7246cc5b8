//! Pages of long lists: in the order of their keys, bounded by number and by bytes.

use tonic::Status;

/// Most bytes of entries on one page; one entry that is longer stands alone.
const PAGE: usize = 3 << 20;
/// Tag and length around an entry in its list.
const AROUND: usize = 8;

/// An entry, and where it stands in the order of the list.
pub(super) type Keyed<T> = (Vec<u8>, T);

/// One page: at most `limit` entries (0 = all that fit) that stand after `after`, and what to give as `after` for the rest.
pub(super) fn page<T: prost::Message>(
    mut all: Vec<Keyed<T>>,
    limit: u32,
    after: &[u8],
) -> (Vec<T>, Vec<u8>) {
    all.retain(|(key, _)| after.is_empty() || key.as_slice() > after);
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let limit = match limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let (mut page, mut bytes, mut last) = (Vec::new(), 0, Vec::new());
    for (key, entry) in all {
        bytes += entry.encoded_len() + AROUND;
        if page.len() == limit || (!page.is_empty() && bytes > PAGE) {
            return (page, last);
        }
        page.push(entry);
        last = key;
    }
    (page, Vec::new())
}

/// Joins parts so that the order of keys is that of their parts, one after the other.
pub(super) fn key(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        for byte in *part {
            key.push(*byte);
            // A zero is told from the end of the part.
            if *byte == 0 {
                key.push(1);
            }
        }
        key.extend([0, 0]);
    }
    key
}

/// A key that nobody here made is as good as any: it is a place in the order. Only its length is judged.
pub(super) fn judge(after: &[u8]) -> Result<(), Status> {
    match after.len() {
        0..=4_096 => Ok(()),
        _ => Err(Status::invalid_argument(
            "after: not what this edge gave as next; ask from the start (after empty)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::EdgeService;

    #[test]
    fn every_entry_is_told_exactly_once() {
        for (count, length, limit) in [(0_u32, 1, 0), (10, 1, 3), (5, PAGE, 0), (9, PAGE / 4, 0)] {
            let all = || {
                let entries = (0..count).rev();
                entries.map(|n| {
                    let entry = EdgeService {
                        instances: n,
                        to: "x".repeat(length),
                        ..EdgeService::default()
                    };
                    (key(&[&n.to_be_bytes()]), entry)
                })
            };
            let (mut told, mut after) = (Vec::new(), Vec::new());
            loop {
                let (entries, next) = page(all().collect(), limit, &after);
                assert!(limit == 0 || entries.len() <= limit as usize);
                told.extend(entries.into_iter().map(|one| one.instances));
                if next.is_empty() {
                    break;
                }
                after = next;
            }
            assert!(told.into_iter().eq(0..count));
        }
    }

    #[test]
    fn keys_are_ordered_as_their_parts() {
        let parts: [[&[u8]; 2]; 6] = [
            [b"", b"b"],
            [b"a", b""],
            [b"a", b"b"],
            [b"a\0", b""],
            [b"a\0\0", b"a"],
            [b"aa", b""],
        ];
        let keys: Vec<Vec<u8>> = parts.iter().map(|parts| key(parts)).collect();
        assert!(keys.is_sorted());
    }
}
