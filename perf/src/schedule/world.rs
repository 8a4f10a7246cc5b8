//! The links as they are at a moment, and what a packet meets on them: light, queues, what a brown-out adds.

use super::network::Direction;
use super::services::{CAPACITY_KBPS, Services, Way};
use crate::prng::Prng;

/// Mean queueing of a half-full link, µs; grows as ρ / (1 − ρ).
const QUEUE_US: f64 = 20.0;
/// A full queue, µs.
const FULL_US: f64 = 50_000.0;
/// What hosts add, mean, µs.
const HOST_US: f64 = 200.0;

/// What a brown-out does to a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// On the round trip, µs.
    Delay(f64),
    /// Uniform from nothing to this on the round trip, µs.
    Jitter(f64),
    /// Other traffic, kbit/s, in each direction.
    Filled(f64),
}

/// A fault on a link; in force or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrownOut {
    pub link: usize,
    pub fault: Fault,
}

/// What a way does to a packet: fixed, a queueing part of this mean, jitter that many times, and loss.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct State {
    pub fixed_us: f64,
    pub queue_us: f64,
    pub jitter_us: f64,
    pub jitters: u32,
    pub loss: f64,
}

/// Random numbers of one packet: the same whichever way it goes.
#[derive(Debug, Clone, Copy)]
pub struct Luck {
    queue: f64,
    jitter: [f64; 2],
    loss: f64,
}

impl Luck {
    pub fn draw(random: &mut Prng) -> Luck {
        Luck {
            queue: -(1.0 - unit(random)).ln(),
            jitter: [unit(random), unit(random)],
            loss: unit(random),
        }
    }
}

/// From 0 to below 1.
pub fn unit(random: &mut Prng) -> f64 {
    (random.bits() >> 11) as f64 / (1u64 << 53) as f64
}

impl State {
    /// Round trip, µs; `None`: lost.
    pub fn packet(&self, luck: &Luck) -> Option<f64> {
        if luck.loss < self.loss {
            return None;
        }
        let jitter: f64 = match self.jitters {
            0 => 0.0,
            1 => luck.jitter[0],
            _ => luck.jitter[0] + luck.jitter[1],
        };
        Some(self.fixed_us + (self.queue_us + HOST_US) * luck.queue + self.jitter_us * jitter)
    }

    /// Share of calls that miss a target: over a grid of luck.
    pub fn misses(&self, target_us: f64) -> f64 {
        if self.loss >= 1.0 {
            return 1.0;
        }
        let mut late = 0u32;
        const GRID: u32 = 8;
        let middle = |i: u32| (f64::from(i) + 0.5) / f64::from(GRID);
        for queue in 0..GRID {
            for first in 0..GRID {
                // The second jitter runs through the grid in another order.
                let second = (first * 3 + queue) % GRID;
                let luck = Luck {
                    queue: -(1.0 - middle(queue)).ln(),
                    jitter: [middle(first), middle(second)],
                    loss: 1.0,
                };
                late += u32::from(self.packet(&luck).is_some_and(|us| us > target_us));
            }
        }
        let late = f64::from(late) / f64::from(GRID * GRID);
        1.0 - (1.0 - self.loss) * (1.0 - late)
    }
}

/// Loads, and a fault.
#[derive(Debug, Clone)]
pub struct World {
    pub loads_kbps: Vec<f64>,
    pub fault: Option<BrownOut>,
}

impl World {
    /// What a direction carries in all.
    pub fn carried(&self, direction: Direction) -> f64 {
        let other = match self.fault {
            Some(BrownOut {
                link,
                fault: Fault::Filled(kbps),
            }) if link == direction.link() => kbps,
            _ => 0.0,
        };
        self.loads_kbps[direction.0] + other
    }

    /// What is left of a direction, kbit/s.
    pub fn left(&self, direction: Direction) -> f64 {
        (CAPACITY_KBPS - self.carried(direction)).max(0.0)
    }

    /// How a way is now.
    pub fn state(&self, way: &Way) -> State {
        let mut state = State {
            fixed_us: way.propagation_us,
            ..State::default()
        };
        let mut arrives = 1.0;
        for direction in way.there.iter().chain(&way.back) {
            let full = self.carried(*direction) / CAPACITY_KBPS;
            if full >= 1.0 {
                state.fixed_us += FULL_US;
                arrives /= full;
            } else {
                state.queue_us += (QUEUE_US * full / (1.0 - full)).min(FULL_US);
            }
            match self.fault {
                Some(BrownOut { link, fault }) if link == direction.link() => match fault {
                    Fault::Delay(us) => state.fixed_us += us / 2.0,
                    Fault::Jitter(us) => {
                        state.jitter_us = us / 2.0;
                        state.jitters += 1;
                    }
                    Fault::Filled(_) => {}
                },
                _ => {}
            }
        }
        state.loss = 1.0 - arrives;
        state
    }
}

/// A world and the states of all ways in it, computed again when something changed.
#[derive(Debug)]
pub struct Scene<'a> {
    services: &'a Services,
    pub world: World,
    pub states: Vec<State>,
}

impl<'a> Scene<'a> {
    pub fn new(services: &'a Services) -> Scene<'a> {
        let world = World {
            loads_kbps: services.plain_loads(),
            fault: None,
        };
        let mut scene = Scene {
            services,
            world,
            states: Vec::new(),
        };
        scene.refresh();
        scene
    }

    pub fn set_fault(&mut self, fault: Option<BrownOut>) {
        self.world.fault = fault;
        self.refresh();
    }

    /// Moves a caller's traffic from one set of shares to another.
    pub fn shift(&mut self, caller: usize, from: &[f64], to: &[f64]) {
        let caller = &self.services.callers[caller];
        for (way, (from, to)) in caller.choices.iter().zip(from.iter().zip(to)) {
            let kbps = (to - from) * caller.rate_kbps;
            if kbps != 0.0 {
                for direction in &self.services.ways[way.0].there {
                    let load = &mut self.world.loads_kbps[direction.0];
                    *load = (*load + kbps).max(0.0);
                }
            }
        }
    }

    /// To be called after loads were shifted.
    pub fn refresh(&mut self) {
        let ways = &self.services.ways;
        self.states = ways.iter().map(|way| self.world.state(way)).collect();
    }
}
