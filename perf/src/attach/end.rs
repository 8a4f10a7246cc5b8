//! The process at one end, and its place in a namespace of its own where it has a socket.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use anyhow::Context;

use super::args::EndArgs;
use super::caller::Caller;
use super::echo::Echo;
use super::link::Link;
use super::order::{Answer, Order};
use super::own::OwnLink;
use super::shared::SharedLink;
use super::site::{By, Side};
use super::udp::UdpLink;
use crate::torture::net;
use crate::transit::pin;

/// Looks at orders so often when there is nothing else to do.
const STEP: Duration = Duration::from_millis(50);

/// Does what it is told until nobody tells anything any more.
///
/// # Errors
/// When its end cannot be opened; whoever started it is told, too.
pub fn serve(args: &EndArgs) -> anyhow::Result<ExitCode> {
    let result = follow(args);
    if let Err(error) = &result {
        answer(&Answer::Failed(format!("{error:#}")))?;
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn follow(args: &EndArgs) -> anyhow::Result<()> {
    let _pinned = pin(args.core)?;
    if args.by == By::Udp {
        net::enter_namespace()?;
    }
    answer(&Answer::Placed)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let mut link: Box<dyn Link> = match args.by {
        By::Udp => Box::new(UdpLink::open(args.side)?),
        By::Memif | By::Virtio => Box::new(SharedLink::open(args)?),
        By::Vhost => Box::new(OwnLink::open(args)?),
    };
    answer(&Answer::Open)?;
    let orders = listen();
    match args.side {
        Side::Caller => call(link.as_mut(), &orders),
        Side::Server => {
            let mut echo = Echo::default();
            loop {
                if !echo.turn(link.as_mut()) {
                    if matches!(orders.try_recv(), Err(TryRecvError::Disconnected)) {
                        return Ok(());
                    }
                    link.wait(STEP);
                }
            }
        }
    }
}

fn call(link: &mut dyn Link, orders: &Receiver<Order>) -> anyhow::Result<()> {
    let mut caller = Caller::new();
    loop {
        match orders.try_recv() {
            Ok(Order::Run(load)) => answer(&Answer::Ran(caller.run(link, &load)?))?,
            Ok(Order::Open) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {
                // The gateway may ask where we are.
                if link.receive(&mut |_| {}) == 0 {
                    link.wait(STEP);
                }
            }
        }
    }
}

/// Orders, from a thread that only waits for them.
fn listen() -> Receiver<Order> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else {
                return;
            };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    orders
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)
        .and_then(|()| out.flush())
        .context("nobody listens to what was measured")
}
