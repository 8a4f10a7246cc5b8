//! Steps `curl` and `redirect`: a page from nginx in pod 4 to curl in pod 1, by name, and by an address for programs that know nothing of names.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::bail;
use dmsc_wire::NameBuf;
use serde_json::Value;

use super::call::path_to;
use super::edge::{CALLER, json, run, shown};
use super::report::Report;
use crate::lab::{Lab, page};
use crate::net;
use crate::wait;

const PAGE: &str = "http://web.shop.dmsc/page";
const NAME: &str = "/shop/web";
/// Fetches over one connection.
const FETCHES: usize = 200;
const LIMIT: Duration = Duration::from_secs(20);
/// Datagrams of the connection under these fetches have more bytes than this at both ends, where every link takes frames of 9,000.
const WIDE: u64 = 8_000;
/// Discovery takes some round trips, or begins anew after ten seconds where an end came into shared memory late.
const WIDE_LIMIT: Duration = Duration::from_secs(15);
/// What the caller says of its trace (W3C trace context).
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn fetch(lab: &mut Lab, url: &str) -> anyhow::Result<String> {
    let trace = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    let command = [
        "curl",
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "10",
        "-H",
        &trace,
        url,
    ];
    run(lab, "curl", &command, LIMIT)
}

/// A page, the routers on the way, and how long it takes.
pub fn curl(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let text = fetch(lab, PAGE)?;
    let right = text == page("pod4");
    report.figure("page", if right { "ok" } else { "wrong" });
    report.require(right, || format!("the page is {text:?}"));

    let path = path_to(lab, NAME, 4)?;
    report.figure("path", path.join(" "));
    report.require(
        path.first().is_some_and(|n| n == "sg1") && path.last().is_some_and(|n| n == "sg4"),
        || format!("the path is {path:?}"),
    );

    let prefix = NameBuf::parse(NAME)?;
    let mut gateway = lab.agent(lab.plan.pods[lab.plan.pod(CALLER)?].gateway)?;
    let before = gateway.answers(prefix.as_bytes())?;
    let urls = format!("{PAGE}?[1-{FETCHES}]");
    let format = "%{http_code} %{time_total}\n";
    let command = [
        "curl",
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "10",
        "-o",
        "/dev/null",
        "-w",
        format,
        &urls,
    ];
    let text = run(lab, "curl", &command, LIMIT)?;
    let (mut times, mut other) = (Vec::new(), 0);
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("200", time)) => times.push(time.parse::<f64>()? * 1e3),
            _ => other += 1,
        }
    }
    report.require(times.len() == FETCHES && other == 0, || {
        format!("{} of {FETCHES} fetches gave the page", times.len())
    });
    let Some(first) = times.first().copied() else {
        bail!("curl fetched nothing: {text:?}");
    };
    times.sort_by(f64::total_cmp);
    report.figure("fetches", times.len());
    report.milliseconds("the first, with DNS", first);
    report.milliseconds("p50", times[times.len() / 2]);
    report.milliseconds("p99", times[times.len() * 99 / 100]);
    // The edge tells its gateway, which cannot see into QUIC, once a second.
    let told = wait::until(
        "the gateway to know how long each took",
        Duration::from_secs(5),
        || {
            let told = gateway.answers(prefix.as_bytes())? - before;
            Ok((told >= FETCHES as u64).then_some(told))
        },
    )?;
    report.figure("times at the gateway", told);
    seen(lab, report)
}

/// What the operator sees of it: connections and services, and the access log with the caller's trace.
fn seen(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    wide(lab, report)?;
    let services = shown(lab, "sg1", "services")?;
    report.require(services.iter().any(|one| one["name"] == NAME), || {
        format!("`dmscctl show services` knows nothing of {NAME}: {services:.300?}")
    });
    let log = lab.logs.join("sg1.access.log");
    let line = wait::until(
        "the fetch in the access log",
        Duration::from_secs(5),
        || {
            let text = std::fs::read_to_string(&log)?;
            Ok(text.lines().find(|l| l.contains(TRACE)).map(String::from))
        },
    )?;
    let record = json(&line)?;
    report.detail("access log", record);
    Ok(())
}

/// As both edges tell it: their connection has large datagrams, and both meet their gateways in shared memory.
fn wide(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    for (node, pod, direction) in [("sg1", "pod1/edge", "out"), ("sg4", "pod4/edge", "in")] {
        let what = format!("{pod} to have datagrams of more than {WIDE} bytes in shared memory");
        let bytes = wait::until(&what, WIDE_LIMIT, || {
            let mut open = shown(lab, node, "connections")?;
            open.retain(|one| {
                one["pod"] == pod && one["direction"] == direction && one["name"] == NAME
            });
            let bytes = |one: &Value| one["mtu_bytes"].as_u64().filter(|bytes| *bytes > WIDE);
            let wide = open.iter().filter(|one| one["by"] == "shared");
            if let Some(bytes) = wide.filter_map(bytes).max() {
                return Ok(Some(bytes));
            }
            // Discovery goes on with what is sent.
            fetch(lab, PAGE)?;
            bail!("its connections are {}", Value::from(open));
        })?;
        report.figure(&format!("bytes per datagram of {pod}"), bytes);
    }
    Ok(())
}

/// Programs that know an address only: curl, and one whose server speaks first.
pub fn redirect(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let text = fetch(lab, "http://10.96.0.10/page")?;
    let right = text == page("pod4");
    report.figure("page by address", if right { "ok" } else { "wrong" });
    report.require(right, || format!("the page is {text:?}"));

    let pod = lab.plan.pod(CALLER)?;
    let address = SocketAddr::from(([10, 96, 0, 11], 7));
    let (talk, greeted) = net::inside(&lab.plan.pods[pod].namespace, move || {
        let began = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut first = [0; 3];
        stream.read_exact(&mut first)?;
        let greeted = began.elapsed();
        stream.write_all(b"one\r\ntwo\r\n")?;
        // Its last word comes after this one's end: each direction ends for itself.
        stream.shutdown(Shutdown::Write)?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        Ok((
            String::from_utf8_lossy(&first).into_owned() + &rest,
            greeted,
        ))
    })?;
    let right = talk == "220 pod4 ready\r\none\r\ntwo\r\n221 2 lines\r\n";
    report.figure(
        "server that speaks first",
        if right { "ok" } else { "wrong" },
    );
    report.milliseconds("greeted after", greeted.as_secs_f64() * 1e3);
    report.require(right, || format!("the talk was {talk:?}"));
    Ok(())
}
