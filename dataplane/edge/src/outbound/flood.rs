//! Frames of HTTP/2 that make work and carry nothing: settings and pings.
//!
//! The library acknowledges each before it reads on, so that they take no memory, and ends what else is a flood: resets, heads without an end, empty data. Of
//! these two it would acknowledge any number. So they are counted as they are read, and a program that says more of them than any has reason to is sent away.

use std::time::{Duration, Instant};

use super::frames::Heads;

/// Frames that a connection may say at once.
const AT_ONCE: u32 = 100;
/// After so long it may say one more.
const PACE: Duration = Duration::from_millis(100);

const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Flag: an acknowledgement.
const ACK: u8 = 1;
/// Bytes of the acknowledgements.
const SETTINGS_ACK: i64 = 9;
const PING_ACK: i64 = 17;

/// What one connection has said of them.
#[derive(Debug)]
pub struct Flood {
    heads: Heads,
    count: Count,
}

#[derive(Debug)]
struct Count {
    left: u32,
    /// Up to when what is left was counted.
    since: Instant,
    over: bool,
    /// Bytes that were said to it, without acknowledgements.
    said: i64,
    /// As it was when the last ping came that was free.
    answered: i64,
}

impl Flood {
    /// Of a new connection.
    pub fn new() -> Self {
        Self {
            heads: Heads::new(),
            count: Count {
                left: AT_ONCE,
                since: Instant::now(),
                over: false,
                said: 0,
                answered: 0,
            },
        }
    }

    /// These bytes came.
    pub fn heard(&mut self, bytes: &[u8]) {
        let count = &mut self.count;
        self.heads
            .read(bytes, |kind, flags| count.frame(kind, flags));
    }

    /// So many bytes were said.
    pub const fn said(&mut self, bytes: usize) {
        self.count.said = self.count.said.saturating_add_unsigned(bytes as u64);
    }

    /// Whether it is one.
    pub const fn is_over(&self) -> bool {
        self.count.over
    }
}

impl Count {
    fn frame(&mut self, kind: u8, flags: u8) {
        match (kind, flags & ACK) {
            (SETTINGS, 0) => self.said -= SETTINGS_ACK,
            (PING, 0) => {
                self.said -= PING_ACK;
                // Clients of gRPC measure by a ping how fast an answer comes, one after each piece of it.
                if self.said > self.answered {
                    self.answered = self.said;
                    return;
                }
            }
            // Hardly ever is one asked for.
            (PING, _) => {}
            _ => return,
        }
        self.take(Instant::now());
    }

    fn take(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.since).as_millis() / PACE.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if self.left.saturating_add(steps) >= AT_ONCE {
            (self.left, self.since) = (AT_ONCE, now);
        } else {
            self.left += steps;
            self.since += PACE * steps;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.over = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::PREFACE;
    use super::*;

    const PING_FRAME: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7];

    fn flood() -> Flood {
        let mut flood = Flood::new();
        flood.heard(PREFACE);
        flood
    }

    /// How many of these are heard before it is over.
    fn until_over(flood: &mut Flood, frame: &[u8], mut then: impl FnMut(&mut Flood)) -> usize {
        (0..10_000)
            .take_while(|_| {
                flood.heard(frame);
                then(flood);
                !flood.is_over()
            })
            .count()
    }

    #[test]
    fn a_flood_is_over_and_what_is_none_is_not() {
        let at_once = AT_ONCE as usize;
        let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        let heard = until_over(&mut flood(), &settings, |flood| flood.said(9));
        assert!((at_once..2 * at_once).contains(&heard), "{heard}");
        // Acknowledgements alone are no answers.
        let heard = until_over(&mut flood(), &PING_FRAME, |flood| flood.said(17));
        assert!((at_once..2 * at_once).contains(&heard), "{heard}");
        let mut ack = PING_FRAME;
        ack[4] = ACK;
        let heard = until_over(&mut flood(), &ack, |_| {});
        assert!((at_once..2 * at_once).contains(&heard), "{heard}");
        // All of them in one piece, acknowledged later.
        let mut other = flood();
        other.heard(&PING_FRAME.repeat(50));
        other.said(50 * 17);
        assert!(!other.is_over());
        other.heard(&PING_FRAME.repeat(100));
        assert!(other.is_over());
        // A ping for each piece of an answer, however small, is none.
        let heard = until_over(&mut flood(), &PING_FRAME, |flood| flood.said(17 + 10));
        assert_eq!(heard, 10_000);
        // Nor are frames that carry something, or acknowledge.
        for frame in [
            [0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 1, 5, 0, 0, 0, 1],
        ] {
            assert_eq!(until_over(&mut flood(), &frame, |_| {}), 10_000);
        }
    }

    #[test]
    fn more_may_be_said_as_time_passes() {
        let mut count = flood().count;
        let begin = count.since;
        for _ in 0..AT_ONCE {
            count.take(begin);
        }
        // Ten per second, for a minute, at the times at which they may come and no sooner.
        for number in 1..=600 {
            count.take(begin + PACE * number);
            assert_eq!((count.over, count.left), (false, 0), "{number}");
        }
        // Who is quiet may say as many again, and no more than at first.
        let later = begin + Duration::from_secs(3_600);
        for _ in 0..AT_ONCE {
            count.take(later);
        }
        assert!(!count.over);
        count.take(later + PACE / 2);
        assert!(count.over);
    }
}
