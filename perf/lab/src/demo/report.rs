//! What a step measured, and which of its bounds did not hold.

use serde_json::{Map, Value};

/// Collects figures and problems of one step.
#[derive(Debug, Default)]
pub struct Report {
    figures: Map<String, Value>,
    line: Vec<String>,
    problems: Vec<String>,
}

impl Report {
    /// A figure for people and for demo.json.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.line.push(format!("{name} {text}"));
        self.detail(name, value);
    }

    /// A figure for demo.json only.
    pub fn detail(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.replace(' ', "_"), value.into());
    }

    /// A time in ms, rounded to what can be told apart.
    pub fn milliseconds(&mut self, name: &str, ms: f64) {
        self.line.push(format!("{name} {ms:.2} ms"));
        self.detail(&format!("{name} ms"), (ms * 1000.0).round() / 1000.0);
    }

    /// A bound: `problem` says what did not hold.
    pub fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// All figures.
    #[must_use]
    pub fn figures(&self) -> Map<String, Value> {
        self.figures.clone()
    }

    /// The figures for people.
    #[must_use]
    pub fn line(&self) -> String {
        self.line.join(", ")
    }

    /// What did not hold, if anything.
    #[must_use]
    pub fn problems(&self) -> Option<String> {
        (!self.problems.is_empty()).then(|| self.problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_problems_are_kept_apart() {
        let mut report = Report::default();
        report.figure("lost", 0);
        report.milliseconds("p50", 0.1234);
        report.require(true, || "never".into());
        assert_eq!(report.problems(), None);
        report.require(false, || "wrong 3, allowed 0".into());
        assert_eq!(report.line(), "lost 0, p50 0.12 ms");
        assert_eq!(report.figures()["p50_ms"], 0.123);
        assert_eq!(report.problems().unwrap(), "wrong 3, allowed 0");
    }
}
