//! Where the calls of one gateway to one service group are to go: a pure function of what is known of each choice.

use std::collections::HashMap;
use std::time::Duration;

use dmsc_wire::NodeId;

use crate::pair::LinkKey;

/// All of a gateway's calls to a group, in the unit of shares.
pub const WHOLE: u16 = 1_000;
/// Of what a link has left at most this much is given away at once, percent.
const GIVE_AWAY: u64 = 90;
/// How long traffic that was sent over a link is held against what it advertises: until the counters there have seen it.
const PROMISE: Duration = Duration::from_secs(3);
/// Links that are remembered before those are forgotten whose traffic has been seen.
const LINKS: usize = 4_096;
/// Links by delay were not planned for the traffic of lower classes: a way there must be better than one by metric by this part …
const DETOUR: f64 = 0.1;
/// … and by this much, µs: what is measured beneath it is chance.
const DETOUR_US: f64 = 1_000.0;
/// If all is to be avoided, what misses less is taken if it does so by this factor …
const MATERIAL: f64 = 0.6;
/// … and by this much.
const MATERIAL_SHARE: f64 = 0.1;

/// What is known of one member on one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Whose way it is.
    pub member: NodeId,
    /// Share that it has now, of [`WHOLE`].
    pub now: u16,
    /// Share that plain routes give it.
    pub plain: u16,
    /// By the topology of least delay, whatever the class.
    pub by_delay: bool,
    /// A recent report says how it is.
    pub known: bool,
    /// The alarm of its way is raised, or the member is draining.
    pub avoid: bool,
    /// No alarm, and none of the reports in its window is bad.
    pub clean: bool,
    /// Two-way delay, smoothed, µs.
    pub delay_us: u32,
    /// Share of its probes that were lost or beyond the delay threshold, smoothed.
    pub misses: f64,
    /// Left on the way, kbit/s.
    pub available_kbps: u64,
    /// On which link that is.
    pub narrowest: LinkKey,
    /// Load of the member, thousandths.
    pub load_permille: u32,
    /// The alarm of its load is raised.
    pub overloaded: bool,
    /// Load that it is to have at most, thousandths; 0: no limit.
    pub load_limit: u32,
}

impl Candidate {
    /// Less is better: measured latency, and what queueing at the member makes of it as it fills (1 / (1 − load)).
    #[must_use]
    pub fn score(&self) -> f64 {
        self.score_at(self.delay_us.into())
    }

    fn score_at(&self, delay_us: f64) -> f64 {
        let room = 1.0 - f64::from(self.load_permille.min(950)) / 1_000.0;
        delay_us / room
    }

    /// The score for the order in which places are filled.
    fn rank(&self) -> f64 {
        let delay_us = f64::from(self.delay_us);
        match self.by_delay {
            false => self.score(),
            true => self.score_at(delay_us + (delay_us * DETOUR).max(DETOUR_US)),
        }
    }

    fn usable(&self) -> bool {
        self.known && !self.avoid
    }

    /// Of a share `now` what keeps the member's load within its limit, if load follows share.
    fn most(&self, now: u16) -> u16 {
        if self.load_limit == 0 || self.load_permille == 0 {
            return WHOLE;
        }
        let now = u64::from(now.max(100));
        let most = now * u64::from(self.load_limit) / u64::from(self.load_permille);
        u16::try_from(most).unwrap_or(WHOLE).min(WHOLE)
    }
}

/// How much more members can do: what moves from one way of a member to the other changes nothing for it.
struct Capacity<'a> {
    candidates: &'a [Candidate],
}

impl Capacity<'_> {
    /// Of all ways of the member of `at`.
    fn sum(&self, at: usize, of: impl Fn(usize) -> u16) -> u16 {
        let member = self.candidates[at].member;
        let own = (0..self.candidates.len()).filter(|&one| self.candidates[one].member == member);
        own.fold(0, |sum: u16, one| sum.saturating_add(of(one)))
    }

    /// What the member of `at` has now, on all its ways.
    fn now(&self, at: usize) -> u16 {
        self.sum(at, |one| self.candidates[one].now)
    }

    /// What the member of `at`, which is not overloaded, can have on all its ways: what it has, or more if its load says so.
    fn most(&self, at: usize) -> u16 {
        let now = self.now(at);
        self.candidates[at].most(now).max(now)
    }

    /// What it can be given besides what `shares` gives it. One without any share says nothing of what a share costs it.
    fn left(&self, at: usize, shares: &[u16]) -> u16 {
        let most = match self.now(at) {
            0 => WHOLE,
            _ => self.most(at),
        };
        most.saturating_sub(self.sum(at, |one| shares[one]))
    }
}

/// Traffic that was sent over links lately, and that their counters may not show yet.
#[derive(Debug, Default)]
pub struct Promises(HashMap<LinkKey, Vec<(Duration, u64)>>);

impl Promises {
    /// What is left for more, kbit/s.
    #[must_use]
    pub fn left(&self, now: Duration, candidate: &Candidate) -> u64 {
        if !candidate.narrowest.is_known() {
            return u64::MAX;
        }
        let promised: u64 = self.0.get(&candidate.narrowest).map_or(0, |all| {
            all.iter()
                .filter(|(until, _)| *until > now)
                .map(|(_, kbps)| kbps)
                .sum()
        });
        let give = u128::from(candidate.available_kbps) * u128::from(GIVE_AWAY) / 100;
        u64::try_from(give)
            .unwrap_or(u64::MAX)
            .saturating_sub(promised)
    }

    /// This much more goes over a candidate's narrowest link.
    pub fn add(&mut self, now: Duration, candidate: &Candidate, kbps: u64) {
        if candidate.narrowest.is_known() && kbps > 0 {
            if self.0.len() >= LINKS {
                self.0
                    .retain(|_, all| all.iter().any(|(until, _)| *until > now));
            }
            let all = self.0.entry(candidate.narrowest).or_default();
            all.retain(|(until, _)| *until > now);
            all.push((now + PROMISE, kbps));
        }
    }
}

/// Shares to aim at, one per candidate, [`WHOLE`] in sum as those of now are. Where nothing better is known, those of now.
#[must_use]
pub fn target(
    candidates: &[Candidate],
    rate_kbps: u64,
    now: Duration,
    promises: &Promises,
) -> Vec<u16> {
    let mut shares: Vec<u16> = candidates.iter().map(|c| c.now).collect();
    let mut loose = 0u16;
    // Off what is to be avoided, and off what members cannot do.
    for (share, candidate) in shares.iter_mut().zip(candidates) {
        let keep = match () {
            () if candidate.avoid => 0,
            () if candidate.overloaded => (*share).min(candidate.most(*share)),
            () => *share,
        };
        loose += *share - keep;
        *share = keep;
    }
    let off_plain = shares
        .iter()
        .zip(candidates)
        .any(|(share, c)| *share > c.plain);
    let mut room: Vec<u64> = candidates
        .iter()
        .map(|candidate| fits(promises.left(now, candidate), rate_kbps))
        .collect();
    let capacity = Capacity { candidates };
    // Home first: what plain routes would do, where that is good again.
    if loose > 0 || off_plain {
        for at in 0..candidates.len() {
            let candidate = &candidates[at];
            let home = candidate.plain.min(capacity.most(at));
            if !candidate.usable() || !candidate.clean || candidate.overloaded || home <= shares[at]
            {
                continue;
            }
            let mut wanted = u16::try_from(room[at])
                .unwrap_or(WHOLE)
                .min(home - shares[at]);
            let from_loose = wanted.min(loose).min(capacity.left(at, &shares));
            loose -= from_loose;
            shares[at] += from_loose;
            occupy(candidates, &mut room, at, from_loose);
            wanted -= from_loose;
            for other in 0..candidates.len() {
                let more = shares[other].saturating_sub(candidates[other].plain);
                let most = match candidates[other].member == candidate.member {
                    true => wanted,
                    false => wanted.min(capacity.left(at, &shares)),
                };
                let take = most.min(more);
                if other != at && take > 0 {
                    shares[other] -= take;
                    shares[at] += take;
                    occupy(candidates, &mut room, at, take);
                    wanted -= take;
                }
            }
        }
    }
    spread(candidates, &mut shares, &mut loose, &mut room);
    if loose > 0 {
        settle(candidates, &mut shares, loose);
    }
    shares
}

/// The best that is clean takes what fits, then the next.
fn spread(candidates: &[Candidate], shares: &mut [u16], loose: &mut u16, room: &mut [u64]) {
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|&at| {
            let candidate = &candidates[at];
            candidate.usable() && candidate.clean && !candidate.overloaded
        })
        .collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&candidates[a], &candidates[b]);
        a.rank().total_cmp(&b.rank())
    });
    for at in order {
        let take = (*loose)
            .min(u16::try_from(room[at]).unwrap_or(WHOLE))
            .min(Capacity { candidates }.left(at, shares));
        shares[at] += take;
        occupy(candidates, room, at, take);
        *loose -= take;
    }
}

/// A share over one candidate's narrowest link takes room from all whose narrowest link that is.
fn occupy(candidates: &[Candidate], room: &mut [u64], at: usize, share: u16) {
    let link = candidates[at].narrowest;
    for (other, (candidate, room)) in candidates.iter().zip(room).enumerate() {
        if other == at || link.is_known() && candidate.narrowest == link {
            *room = room.saturating_sub(share.into());
        }
    }
}

/// What found no place stays where it is, or goes to what is to be avoided as well but misses materially less. What is clean has as much already as it has
/// room for.
fn settle(candidates: &[Candidate], shares: &mut [u16], mut loose: u16) {
    let full = |candidate: &Candidate| candidate.usable() && candidate.clean;
    let least = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.known && !candidate.overloaded && !full(candidate))
        .min_by(|a, b| a.1.misses.total_cmp(&b.1.misses))
        .map(|(at, candidate)| (at, candidate.misses));
    let kept = shares.to_vec();
    for (at, (candidate, kept)) in candidates.iter().zip(kept).enumerate() {
        let back = candidate.now.saturating_sub(kept).min(loose);
        loose -= back;
        let better = |misses: f64| {
            let limit = (candidate.misses * MATERIAL).min(candidate.misses - MATERIAL_SHARE);
            candidate.avoid && misses < limit
        };
        match least {
            Some((to, misses)) if better(misses) => shares[to] += back,
            _ => shares[at] += back,
        }
    }
}

/// How much of a gateway's traffic fits into a bandwidth, in the unit of shares.
fn fits(kbps: u64, rate_kbps: u64) -> u64 {
    match rate_kbps {
        0 => WHOLE.into(),
        rate => u64::try_from(u128::from(kbps) * u128::from(WHOLE) / u128::from(rate))
            .unwrap_or(u64::MAX)
            .min(WHOLE.into()),
    }
}

/// Of the way from `now` to `target` as much as moves at most `most` of [`WHOLE`], in the order of the candidates; the sum stays.
#[must_use]
pub fn step(now: &[u16], target: &[u16], most: u16) -> Vec<u16> {
    let (mut take, mut give) = (most, most);
    let each = now.iter().zip(target).map(|(&from, &to)| {
        let less = from.saturating_sub(to).min(take);
        let more = to.saturating_sub(from).min(give);
        take -= less;
        give -= more;
        from - less + more
    });
    each.collect()
}

/// How much moves between two sets of shares, of [`WHOLE`].
#[must_use]
pub fn moved(from: &[u16], to: &[u16]) -> u16 {
    from.iter()
        .zip(to)
        .map(|(from, to)| to.saturating_sub(*from))
        .sum()
}
