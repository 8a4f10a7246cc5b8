//! Hellos: three-way, so that a link is up only if it carries both ways (design §3, §4.4). Pure: time comes in as TSC cycles.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_wire::{Heard, Hello, HelloState, NodeId, PortId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::adjacency::{Adjacency, HelloKey, State};
use crate::clock::Clock;
use crate::handover::PATIENCE_MS;

/// Who says hello: the same for all adjacencies of a process.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    /// This node.
    pub node: NodeId,
    /// Random per start.
    pub boot: u64,
    /// For intervals.
    pub clock: Clock,
}

/// What a hello is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// This router is there.
    Alive,
    /// It goes away.
    Farewell,
    /// Another process of it goes on in a moment: the next hello may take [`PATIENCE_MS`].
    Pause,
}

/// Why a hello changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloRefusal {
    /// The payload is no hello.
    #[error("malformed")]
    Malformed,
    /// Not from the configured peer.
    #[error("from node {0}, which is not the neighbour of this adjacency")]
    WrongNode(NodeId),
    /// No version in common.
    #[error("no version in common")]
    Version,
    /// Key id or MAC.
    #[error("not authentic")]
    Mac,
    /// An old hello once more.
    #[error("replayed")]
    Replayed,
}

/// What an accepted hello did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// State before and after.
    pub change: Option<(State, State)>,
    /// The peer should hear from this router at once.
    pub answer: bool,
}

fn mac(key: &HelloKey, bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    // HMAC takes keys of any length, so this always is one.
    if let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&key.secret) {
        hmac.update(bytes);
        out.copy_from_slice(&hmac.finalize().into_bytes()[..16]);
    }
    out
}

fn is_authentic(key: Option<&HelloKey>, hello: &Hello) -> bool {
    match key {
        None => hello.key_id == 0,
        Some(key) => {
            let expected = mac(key, &hello.signed_bytes());
            // Every byte is compared, so that the time says nothing.
            let difference = expected
                .iter()
                .zip(hello.mac)
                .fold(0, |d, (a, b)| d | (a ^ b));
            hello.key_id == key.id && difference == 0
        }
    }
}

impl Speaker {
    /// The next hello of an adjacency; `port` is this router's port id.
    pub fn next(&self, adjacency: &Adjacency, port: u16, now: u64, word: Word) -> Hello {
        let live = &adjacency.live;
        let sequence = live.sequence.fetch_add(1, Relaxed) + 1;
        live.next_hello.store(
            now + self
                .clock
                .from_ms(u64::from(adjacency.config.hello_interval_ms)),
            Relaxed,
        );
        let state = match word {
            Word::Farewell => State::Down,
            Word::Alive | Word::Pause => live.state(),
        };
        let (interval, multiplier) = (
            adjacency.config.hello_interval_ms,
            adjacency.config.hello_multiplier,
        );
        let multiplier = match word {
            // The neighbour's hold time is what the last hello said.
            Word::Pause => PATIENCE_MS
                .div_ceil(u64::from(interval.max(1)))
                .clamp(u64::from(multiplier), 255) as u8,
            Word::Alive | Word::Farewell => multiplier,
        };
        let heard = (live.state() != State::Down).then(|| Heard {
            node: adjacency.config.peer,
            port: PortId(live.peer_port.load(Relaxed)),
            boot_nonce: live.peer_boot.load(Relaxed),
            sequence: live.peer_sequence.load(Relaxed),
            state: on_wire(State::from_number(live.peer_state.load(Relaxed))),
        });
        let hello = Hello {
            node: self.node,
            port: PortId(port),
            boot_nonce: self.boot,
            sequence,
            state: on_wire(state),
            heard,
            version_min: dmsc_wire::VERSION,
            version_max: dmsc_wire::VERSION,
            interval_ms: interval,
            multiplier,
            mtu: adjacency
                .config
                .mtu
                .saturating_sub(adjacency.outer.overhead() as u16),
            key_id: 0,
            mac: [0; 16],
        };
        match &adjacency.config.key {
            None => hello,
            Some(key) => hello.sign(key.id, |bytes| mac(key, bytes)),
        }
    }

    /// Takes a hello that came over `adjacency`, to this router's port id `port`.
    ///
    /// # Errors
    /// When it is not to be believed; nothing changed then.
    pub fn hear(
        &self,
        adjacency: &Adjacency,
        port: u16,
        payload: &[u8],
        now: u64,
    ) -> Result<Accepted, HelloRefusal> {
        let hello = Hello::decode(payload).map_err(|_| HelloRefusal::Malformed)?;
        if hello.node != adjacency.config.peer {
            return Err(HelloRefusal::WrongNode(hello.node));
        }
        if !(hello.version_min..=hello.version_max).contains(&dmsc_wire::VERSION) {
            return Err(HelloRefusal::Version);
        }
        if !is_authentic(adjacency.config.key.as_ref(), &hello) {
            return Err(HelloRefusal::Mac);
        }
        let live = &adjacency.live;
        let same_boot = live.peer_boot.load(Relaxed) == hello.boot_nonce;
        if same_boot && hello.sequence <= live.peer_sequence.load(Relaxed) {
            return Err(HelloRefusal::Replayed);
        }
        // An authentic hello of another boot may be a recorded one: a link that is up believes it only when it has heard what was
        // sent from here just now. A neighbour that really restarted gets its answer and says so in its next hello.
        let heard_lately = hello.heard.is_some_and(|heard| {
            let window = u64::from(adjacency.config.hello_multiplier) + 1;
            heard.boot_nonce == self.boot
                && heard.sequence.saturating_add(window) >= live.sequence.load(Relaxed)
        });
        if adjacency.config.key.is_some()
            && !same_boot
            && live.state() == State::Up
            && !heard_lately
        {
            return Ok(Accepted {
                change: None,
                answer: true,
            });
        }
        if same_boot && live.state() == State::Up {
            let missing = hello.sequence - live.peer_sequence.load(Relaxed) - 1;
            // A damaged sequence is not a loss of millions: with more missing than a hold time has, the link would be down.
            live.quality.heard(missing.min(255));
        }
        live.peer_boot.store(hello.boot_nonce, Relaxed);
        live.peer_sequence.store(hello.sequence, Relaxed);
        live.peer_port.store(hello.port.0, Relaxed);
        live.peer_state.store(hello.state as u8, Relaxed);
        // Announced without the outer headers, which are the same in both directions; less than QUIC needs is not believed.
        let overhead = adjacency.outer.overhead() as u16;
        live.peer_mtu
            .store(hello.mtu.max(1200).saturating_add(overhead), Relaxed);
        live.heard.store(now, Relaxed);
        let hold = u64::from(hello.interval_ms) * u64::from(hello.multiplier);
        live.hold
            .store(self.clock.from_ms(hold.clamp(10, 60_000)), Relaxed);

        let hears_us = hello
            .heard
            .is_some_and(|h| h.node == self.node && h.boot_nonce == self.boot && h.port.0 == port);
        let leaving = hello.state == HelloState::Down && hears_us;
        let before = live.state();
        let after = match (leaving, hears_us) {
            (true, _) => State::Down,
            (false, true) => State::Up,
            (false, false) => State::Init,
        };
        let change = self.turn(adjacency, after);
        // The first hello of a starting peer, or one that shows that it does not know yet, deserves an answer at once.
        let answer = before != after || hello.heard.is_none_or(|h| h.boot_nonce != self.boot);
        Ok(Accepted {
            change,
            answer: answer && !leaving,
        })
    }

    /// Takes the adjacency down when its hold time is over; the change, if it did.
    ///
    /// Without a key it then forgets how far the peer had counted: one damaged hello with a high sequence would otherwise make
    /// all later ones look like replays until the peer restarts. With a key no damaged hello gets that far, and replays stay refused.
    pub fn expire(&self, adjacency: &Adjacency, now: u64) -> Option<(State, State)> {
        let live = &adjacency.live;
        if now.saturating_sub(live.heard.load(Relaxed)) <= live.hold.load(Relaxed) {
            return None;
        }
        if adjacency.config.key.is_none() {
            live.peer_sequence.store(0, Relaxed);
        }
        self.turn(adjacency, State::Down)
    }

    /// Sets the state, which forwarding reads; the change, if it was one. Two workers may do so at once: one of them changes.
    pub fn turn(&self, adjacency: &Adjacency, after: State) -> Option<(State, State)> {
        let live = &adjacency.live;
        let before = live.state.swap(after as u8, Relaxed);
        if before == after as u8 {
            return None;
        }
        live.changes.fetch_add(1, Relaxed);
        if after == State::Up {
            live.quality.begin();
        }
        Some((State::from_number(before), after))
    }
}

fn on_wire(state: State) -> HelloState {
    match state {
        State::Down => HelloState::Down,
        State::Init => HelloState::Init,
        State::Up => HelloState::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::adjacency;

    const A: Speaker = Speaker {
        node: NodeId(1),
        boot: 11,
        clock: CLOCK,
    };
    const B: Speaker = Speaker {
        node: NodeId(2),
        boot: 22,
        clock: CLOCK,
    };
    const CLOCK: Clock = Clock::ONE_GHZ;

    fn exchange(
        from: &Speaker,
        over: &Adjacency,
        to: &Speaker,
        at: &Adjacency,
        now: u64,
    ) -> Result<Accepted, HelloRefusal> {
        let hello = from.next(over, 1, now, Word::Alive);
        to.hear(at, 1, &hello.payload(), now)
    }

    #[test]
    fn two_way_before_up_and_down_after_the_hold_time() {
        let (at_a, at_b) = (adjacency(1, 2, None), adjacency(1, 1, None));
        let first = exchange(&A, &at_a, &B, &at_b, 1_000).expect("accepted");
        assert_eq!(first.change, Some((State::Down, State::Init)));
        assert!(first.answer && !at_b.is_up());
        exchange(&B, &at_b, &A, &at_a, 2_000).expect("accepted");
        assert!(at_a.is_up(), "B has heard A");
        exchange(&A, &at_a, &B, &at_b, 3_000).expect("accepted");
        assert!(at_b.is_up());
        let hold = CLOCK.from_ms(150);
        assert_eq!(A.expire(&at_a, 2_000 + hold), None);
        assert_eq!(
            A.expire(&at_a, 2_001 + hold),
            Some((State::Up, State::Down))
        );
        assert!(!at_a.is_up());
    }

    #[test]
    fn one_way_is_seen_by_both() {
        let (at_a, at_b) = (adjacency(1, 2, None), adjacency(1, 1, None));
        for now in 1..4 {
            let _ = exchange(&A, &at_a, &B, &at_b, now);
            let _ = exchange(&B, &at_b, &A, &at_a, now);
        }
        assert!(at_a.is_up() && at_b.is_up());
        // A no longer hears B, B still hears A: A's hellos say so, and B stops using the link.
        A.expire(&at_a, 10 + CLOCK.from_ms(150));
        exchange(&A, &at_a, &B, &at_b, 11 + CLOCK.from_ms(150)).expect("accepted");
        assert!(!at_b.is_up());
    }

    #[test]
    fn strangers_replays_and_false_macs_change_nothing() {
        let key = HelloKey {
            id: 3,
            secret: vec![7; 32],
        };
        let (at_a, at_b) = (
            adjacency(1, 2, Some(key.clone())),
            adjacency(1, 1, Some(key)),
        );
        let hello = A.next(&at_a, 1, 1, Word::Alive);
        let mut forged = hello;
        forged.mac[0] ^= 1;
        assert_eq!(
            B.hear(&at_b, 1, &forged.payload(), 1),
            Err(HelloRefusal::Mac)
        );
        let stranger = Hello {
            node: NodeId(9),
            ..hello
        };
        assert_eq!(
            B.hear(&at_b, 1, &stranger.payload(), 1),
            Err(HelloRefusal::WrongNode(NodeId(9)))
        );
        assert_eq!(
            B.hear(&at_b, 1, &hello.payload()[1..], 1),
            Err(HelloRefusal::Malformed)
        );
        assert_eq!(at_b.live.state(), State::Down);
        assert!(B.hear(&at_b, 1, &hello.payload(), 1).is_ok());
        assert_eq!(
            B.hear(&at_b, 1, &hello.payload(), 2),
            Err(HelloRefusal::Replayed)
        );
    }

    #[test]
    fn a_damaged_sequence_costs_one_hold_time_without_a_key() {
        for key in [
            None,
            Some(HelloKey {
                id: 3,
                secret: vec![7; 32],
            }),
        ] {
            let recovers = key.is_none();
            let (at_a, at_b) = (adjacency(1, 2, key.clone()), adjacency(1, 1, key));
            at_a.live.sequence.store(1 << 40, Relaxed);
            exchange(&A, &at_a, &B, &at_b, 1).expect("accepted");
            at_a.live.sequence.store(5, Relaxed);
            assert_eq!(
                exchange(&A, &at_a, &B, &at_b, 2),
                Err(HelloRefusal::Replayed)
            );
            let later = 2 + CLOCK.from_ms(150);
            assert_eq!(B.expire(&at_b, later), Some((State::Init, State::Down)));
            assert_eq!(exchange(&A, &at_a, &B, &at_b, later).is_ok(), recovers);
        }
    }

    #[test]
    fn a_pause_lets_the_next_process_go_on_unnoticed() {
        let (at_a, at_b) = (adjacency(1, 2, None), adjacency(1, 1, None));
        for now in 1..4 {
            let _ = exchange(&A, &at_a, &B, &at_b, now);
            let _ = exchange(&B, &at_b, &A, &at_a, now);
        }
        let pause = A.next(&at_a, 1, 5, Word::Pause);
        B.hear(&at_b, 1, &pause.payload(), 5).expect("accepted");
        assert_eq!(B.expire(&at_b, 5 + CLOCK.from_ms(PATIENCE_MS)), None);
        assert!(at_b.is_up());
        // The next process: same identity, the sequence goes on, and the hold time is the usual one again.
        let next = adjacency(1, 2, None);
        next.live.sequence.store(pause.sequence, Relaxed);
        let later = 5 + CLOCK.from_ms(400);
        exchange(&A, &next, &B, &at_b, later).expect("accepted");
        let hold = CLOCK.from_ms(150);
        assert!(B.expire(&at_b, later + hold + 1).is_some());
    }

    #[test]
    fn a_farewell_takes_the_link_down_at_once() {
        let (at_a, at_b) = (adjacency(1, 2, None), adjacency(1, 1, None));
        for now in 1..4 {
            let _ = exchange(&A, &at_a, &B, &at_b, now);
            let _ = exchange(&B, &at_b, &A, &at_a, now);
        }
        let farewell = A.next(&at_a, 1, 5, Word::Farewell);
        let accepted = B.hear(&at_b, 1, &farewell.payload(), 5).expect("accepted");
        assert_eq!(
            accepted,
            Accepted {
                change: Some((State::Up, State::Down)),
                answer: false
            }
        );
    }
}
