//! Tells people how far a run is.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// A run that is shorter than this needs no lines, unless somebody watches.
const PATIENCE: Duration = Duration::from_secs(2);

/// A line per step on standard error, when that is a terminal or the run is longer than two seconds.
#[derive(Debug)]
pub struct Progress {
    what: String,
    steps: usize,
    done: usize,
    start: Instant,
    watched: bool,
}

impl Progress {
    /// Of a run of `steps` steps; 0: nobody knows how many.
    pub fn start(what: &str, steps: usize) -> Progress {
        Progress {
            what: what.into(),
            steps,
            done: 0,
            start: Instant::now(),
            watched: std::io::stderr().is_terminal(),
        }
    }

    /// The next step begins, or has just brought `what`.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        let elapsed = self.start.elapsed();
        if self.watched || elapsed > PATIENCE {
            eprintln!("{}", self.line(what, elapsed));
        }
    }

    fn line(&self, what: &str, elapsed: Duration) -> String {
        let of = match self.steps {
            0 => String::new(),
            steps => format!("/{steps}"),
        };
        let seconds = elapsed.as_secs();
        format!("{}: {}{of} ({seconds} s): {what}", self.what, self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far() {
        let mut progress = Progress::start("fib", 5);
        progress.done = 2;
        let line = progress.line("uniform", Duration::from_millis(7300));
        assert_eq!(line, "fib: 2/5 (7 s): uniform");
        progress.steps = 0;
        let line = progress.line("uniform", Duration::ZERO);
        assert_eq!(line, "fib: 2 (0 s): uniform");
    }
}
