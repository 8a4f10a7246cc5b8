//! Everything behind `dmscctl`: asks the agent of one dataplane over its Unix socket, and prints what it says as tables or JSON.
//!
//! One file per noun of the command line. Every command reads; none of them programs tables, and the dataplane answers all of them
//! from counters and snapshots, so that looking never disturbs forwarding (design §5).

pub mod agent;
pub mod capture;
pub mod cli;
pub mod echo;
pub mod explain;
pub mod failure;
pub mod output;
pub mod packets;
pub mod ping;
pub mod pki;
pub mod show;
pub mod span;
pub mod text;
pub mod trace;
pub mod watch;

use cli::{Cli, Command, Show, TraceMode};
use failure::Failure;
use output::Output;

/// Exit status when everything was done.
pub const EXIT_OK: u8 = 0;
/// Exit status when the question was asked but nobody answered it (`ping`, `trace`), or nothing would be delivered (`explain`).
pub const EXIT_UNANSWERED: u8 = 1;
/// Exit status of every other failure; the reason is on standard error.
pub const EXIT_FAILED: u8 = 2;

/// Runs one command and returns the exit status; errors are printed on standard error.
pub async fn run(cli: Cli) -> u8 {
    let mut output = Output::stdout(cli.json);
    let done = match &cli.command {
        // Asks no daemon.
        Command::Pki(what) => pki::run(what, &mut output).map(|()| EXIT_OK),
        _ => dispatch(cli, &mut output).await,
    };
    match done {
        Ok(status) => status,
        // `dmscctl … | head` is no failure.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(failure) => {
            eprintln!("dmscctl: {failure}");
            EXIT_FAILED
        }
    }
}

async fn dispatch(cli: Cli, output: &mut Output) -> Result<u8, Failure> {
    let socket = agent::find_socket(cli.agent.as_deref(), agent::SOCKET_DIRECTORY.as_ref())?;
    let mut agent = agent::Agent::connect(&socket).await?;
    match cli.command {
        Command::Show(Show::Node) => show::node::run(&agent, output)?,
        Command::Show(Show::Ports) => show::ports::run(&mut agent, output).await?,
        Command::Show(Show::Workers) => show::workers::run(&mut agent, output).await?,
        Command::Show(Show::Runtime(args)) => show::runtime::run(&mut agent, &args, output).await?,
        Command::Show(Show::Tables(args)) => show::tables::run(&mut agent, &args, output).await?,
        Command::Show(Show::Attachments) => show::attachments::run(&mut agent, output).await?,
        Command::Show(Show::Adjacencies) => show::adjacencies::run(&mut agent, output).await?,
        Command::Show(Show::Counters { port }) => {
            show::counters::run(&mut agent, port, output).await?
        }
        // Done before.
        Command::Pki(_) => {}
        Command::Ping(args) => return ping::run(&mut agent, &args, output).await,
        Command::Trace(args) => match args.mode {
            Some(TraceMode::Add(add)) => packets::run(&mut agent, &add, output).await?,
            None => return trace::run(&mut agent, &args, output).await,
        },
        Command::Explain(args) => return explain::run(&mut agent, &args, output).await,
        Command::Capture(args) => capture::run(&mut agent, &args, output).await?,
        Command::Watch => watch::run(&mut agent, output).await?,
    }
    Ok(EXIT_OK)
}
