//! Open-loop load: every call has its time before the first is sent, and its latency counts from that time, so a slow network cannot
//! slow its own measurement down (coordinated omission). One thread, one socket, ppoll with ns timeouts, no allocation per call.

mod engine;
mod schedule;
mod summary;
mod template;
mod window;

pub use engine::{Engine, Outcome, Report, Sink};
pub use schedule::{Flows, Schedule};
pub use summary::{Responder, Summary, SummaryReport, instance_of};
pub use template::{Template, TemplateOptions};
pub use window::Window;
