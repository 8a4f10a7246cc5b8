//! Publication under load, with real threads that poll, sleep and leave.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use dmsc_fib::Generation;
use dmsc_fib::qsbr;

/// A value that is damaged when it is dropped, and counts drops.
struct Checked {
    halves: [u64; 2],
    dropped: Arc<AtomicUsize>,
}

impl Checked {
    fn new(n: u64, dropped: &Arc<AtomicUsize>) -> Self {
        Self {
            halves: [n, !n],
            dropped: Arc::clone(dropped),
        }
    }

    fn check(&self) -> u64 {
        assert_eq!(self.halves[0], !self.halves[1], "a freed or torn value");
        self.halves[0]
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.halves = [0xdead, 0xdead];
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn workers_that_poll_and_sleep_never_see_freed_values() {
    const PUBLICATIONS: u64 = 20_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut publisher = qsbr::channel(Checked::new(1, &dropped), 3);
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..3u64)
        .map(|id| {
            let mut reader = publisher.reader().unwrap();
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut last = 0;
                let mut bursts = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = reader.snapshot();
                    let seen = snapshot.check();
                    assert_eq!(Generation(seen), snapshot.generation());
                    assert!(seen >= last, "went back from {last} to {seen}");
                    last = seen;
                    assert_eq!(snapshot.check(), seen);
                    reader.quiescent();
                    bursts += 1;
                    if bursts.is_multiple_of(7 + id) {
                        reader.offline();
                        thread::yield_now();
                        reader.online();
                    }
                }
                bursts
            })
        })
        .collect();
    for n in 2..=PUBLICATIONS {
        assert_eq!(publisher.publish(Checked::new(n, &dropped)), Generation(n));
        publisher.reclaim();
        assert!(publisher.observed() <= publisher.generation());
        assert_eq!(publisher.current().check(), n);
        if n.is_multiple_of(100) {
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(worker.join().unwrap() > 0);
    }
    publisher.reclaim();
    assert_eq!(publisher.waiting(), 0);
    assert_eq!(dropped.load(Ordering::Relaxed) as u64, PUBLICATIONS - 1);
    drop(publisher);
    assert_eq!(dropped.load(Ordering::Relaxed) as u64, PUBLICATIONS);
}

#[test]
fn a_worker_holds_what_it_may_still_use() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut publisher = qsbr::channel(Checked::new(1, &dropped), 2);
    let mut reader = publisher.reader().unwrap();
    let freed = || dropped.load(Ordering::Relaxed);
    reader.enter();
    publisher.publish(Checked::new(2, &dropped));
    assert_eq!(
        (publisher.reclaim(), publisher.observed()),
        (0, Generation(1))
    );
    reader.quiescent(); // says 1, which it observed, although 2 is current
    assert_eq!((publisher.reclaim(), freed()), (0, 0));
    assert_eq!(reader.enter().check(), 2);
    assert_eq!(publisher.reclaim(), 0);
    reader.quiescent();
    assert_eq!(
        (publisher.reclaim(), freed(), publisher.observed()),
        (1, 1, Generation(2))
    );
    // Asleep, it holds nothing; awake again, it is not offered anything old.
    reader.enter();
    reader.offline();
    publisher.publish(Checked::new(3, &dropped));
    assert_eq!(
        (publisher.reclaim(), publisher.observed()),
        (1, Generation(3))
    );
    assert_eq!(reader.enter().check(), 3);
    assert!(reader.is_online());
    // The publisher may go first.
    publisher.publish(Checked::new(4, &dropped));
    drop(publisher);
    assert_eq!(reader.enter().check(), 4);
    assert_eq!(freed(), 2);
    drop(reader);
    assert_eq!(freed(), 4);
}

#[test]
fn readers_are_limited_and_come_back() {
    let publisher = qsbr::channel((), 2);
    let first = publisher.reader().unwrap();
    let second = publisher.reader().unwrap();
    assert_eq!((first.index(), second.index()), (0, 1));
    assert!(publisher.reader().is_none());
    drop(first);
    assert_eq!(publisher.reader().unwrap().index(), 0);
}

#[test]
fn a_worker_that_hangs_is_noticed_though_nothing_is_published() {
    let mut publisher = qsbr::channel((), 3);
    let mut readers: Vec<_> = (0..3).map(|_| publisher.reader().unwrap()).collect();
    let barrier = Arc::new(Barrier::new(2));
    let stop = Arc::new(AtomicBool::new(false));
    readers[0].enter(); // and hangs
    readers[1].enter();
    readers[1].offline(); // sleeps
    let polling = thread::spawn({
        let (mut reader, barrier, stop) =
            (readers.remove(2), Arc::clone(&barrier), Arc::clone(&stop));
        move || {
            barrier.wait();
            while !stop.load(Ordering::Relaxed) {
                reader.enter();
                reader.quiescent();
                thread::yield_now();
            }
        }
    });
    barrier.wait();
    let limit = Duration::from_millis(100);
    let start = Instant::now();
    let silent = loop {
        let silent = publisher.silent_readers(limit);
        if !silent.is_empty() || start.elapsed() > Duration::from_secs(10) {
            break silent;
        }
        thread::yield_now();
    };
    stop.store(true, Ordering::Relaxed);
    polling.join().unwrap();
    assert!(start.elapsed() >= limit);
    assert_eq!(silent, [0]);
    readers[0].quiescent();
    assert_eq!(publisher.silent_readers(limit), []);
}

#[test]
fn generations_go_on_where_another_process_stopped() {
    let mut publisher = qsbr::channel_at("taken over", 1, Generation(40));
    let mut reader = publisher.reader().unwrap();
    assert_eq!(publisher.generation(), Generation(40));
    assert_eq!(*reader.snapshot().get(), "taken over");
    reader.quiescent();
    assert_eq!(publisher.publish("next"), Generation(41));
    assert_eq!(publisher.observed(), Generation(40));
    assert_eq!(*reader.enter(), "next");
    reader.quiescent();
    assert_eq!(publisher.observed(), Generation(41));
    publisher.reclaim();
    assert_eq!(publisher.waiting(), 0);
    assert_eq!(
        qsbr::channel_at((), 1, Generation(0)).generation(),
        Generation(1)
    );
}
