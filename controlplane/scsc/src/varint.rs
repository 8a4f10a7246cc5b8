//! Numbers of variable length, as in protobuf: seven bits a byte, the lowest first, bit 7 says that another follows; signed ones zigzag.

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front; `None` if the bytes end or it has more than 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends how far `to` is from `from`; any two numbers have a difference, because it wraps.
pub fn put_change(out: &mut Vec<u8>, from: u64, to: u64) {
    let change = to.wrapping_sub(from) as i64;
    put(out, ((change << 1) ^ (change >> 63)) as u64);
}

/// Takes a number that was given as its distance from `from`.
pub fn take_change(bytes: &mut &[u8], from: u64) -> Option<u64> {
    let zigzag = take(bytes)?;
    let change = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    Some(from.wrapping_add(change as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut out = Vec::new();
        for number in numbers {
            put(&mut out, number);
            put_change(&mut out, 1 << 40, number);
        }
        let mut bytes = out.as_slice();
        for number in numbers {
            assert_eq!(take(&mut bytes), Some(number));
            assert_eq!(take_change(&mut bytes, 1 << 40), Some(number));
        }
        assert_eq!(take(&mut bytes), None);
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
    }
}
