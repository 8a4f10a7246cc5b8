//! The failure-domain table of the README, from the figures of a demo.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::Value;

/// One row: the step that measured it, and its figures.
struct Row {
    component: &'static str,
    notices: &'static str,
    step: &'static str,
    /// Figure with lost calls.
    lost: &'static str,
    /// Figure that says until when, ms; none: see `until`.
    ms: Option<&'static str>,
    /// Until when, `{}` is the figure.
    until: &'static str,
    meanwhile: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        component: "link, cut silently",
        notices: "dataplanes at both ends: three hellos of 50 ms missed",
        step: "link-failure",
        lost: "lost",
        ms: Some("silent_cut:_recovery_ms"),
        until: "{} ms: the alternate takes over",
        meanwhile: "calls over that link",
    },
    Row {
        component: "link, carrier lost",
        notices: "dataplanes at both ends: carrier",
        step: "link-failure",
        lost: "lost_without_carrier",
        ms: Some("no_carrier:_recovery_ms"),
        until: "{} ms: the alternate takes over",
        meanwhile: "calls over that link",
    },
    Row {
        component: "one process of a service",
        notices: "its gateway: the kernel's port-unreachable, then probe, then lease",
        step: "instance-failure",
        lost: "lost",
        ms: Some("recovery_ms"),
        until: "{} ms: another instance is taken",
        meanwhile: "calls that were under way to it",
    },
    Row {
        component: "dataplane of a gateway",
        notices: "neighbours' dataplanes: hellos; then all, by link state",
        step: "gateway-failure",
        lost: "lost",
        ms: Some("recovery_ms"),
        until: "{} ms: calls are bound to another instance",
        meanwhile: "its pods, until it returns",
    },
    Row {
        component: "control plane of a router",
        notices: "neighbours: lost session; nobody who forwards",
        step: "control-plane-kill",
        lost: "SR_dead:_lost",
        ms: Some("SR_reconciled_in_ms"),
        until: "{} ms after its start: reconciled, no table changed",
        meanwhile: "its part in flooding and in new routes",
    },
    Row {
        component: "control plane of a gateway",
        notices: "its pods: they try again; neighbours: lost session",
        step: "control-plane-kill",
        lost: "SG_dead:_lost",
        ms: Some("SG_reconciled_in_ms"),
        until: "{} ms after its start: reconciled, no table changed",
        meanwhile: "registration of its pods; their leases pause",
    },
    Row {
        component: "all control planes at once",
        notices: "each other",
        step: "everything-restarts",
        lost: "lost",
        ms: Some("all_reconciled_in_ms"),
        until: "{} ms after their start: reconciled, no table changed",
        meanwhile: "registration, new routes",
    },
    Row {
        component: "all prefix authorities",
        notices: "gateways: no answer when they renew",
        step: "no-center",
        lost: "lost",
        ms: Some("admitted_in_ms"),
        until: "{} ms after their return: what waited is admitted",
        meanwhile: "new prefixes wait, with a reason; known ones stay, shown as stale; revocations hold",
    },
    Row {
        component: "dataplane of a gateway, replaced",
        notices: "nobody",
        step: "upgrade",
        lost: "lost",
        ms: Some("dark_ms"),
        until: "{} ms: the new process forwards",
        meanwhile: "forwarding of that router",
    },
    Row {
        component: "dataplane of a gateway, drained and replaced",
        notices: "all, by link state, before",
        step: "upgrade",
        lost: "drained_first:_lost",
        ms: None,
        until: "nothing was lost",
        meanwhile: "its instances are not chosen",
    },
    Row {
        component: "router, then gateway, drained and stopped",
        notices: "all, by link state, before",
        step: "drain",
        lost: "lost",
        ms: None,
        until: "nothing was lost",
        meanwhile: "it carries no transit; its instances are not chosen",
    },
    Row {
        component: "program behind an edge",
        notices: "its edge: refused connection, health check; the caller's edge: told so, asks another instance",
        step: "curl-under-failure",
        lost: "nginx_killed:_failed",
        ms: Some("nginx_killed:_dark_ms"),
        until: "{} ms: other instances answer",
        meanwhile: "requests that were sent to it and may not be repeated",
    },
    Row {
        component: "edge, killed",
        notices: "callers' edges: the gateway refuses, or nothing comes; then its gateway: lease",
        step: "curl-under-failure",
        lost: "server's_edge_killed:_failed",
        ms: Some("server's_edge_killed:_dark_ms"),
        until: "{} ms: other instances answer",
        meanwhile: "requests that were sent to it and may not be repeated",
    },
    Row {
        component: "edge of the caller, replaced",
        notices: "nobody: listening sockets are handed over",
        step: "curl-under-failure",
        lost: "caller's_edge_replaced:_failed",
        ms: None,
        until: "nothing was lost",
        meanwhile: "nothing",
    },
    Row {
        component: "edge of the server, replaced",
        notices: "callers' edges: told to call elsewhere",
        step: "curl-under-failure",
        lost: "server's_edge_replaced:_failed",
        ms: None,
        until: "nothing was lost",
        meanwhile: "nothing",
    },
    Row {
        component: "pod that sends garbage at line rate",
        notices: "its gateway: budget of the port, drops by reason",
        step: "noisy-pod",
        lost: "lost",
        ms: Some("p99_with_noise_ms"),
        until: "p99 of others {} ms meanwhile",
        meanwhile: "that pod",
    },
    Row {
        component: "pod that announces what it does not own",
        notices: "prefix authority, through its gateway",
        step: "ownership",
        lost: "databases_changed",
        ms: None,
        until: "refused at once, told why; databases that changed: see left",
        meanwhile: "nothing",
    },
    Row {
        component: "router that lies about prefixes and about others",
        notices: "its neighbours: signatures, authorisations",
        step: "ownership",
        lost: "changed_by_them",
        ms: None,
        until: "refused and counted at once; databases and tables that changed: see left",
        meanwhile: "nothing",
    },
];

fn number(value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    Some(if number.fract() == 0.0 || number >= 100.0 {
        format!("{number:.0}")
    } else if number >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    })
}

/// The table in Markdown, from what `dmsc-lab demo --json` wrote. Steps that did not run are left out; those that failed are marked.
///
/// # Errors
/// When `demo` is not what a demo writes.
pub fn markdown(demo: &Value) -> anyhow::Result<String> {
    let steps = demo["steps"]
        .as_array()
        .context("this is no file of `dmsc-lab demo --json`: there are no steps in it")?;
    let mut text = String::from(
        "| component killed or lying | who notices | lost | until | what stops working meanwhile |\n|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let Some(step) = steps.iter().find(|s| s["step"].as_str() == Some(row.step)) else {
            continue;
        };
        let figures = &step["figures"];
        let lost = number(&figures[row.lost]).unwrap_or_else(|| "?".into());
        let ms = row.ms.map(|ms| number(&figures[ms]));
        let until = match ms {
            Some(ms) => row.until.replace("{}", ms.as_deref().unwrap_or("?")),
            None => row.until.into(),
        };
        let failed = if step["ok"].as_bool() == Some(true) {
            ""
        } else {
            " (**failed**)"
        };
        writeln!(
            text,
            "| {}{failed} | {} | {lost} | {until} | {} |",
            row.component, row.notices, row.meanwhile
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_have_the_figures_of_their_steps() {
        let demo = json!({"steps": [
            {"step": "instance-failure", "ok": true, "figures": {"lost": 1, "recovery_ms": 0.912}},
            {"step": "no-center", "ok": false, "figures": {"lost": 3}},
        ]});
        let text = markdown(&demo).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].starts_with("| one process of a service | its gateway"));
        assert!(lines[2].contains("| 1 | 0.91 ms: another instance is taken |"));
        assert!(lines[3].contains("(**failed**)") && lines[3].contains("| 3 | ? ms"));
        assert!(markdown(&json!({})).is_err());
    }

    #[test]
    fn figures_are_called_as_steps_report_them() {
        // Each name is made by a report: blanks become underlines, and times end in _ms.
        for row in ROWS {
            assert!(!row.lost.contains(' '), "{}", row.lost);
            if let Some(ms) = row.ms {
                assert!(ms.ends_with("_ms") && row.until.contains("{}"), "{ms}");
            }
        }
    }
}
