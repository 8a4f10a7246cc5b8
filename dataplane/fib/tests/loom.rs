//! QSBR in every interleaving that the memory model allows, with workers that sleep and wake.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p dmsc-fib --release --test loom`, half a minute;
//! with `LOOM_MAX_PREEMPTIONS=3` before it, which finds the same mistakes, a second.
#![cfg(loom)]

use dmsc_fib::qsbr::{self, Publisher, Reader};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The model checker's view of one generation: readers read the cell, the destructor writes it, and a
/// read that is not ordered before that write fails the model. The cells outlive the values.
struct Tracked {
    cells: Arc<Vec<UnsafeCell<bool>>>,
    index: usize,
}

// SAFETY: whether the cell is used by one thread at a time is what the model checks.
unsafe impl Send for Tracked {}
// SAFETY: see above.
unsafe impl Sync for Tracked {}

impl Tracked {
    fn cells(count: usize) -> Arc<Vec<UnsafeCell<bool>>> {
        Arc::new((0..count).map(|_| UnsafeCell::new(false)).collect())
    }

    fn new(cells: &Arc<Vec<UnsafeCell<bool>>>, index: usize) -> Self {
        // SAFETY: the pointer is valid for the closure; a reader that is not ordered after this
        // publication fails the model.
        cells[index].with_mut(|alive| unsafe { *alive = true });
        Self {
            cells: Arc::clone(cells),
            index,
        }
    }

    fn check(&self) -> usize {
        // SAFETY: the pointer is valid for the closure; the model fails if it is written meanwhile.
        self.cells[self.index].with(|alive| assert!(unsafe { *alive }, "used after it was freed"));
        self.index
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // SAFETY: the pointer is valid for the closure; the model fails if it is read meanwhile.
        self.cells[self.index].with_mut(|alive| unsafe { *alive = false });
    }
}

fn burst(reader: &mut Reader<Tracked>, last: usize) -> usize {
    let value = reader.enter();
    let seen = value.check();
    assert!(seen >= last, "went back");
    value.check();
    reader.quiescent();
    seen
}

fn publish(publisher: &mut Publisher<Tracked>, cells: &Arc<Vec<UnsafeCell<bool>>>, index: usize) {
    publisher.publish(Tracked::new(cells, index));
    publisher.reclaim();
}

/// A worker that polls while two generations are published.
#[test]
fn polling() {
    loom::model(|| {
        let cells = Tracked::cells(3);
        let mut publisher = qsbr::channel(Tracked::new(&cells, 0), 1);
        let mut reader = publisher.reader().unwrap();
        let worker = thread::spawn(move || {
            let first = burst(&mut reader, 0);
            burst(&mut reader, first);
        });
        publish(&mut publisher, &cells, 1);
        publish(&mut publisher, &cells, 2);
        worker.join().unwrap();
        publisher.reclaim();
        assert_eq!(publisher.waiting(), 0);
    });
}

/// A worker that sleeps between two bursts, so that the publisher may pass it, and wakes.
#[test]
fn sleeping_and_waking() {
    loom::model(|| {
        let cells = Tracked::cells(3);
        let mut publisher = qsbr::channel(Tracked::new(&cells, 0), 1);
        let mut reader = publisher.reader().unwrap();
        let worker = thread::spawn(move || {
            let first = burst(&mut reader, 0);
            reader.offline();
            reader.online();
            let value = reader.enter();
            assert!(value.check() >= first, "went back");
            value.check();
            reader.offline();
        });
        publish(&mut publisher, &cells, 1);
        publish(&mut publisher, &cells, 2);
        worker.join().unwrap();
        publisher.reclaim();
        assert_eq!(publisher.waiting(), 0, "a sleeping worker holds nothing");
    });
}

/// Two workers, one of which wakes while the other polls.
#[test]
fn two_workers() {
    loom::model(|| {
        let cells = Tracked::cells(2);
        let mut publisher = qsbr::channel(Tracked::new(&cells, 0), 2);
        let mut polling = publisher.reader().unwrap();
        let mut waking = publisher.reader().unwrap();
        let workers = [
            thread::spawn(move || {
                burst(&mut polling, 0);
            }),
            thread::spawn(move || {
                burst(&mut waking, 0);
                waking.offline();
            }),
        ];
        publish(&mut publisher, &cells, 1);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// The publisher leaves first; the last worker frees what is left.
#[test]
fn publisher_leaves_first() {
    loom::model(|| {
        let cells = Tracked::cells(2);
        let mut publisher = qsbr::channel(Tracked::new(&cells, 0), 1);
        let mut reader = publisher.reader().unwrap();
        let worker = thread::spawn(move || {
            burst(&mut reader, 0);
        });
        publish(&mut publisher, &cells, 1);
        drop(publisher);
        worker.join().unwrap();
        // SAFETY: no thread is left.
        cells
            .iter()
            .for_each(|cell| cell.with(|alive| assert!(!unsafe { *alive }, "leaked")));
    });
}
