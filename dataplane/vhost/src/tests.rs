//! Both halves against a device in the same process, which is honest or not.

use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use proptest::prelude::*;

use crate::buffers::{Buffers, HEADER};
use crate::error::{Lie, VhostError};
use crate::fake::Fake;
use crate::memory::Memory;
use crate::receive::Receive;
use crate::ring::{NEXT, Places, Ring};
use crate::transmit::Transmit;

const SIZE: u16 = 8;
const BUFFER: usize = 64;
const MAX: usize = 200;

fn event() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()
}

fn parts() -> (Arc<Memory>, Places, Buffers) {
    let (places, end) = Places::new(0, SIZE);
    let buffers = Buffers {
        at: end.next_multiple_of(4_096),
        size: BUFFER,
    };
    let memory = Memory::new(buffers.place(SIZE).next_multiple_of(4_096)).unwrap();
    (Arc::new(memory), places, buffers)
}

fn transmit(by_index: bool) -> (Transmit, Fake) {
    let (memory, places, buffers) = parts();
    let ring = Ring::new(Arc::clone(&memory), places, SIZE, by_index);
    let fake = Fake::new(&memory, places, SIZE);
    let half = Transmit::new(ring, memory, buffers, MAX, event(), Arc::new(event()));
    (half.unwrap(), fake)
}

fn receive(by_index: bool) -> (Receive, Fake) {
    let (memory, places, buffers) = parts();
    let ring = Ring::new(Arc::clone(&memory), places, SIZE, by_index);
    let fake = Fake::new(&memory, places, SIZE);
    let half = Receive::new(ring, memory, buffers, MAX, event(), Arc::new(event()));
    let mut half = half.unwrap();
    half.give().unwrap();
    (half, fake)
}

/// The device takes a frame, and gives its buffers back.
fn pull(fake: &mut Fake) -> Option<Vec<u8>> {
    let head = fake.next()?;
    let (mut bytes, mut id) = (Vec::new(), head);
    loop {
        let (place, length, flags, next) = fake.described(id);
        let at = bytes.len();
        bytes.resize(at + length as usize, 0);
        fake.memory.read(place, &mut bytes[at..]).unwrap();
        if flags & NEXT == 0 {
            break;
        }
        id = next;
    }
    fake.put(head.into(), 0);
    fake.say(fake.used);
    assert_eq!(bytes[..HEADER], [0; HEADER]);
    Some(bytes[HEADER..].to_vec())
}

/// The device gives a frame, in as many buffers as it takes; false: it has too few.
fn give(fake: &mut Fake, frame: &[u8]) -> bool {
    let count = (HEADER + frame.len()).div_ceil(BUFFER);
    let mut bytes = vec![0; HEADER];
    bytes[10..].copy_from_slice(&(count as u16).to_le_bytes());
    bytes.extend_from_slice(frame);
    let seen = fake.seen;
    let ids: Vec<u16> = std::iter::from_fn(|| fake.next()).take(count).collect();
    if ids.len() < count {
        fake.seen = seen;
        return false;
    }
    for (id, part) in ids.iter().zip(bytes.chunks(BUFFER)) {
        let (place, length, ..) = fake.described(*id);
        assert_eq!(length as usize, BUFFER);
        fake.memory.write(place, part).unwrap();
        fake.put((*id).into(), part.len() as u32);
    }
    fake.say(fake.used);
    true
}

fn shown(receive: &mut Receive) -> Result<Vec<Vec<u8>>, VhostError> {
    let mut frames = Vec::new();
    receive.receive(&mut |frame| {
        frames.push(frame.to_vec());
        true
    })?;
    Ok(frames)
}

fn lie(result: Result<Vec<Vec<u8>>, VhostError>) -> Lie {
    match result {
        Err(VhostError::Lied(lie)) => lie,
        other => panic!("{other:?}"),
    }
}

fn frame(number: u32, length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at + number) as u8).collect()
}

#[test]
fn frames_arrive_as_they_were_over_more_than_all_indices() {
    for by_index in [false, true] {
        let (mut transmit, mut out) = transmit(by_index);
        let (mut receive, mut back) = receive(by_index);
        let mut number = 0;
        while number < 70_000 {
            let length = (number * 7 % 201) as usize;
            let sent = frame(number, length);
            let (head, tail) = sent.split_at(length / 3);
            assert!(transmit.push(&[head, &[], tail]).unwrap());
            transmit.flush().unwrap();
            let taken = pull(&mut out).unwrap();
            assert!(taken == sent, "{number}");
            assert!(give(&mut back, &taken));
            assert!(shown(&mut receive).unwrap() == [sent], "{number}");
            number += 1;
        }
    }
}

#[test]
fn a_full_ring_takes_no_more_and_tells_when_it_does() {
    for by_index in [false, true] {
        let (mut transmit, mut device) = transmit(by_index);
        // Three buffers each, eight in all.
        let long = frame(0, 140);
        assert!(transmit.push(&[&long]).unwrap());
        assert!(transmit.push(&[&long]).unwrap());
        assert!(!transmit.push(&[&long]).unwrap());
        assert!(transmit.push(&[b"short"]).unwrap(), "what fits still goes");
        transmit.flush().unwrap();
        assert!(transmit.arm().unwrap());
        if by_index {
            assert_eq!(device.wanted(), 0);
        }
        assert_eq!(pull(&mut device).unwrap(), long);
        assert!(transmit.push(&[&long]).unwrap());
        // One that came between the look and the asking.
        assert_eq!(pull(&mut device).unwrap(), long);
        let longest = frame(0, MAX + 1);
        let refused = transmit.push(&[&longest]);
        assert!(matches!(refused, Err(VhostError::TooLong { .. })));
    }
}

#[test]
fn the_device_is_woken_only_where_it_asks() {
    let (mut transmit, device) = transmit(true);
    device.want(2);
    for (frames, kicks) in [(1, 0), (1, 0), (1, 1), (3, 1)] {
        for _ in 0..frames {
            assert!(transmit.push(&[b"frame"]).unwrap());
        }
        transmit.flush().unwrap();
        assert_eq!(transmit.kicks(), kicks);
    }
    let (mut transmit, device) = self::transmit(false);
    for (flags, kicks) in [(1, 0), (0, 1), (1, 1)] {
        device.flags(flags);
        assert!(transmit.push(&[b"frame"]).unwrap());
        transmit.flush().unwrap();
        assert_eq!(transmit.kicks(), kicks);
    }
}

#[test]
fn arming_looks_once_more() {
    let (mut receive, mut device) = receive(true);
    assert!(receive.arm().unwrap());
    assert_eq!(device.wanted(), 0);
    assert!(give(&mut device, b"frame"));
    assert!(!receive.arm().unwrap(), "came before");
    assert_eq!(shown(&mut receive).unwrap(), [b"frame"]);
    assert!(receive.arm().unwrap());
    assert_eq!(device.wanted(), 1);
    // One that is held back is there, too.
    assert!(give(&mut device, b"frame"));
    assert_eq!(receive.receive(&mut |_| false).unwrap(), 0);
    assert!(!receive.arm().unwrap());
}

#[test]
fn a_frame_that_is_too_long_is_dropped_and_counted() {
    let (mut receive, mut device) = receive(true);
    for length in [MAX + 1, 300, MAX] {
        assert!(give(&mut device, &frame(1, length)));
        assert_eq!(
            shown(&mut receive).unwrap().len(),
            usize::from(length == MAX)
        );
    }
    assert_eq!(receive.too_long(), 2);
}

#[test]
fn a_device_that_lies_is_found_out() {
    let tell = |id: u32, length: u32, count: u16| {
        let (mut receive, mut device) = receive(true);
        let head = device.next().unwrap();
        let (place, ..) = device.described(head);
        let at = device.memory.u16(place + 10).unwrap();
        at.store(count, std::sync::atomic::Ordering::Relaxed);
        device.put(id, length);
        device.say(1);
        lie(shown(&mut receive))
    };
    assert_eq!(tell(u32::from(SIZE), 20, 1), Lie::Id);
    assert_eq!(tell(u32::MAX, 20, 1), Lie::Id);
    assert_eq!(tell(0, 11, 1), Lie::Length);
    assert_eq!(tell(0, 65, 1), Lie::Length);
    assert_eq!(tell(0, u32::MAX, 1), Lie::Length);
    assert_eq!(tell(0, 20, 0), Lie::Buffers);
    assert_eq!(tell(0, 20, 2), Lie::Buffers);

    let (mut receive, mut device) = receive(true);
    device.put(3, 20);
    device.say(SIZE + 1);
    assert_eq!(lie(shown(&mut receive)), Lie::Count);
    let (mut receive, device) = self::receive(true);
    device.say(u16::MAX);
    assert_eq!(lie(shown(&mut receive)), Lie::Count);

    // What it does not have: never lent, or given back before.
    let (mut transmit, mut device) = transmit(true);
    assert!(transmit.push(&[&frame(0, 100)]).unwrap());
    transmit.flush().unwrap();
    device.put(1, 0); // no head
    device.say(1);
    assert!(matches!(transmit.arm(), Err(VhostError::Lied(Lie::Id))));
    let (mut transmit, mut device) = self::transmit(true);
    for _ in 0..2 {
        assert!(transmit.push(&[b"frame"]).unwrap());
    }
    transmit.flush().unwrap();
    device.put(0, 0);
    device.put(0, 0);
    device.say(2);
    assert!(matches!(transmit.arm(), Err(VhostError::Lied(Lie::Id))));
}

proptest! {
    /// Whatever a device writes into the rings and the buffers: an error or a frame, never a panic, and never a loop without end.
    #[test]
    fn any_device_is_survived(
        writes in proptest::collection::vec((0_usize..8_192, any::<u32>(), any::<bool>()), 1..200),
        by_index: bool,
    ) {
        let (mut receive, device) = receive(by_index);
        let (mut transmit, other) = transmit(by_index);
        for (place, value, small) in writes {
            for fake in [&device, &other] {
                let at = place % (fake.memory.length() as usize - 4);
                // The rings more often than not, and small numbers, which are believed sooner.
                let at = if small { fake.places.used + at % 80 } else { at } & !3;
                let value = if small { value % 20 } else { value };
                fake.memory.write(at, &value.to_le_bytes()).unwrap();
            }
            let mut steps = 0;
            let looked = receive.receive(&mut |frame| {
                steps += 1;
                assert!(frame.len() <= MAX && steps < 1_000);
                steps % 3 != 0
            });
            if looked.is_ok() {
                let _ = receive.arm();
            }
            let _ = transmit.push(&[&[1; 150]]);
            let _ = transmit.flush();
            let _ = transmit.arm();
        }
    }
}
