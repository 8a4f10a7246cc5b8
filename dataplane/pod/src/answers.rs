//! How long calls took of which the gateway cannot tell what answers what: kept until it is told, once a second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dmsc_proto::{ANSWERED_CALLS as CALLS, ANSWERED_NAMES as NAMES, Latency, v1};
use dmsc_wire::NameBuf;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Between two times that the gateway is told.
const SPAN: Duration = Duration::from_secs(1);

/// Answers by the name that was called, not told yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    calls: Mutex<Calls>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Calls {
    by_name: HashMap<NameBuf, Latency>,
    /// When the gateway was told last.
    told: Option<Instant>,
}

impl Answers {
    /// One came after so long. Of more names than may be told at a time, the further ones are not.
    pub fn note(&self, name: &NameBuf, after: Duration) {
        let ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let mut calls = self.calls();
        let is_first = calls.by_name.is_empty();
        let has_room = calls.by_name.len() < NAMES;
        match calls.by_name.get_mut(name) {
            Some(latency) => latency.add(ns),
            None if has_room => calls.by_name.entry(name.clone()).or_default().add(ns),
            None => {}
        }
        drop(calls);
        if is_first {
            self.news.notify_one();
        }
    }

    /// Until there is something to tell, and the last time is long enough ago.
    pub async fn due(&self) {
        let told = loop {
            {
                let calls = self.calls();
                if !calls.by_name.is_empty() {
                    break calls.told;
                }
            }
            self.news.notified().await;
        };
        // The first calls are told with those of the second that they begin.
        sleep_until(told.map_or_else(|| Instant::now() + SPAN, |told| told + SPAN)).await;
    }

    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.calls().by_name.is_empty()
    }

    /// What is to be told.
    pub fn take(&self) -> HashMap<NameBuf, Latency> {
        let mut calls = self.calls();
        calls.told = Some(Instant::now());
        std::mem::take(&mut calls.by_name)
    }

    /// What was surely not heard is told the next time.
    pub fn put_back(&self, untold: HashMap<NameBuf, Latency>) {
        let mut calls = self.calls();
        for (name, latency) in untold {
            if calls.by_name.len() < NAMES || calls.by_name.contains_key(&name) {
                calls.by_name.entry(name).or_default().merge(&latency);
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Nothing that holds it panics half way.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the gateway is told.
pub(crate) fn to_proto(calls: &HashMap<NameBuf, Latency>) -> Vec<v1::AnsweredCalls> {
    let told = calls.iter().map(|(name, latency)| {
        let mut latency = latency.to_proto();
        for bucket in &mut latency {
            bucket.count = bucket.count.min(CALLS);
        }
        v1::AnsweredCalls {
            name: name.as_bytes().to_vec(),
            latency,
        }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::parse(text).expect("a name")
    }

    #[tokio::test(start_paused = true)]
    async fn told_once_a_second_and_again_if_it_failed() {
        let answers = Answers::default();
        let begin = Instant::now();
        answers.note(&name("/a"), Duration::from_micros(300));
        answers.note(&name("/a"), Duration::from_micros(310));
        answers.due().await;
        assert_eq!(begin.elapsed().as_secs(), 1);
        let first = answers.take();
        assert_eq!(first[&name("/a")].count(), 2);
        // Whoever waits and is asked to do something else has lost nothing.
        answers.note(&name("/b"), Duration::from_micros(9));
        tokio::select! {
            biased;
            () = answers.due() => panic!("told twice in a second"),
            () = tokio::task::yield_now() => {}
        }
        answers.put_back(first);
        answers.due().await;
        assert_eq!(begin.elapsed().as_secs(), 2);
        let second = to_proto(&answers.take());
        assert_eq!(second.len(), 2);
        let all = second.iter().flat_map(|one| &one.latency);
        assert_eq!(all.map(|bucket| bucket.count).sum::<u64>(), 3);
    }

    #[test]
    fn names_are_bounded() {
        let answers = Answers::default();
        let all: Vec<_> = (0..NAMES + 10).map(|n| name(&format!("/{n}"))).collect();
        for name in &all {
            answers.note(name, Duration::from_micros(1));
        }
        let taken = answers.take();
        assert_eq!(taken.len(), NAMES);
        answers.note(&name("/other"), Duration::from_micros(1));
        answers.put_back(taken);
        assert_eq!(answers.take().len(), NAMES);
    }
}
