//! Which flows stayed where they were when one of two neighbours died.

use std::collections::BTreeSet;
use std::collections::HashMap;

/// Where the packets of a flow arrived in one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// At the neighbour that dies or is dead.
    pub dying: u64,
    /// At the one that lives on.
    pub living: u64,
}

/// Arrivals in one phase, by flow label.
pub type Arrivals = HashMap<u32, Seen>;

/// What became of all flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flows {
    /// Flows of the living neighbour.
    pub of_living: u64,
    /// Of these, that did not all stay there.
    pub moved: u64,
    /// Flows of the dead one.
    pub of_dead: u64,
    /// Of these, that came to the living one.
    pub rescued: u64,
    /// Of neither before, and then of one of the two.
    pub strangers: u64,
}

impl Flows {
    /// From the phase before the death and that after it.
    pub fn between(early: &Arrivals, late: &Arrivals) -> Flows {
        let mut flows = Flows::default();
        let all: BTreeSet<u32> = early.keys().chain(late.keys()).copied().collect();
        for flow in all {
            let of = |phase: &Arrivals| phase.get(&flow).copied().unwrap_or_default();
            let (early, late) = (of(early), of(late));
            match early {
                Seen { dying: 1.., .. } => {
                    flows.of_dead += 1;
                    flows.rescued += u64::from(late.living > 0);
                }
                Seen { living: 1.., .. } => {
                    flows.of_living += 1;
                    flows.moved += u64::from(late.dying > 0 || late.living == 0);
                }
                _ => flows.strangers += 1,
            }
        }
        flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(all: &[(u32, u64, u64)]) -> Arrivals {
        all.iter()
            .map(|&(flow, dying, living)| (flow, Seen { dying, living }))
            .collect()
    }

    #[test]
    fn flows_of_the_living_stay_and_those_of_the_dead_come() {
        let early = arrivals(&[(1, 5, 0), (2, 4, 0), (3, 0, 5), (4, 0, 6)]);
        let late = arrivals(&[(1, 2, 3), (3, 0, 5), (4, 0, 1)]);
        let expected = Flows {
            of_living: 2,
            moved: 0,
            of_dead: 2,
            // Flow 2 went another way.
            rescued: 1,
            strangers: 0,
        };
        assert_eq!(Flows::between(&early, &late), expected);
    }

    #[test]
    fn what_moves_is_counted() {
        let early = arrivals(&[(1, 0, 5), (2, 0, 5), (3, 0, 5), (4, 1, 4)]);
        // One to the dead, one to nowhere, one stays, one was of both, and one was of neither.
        let late = arrivals(&[(1, 1, 4), (3, 0, 5), (4, 0, 5), (5, 0, 1)]);
        let expected = Flows {
            of_living: 3,
            moved: 2,
            of_dead: 1,
            rescued: 1,
            strangers: 1,
        };
        assert_eq!(Flows::between(&early, &late), expected);
    }
}
