//! The search for the highest loads that meet loss goals, by the rules of Multiple Loss Ratio search (RFC 9971): trials at a load
//! classify it for every goal at once, and the search ends when a lower and an upper bound are close.

/// Times of trials that differ by less than this are the same, s: sums of them are not exact.
const SAME: f64 = 1e-9;

/// What a load must achieve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Goal Loss Ratio: a trial that lost more is a High-Loss Trial.
    pub loss: f64,
    /// Goal Exceed Ratio: share of the time that High-Loss Trials may take; below 1.
    pub exceed: f64,
    /// Goal Duration Sum, s: Full-Length Trials at one load that decide in any case.
    pub sum: f64,
    /// Goal Final Trial Duration, s: shorter trials are Short Trials.
    pub trial: f64,
    /// Goal Width: distance of the bounds, relative to the upper one, at which the search ends.
    pub width: f64,
}

/// One trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Intended load, frames per second.
    pub load: f64,
    /// Trial Duration, s.
    pub duration: f64,
    /// Lost, or never sent, of the intended.
    pub loss: f64,
}

/// What trials say about a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The goal is met.
    Lower,
    /// It is not.
    Upper,
    /// More trials are needed.
    Undecided,
}

impl Goal {
    /// Load Classification of the trials in `samples` that were made at `load`: the share of High-Loss time at best and at worst, if
    /// what is missing to the Duration Sum turned out well or badly.
    pub fn classify(&self, samples: &[Sample], load: f64) -> Class {
        let sum = |full: bool, high: bool| -> f64 {
            samples
                .iter()
                .filter(|s| s.load == load)
                .filter(|s| (s.duration >= self.trial) == full && (s.loss > self.loss) == high)
                .map(|s| s.duration)
                .sum()
        };
        // Good Short Trials only outweigh bad ones; bad ones that are left count in full.
        let balancing = sum(false, false) * self.exceed / (1.0 - self.exceed);
        let excess = (sum(false, true) - balancing).max(0.0);
        let high = sum(true, true) + excess;
        let full = sum(true, false) + high;
        let whole = full.max(self.sum);
        let worst = high + (whole - full);
        if worst <= whole * self.exceed + SAME {
            Class::Lower
        } else if high > whole * self.exceed + SAME {
            Class::Upper
        } else {
            Class::Undecided
        }
    }

    /// Relevant Lower and Upper Bound: the lowest load that is too much, and the highest below it that is not.
    pub fn bounds(&self, samples: &[Sample]) -> (Option<f64>, Option<f64>) {
        let of = |class: Class| {
            samples
                .iter()
                .map(|s| s.load)
                .filter(move |load| self.classify(samples, *load) == class)
        };
        let upper = of(Class::Upper).min_by(f64::total_cmp);
        let lower = of(Class::Lower)
            .filter(|load| upper.is_none_or(|upper| *load < upper))
            .max_by(f64::total_cmp);
        (lower, upper)
    }

    /// Conditional Throughput at the lower bound `load`: what is still forwarded in the worst Full-Length Trial that the Exceed Ratio
    /// does not forgive, frames per second.
    pub fn throughput(&self, samples: &[Sample], load: f64) -> f64 {
        let mut full: Vec<&Sample> = samples
            .iter()
            .filter(|s| s.load == load && s.duration >= self.trial)
            .collect();
        full.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let whole: f64 = full.iter().map(|s| s.duration).sum();
        let mut left = whole.max(self.sum) * (1.0 - self.exceed);
        let mut loss = 1.0;
        for sample in full {
            if left <= SAME {
                break;
            }
            loss = sample.loss;
            left -= sample.duration;
        }
        if left > SAME {
            loss = 1.0; // too few trials to say
        }
        load * (1.0 - loss)
    }

    fn is_narrow(&self, lower: f64, upper: f64) -> bool {
        (upper - lower) / upper <= self.width
    }
}

/// The search for all goals: says which load to try next.
#[derive(Debug)]
pub struct Search {
    goals: Vec<Goal>,
    least: f64,
    most: f64,
    start: f64,
    samples: Vec<Sample>,
    step: f64,
    /// The goal and load that are under trial.
    current: Option<(usize, f64)>,
}

impl Search {
    /// Between the loads `least` and `most`, beginning at `start`, frames per second.
    pub fn new(goals: Vec<Goal>, least: f64, most: f64, start: f64) -> Search {
        Search {
            goals,
            least,
            most,
            start: start.clamp(least, most),
            samples: Vec::new(),
            step: 0.0,
            current: None,
        }
    }

    /// The load of the next trial; none: all goals have their bounds.
    pub fn next(&mut self) -> Option<f64> {
        if let Some((goal, load)) = self.current
            && self.goals[goal].classify(&self.samples, load) == Class::Undecided
        {
            return Some(load);
        }
        let before = self.current.map(|(goal, _)| goal);
        for (number, goal) in self.goals.clone().into_iter().enumerate() {
            if before != Some(number) {
                self.step = goal.width * 2.0;
            }
            if let Some(load) = self.candidate(&goal) {
                self.current = Some((number, load));
                return Some(load);
            }
        }
        self.current = None;
        None
    }

    /// Takes what a trial at the load that was asked for brought.
    pub fn take(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// All trials.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn candidate(&mut self, goal: &Goal) -> Option<f64> {
        let (lower, upper) = goal.bounds(&self.samples);
        let step = self.step;
        // Steps double, because the first guess may be far off.
        match (lower, upper) {
            (None, None) => Some(self.start),
            (Some(lower), None) => {
                self.step *= 2.0;
                (lower < self.most).then(|| (lower * (1.0 + step)).min(self.most))
            }
            (None, Some(upper)) => {
                self.step = (self.step * 2.0).min(0.5);
                (upper > self.least).then(|| (upper * (1.0 - step)).max(self.least))
            }
            (Some(lower), Some(upper)) => {
                (!goal.is_narrow(lower, upper)).then(|| (lower * upper).sqrt())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(groups: &[(usize, f64, f64)]) -> Vec<Sample> {
        groups
            .iter()
            .flat_map(|(count, duration, loss)| {
                let sample = Sample {
                    load: 1e6,
                    duration: *duration,
                    loss: *loss,
                };
                std::iter::repeat_n(sample, *count)
            })
            .collect()
    }

    fn goal(trial: f64, sum: f64, loss: f64, exceed: f64) -> Goal {
        Goal {
            loss,
            exceed,
            sum,
            trial,
            width: 0.01,
        }
    }

    /// The example that RFC 9971 carries through six points in time, with its four goals. By its own code, and here, the last goal's
    /// load stays an upper bound at points 5 and 6, where 42.9 and 27.3 % of the time exceed its 20 %; its tables say lower bound.
    #[test]
    fn loads_are_classified_as_in_the_example_of_the_rfc() {
        use Class::{Lower, Undecided, Upper};
        let goals = [
            goal(60.0, 60.0, 0.0, 0.0),
            goal(60.0, 120.0, 0.0, 0.5),
            goal(1.0, 120.0, 0.005, 0.5),
            goal(60.0, 60.0, 0.005, 0.2),
        ];
        let groups = [
            (59, 1.0, 0.0),
            (1, 1.0, 0.01),
            (59, 1.0, 0.01),
            (1, 1.0, 0.0),
            (1, 60.0, 0.001),
            (1, 60.0, 0.0),
        ];
        let expected = [
            [Undecided, Undecided, Undecided, Undecided],
            [Upper, Undecided, Undecided, Undecided],
            [Upper, Undecided, Undecided, Upper],
            [Upper, Undecided, Lower, Upper],
            [Upper, Undecided, Lower, Upper],
            [Upper, Lower, Lower, Upper],
        ];
        for (point, expected) in expected.iter().enumerate() {
            let samples = samples(&groups[..=point]);
            let classes = goals.map(|goal| goal.classify(&samples, 1e6));
            assert_eq!(classes, *expected, "point {}", point + 1);
        }
        let all = samples(&groups);
        let throughput = |number: usize| goals[number].throughput(&all, 1e6);
        assert_eq!((throughput(1), throughput(2)), (1e6, 1e6));
        assert!((throughput(3) - 999_000.0).abs() < 1e-6);
    }

    fn run(search: &mut Search, loss_at: impl Fn(f64, usize) -> f64) -> usize {
        let mut trials = 0;
        while let Some(load) = search.next() {
            trials += 1;
            assert!(trials < 1_000, "the search does not end");
            search.take(Sample {
                load,
                duration: 1.0,
                loss: loss_at(load, trials),
            });
        }
        trials
    }

    #[test]
    fn both_goals_find_where_loss_begins() {
        let goals = vec![goal(1.0, 5.0, 0.0, 0.5), goal(1.0, 5.0, 0.005, 0.5)];
        // From 2.0 Mpps on all that is more is lost; every seventh trial is disturbed.
        let loss = |load: f64, trial: usize| {
            let disturbed = if trial.is_multiple_of(7) { 0.02 } else { 0.0 };
            (1.0 - 2e6 / load).max(0.0) + disturbed
        };
        for start in [1e5, 1.9e6, 2.5e6, 9e6] {
            let mut search = Search::new(goals.clone(), 1e4, 1e7, start);
            let trials = run(&mut search, loss);
            let (lower, upper) = goals[0].bounds(search.samples());
            let (lower, upper) = (lower.expect("lower"), upper.expect("upper"));
            assert!(lower <= 2e6 && upper > 2e6 && upper / lower < 1.011);
            let (lower, _) = goals[1].bounds(search.samples());
            let lower = lower.expect("a lower bound");
            assert!((1.98e6..=2e6 / 0.995).contains(&lower), "{lower}");
            assert!(trials < 110, "{trials} trials from {start}");
        }
    }

    #[test]
    fn a_search_without_a_bound_ends() {
        let goals = vec![goal(1.0, 1.0, 0.0, 0.5)];
        let mut search = Search::new(goals.clone(), 1e3, 1e6, 1e5);
        run(&mut search, |_, _| 0.0);
        assert_eq!(goals[0].bounds(search.samples()), (Some(1e6), None));
        let mut search = Search::new(goals.clone(), 1e3, 1e6, 1e5);
        run(&mut search, |_, _| 1.0);
        assert_eq!(goals[0].bounds(search.samples()), (None, Some(1e3)));
    }

    #[test]
    fn a_goal_that_forgives_no_trial_takes_its_worst_one_whatever_sums_are_rounded_to() {
        for (count, trial) in [(3, 0.2), (5, 0.1), (10, 0.1), (5, 0.2), (4, 0.5), (7, 0.3)] {
            let (load, goal) = (1e6, goal(trial, count as f64 * trial, 0.0, 0.0));
            let good = samples(&[(count, trial, 0.0)]);
            assert_eq!(
                goal.classify(&good, load),
                Class::Lower,
                "{count} of {trial}"
            );
            assert_eq!(goal.throughput(&good, load), load, "{count} of {trial}");
            let too_few = samples(&[(count - 1, trial, 0.0)]);
            assert_eq!(goal.classify(&too_few, load), Class::Undecided);
            assert_eq!(goal.throughput(&too_few, load), 0.0);
            let bad = samples(&[(count, trial, 0.0), (1, trial, 0.25)]);
            assert_eq!(goal.classify(&bad, load), Class::Upper);
            assert_eq!(goal.throughput(&bad, load), 0.75 * load);
        }
    }
}
