//! One call as one line of JSON.

use std::time::SystemTime;

use dmsc_pod::Pin;
use serde::Serialize;
use time::OffsetDateTime;

use crate::record::AccessRecord;

#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, ms, UTC; of the beginning.
    ts: String,
    direction: &'static str,
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer: &'a str,
    name: Option<String>,
    instance: Option<Instance>,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    attempts: u32,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

#[derive(Serialize)]
struct Instance {
    gateway: u32,
    attachment: u16,
}

impl From<Pin> for Instance {
    fn from(pin: Pin) -> Self {
        Self {
            gateway: pin.gateway.0,
            attachment: pin.attachment.0,
        }
    }
}

/// With its end of line.
pub(super) fn of(record: &AccessRecord) -> String {
    let line = Line {
        ts: rfc3339(record.began),
        direction: record.direction.as_str(),
        pod: &record.pod,
        peer: &record.peer,
        name: record.name.as_ref().map(ToString::to_string),
        instance: record.instance.map(Into::into),
        protocol: record.protocol.as_str(),
        method: record.method.as_ref().map(http::Method::as_str),
        path: record.path.as_deref(),
        status: record.status,
        grpc_status: record.grpc_status,
        error: record.error,
        attempts: record.attempts,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        // µs are what is measured.
        duration_ms: (record.duration.as_secs_f64() * 1e6).round() / 1e3,
        trace_id: record
            .trace_id
            .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    // A line of strings and numbers is always JSON.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// Date and time, UTC, ms.
fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::{Direction, Protocol};
    use std::time::{Duration, UNIX_EPOCH};

    pub(crate) fn record() -> AccessRecord {
        AccessRecord {
            began: UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
            direction: Direction::Out,
            pod: "pod1/curl".into(),
            peer: "pod4/web".into(),
            name: Some("/shop/web".parse().unwrap()),
            instance: Some(Pin {
                gateway: dmsc_wire::NodeId(4),
                attachment: dmsc_wire::AttachmentId(9),
            }),
            protocol: Protocol::Http1,
            method: Some(http::Method::GET),
            path: Some("/a\"b\n".into()),
            status: Some(200),
            grpc_status: None,
            error: None,
            attempts: 1,
            bytes_in: 0,
            bytes_out: 615,
            duration: Duration::from_micros(1_234),
            trace_id: Some([0xab; 16]),
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let line = of(&record());
        assert_eq!(line.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["ts"], "2024-02-29T12:34:56.789Z");
        assert_eq!(json["instance"]["attachment"], 9);
        assert_eq!(json["path"], "/a\"b\n");
        assert_eq!(json["duration_ms"], 1.234);
        assert_eq!(json["trace_id"], "ab".repeat(16));
        assert!(json.get("grpc_status").is_none());
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
