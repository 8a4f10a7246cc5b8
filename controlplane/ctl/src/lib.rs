//! Everything behind `dmscctl`: asks the agent of one dataplane, the operator's API of one control plane, or one edge, and prints what it says as tables
//! or JSON.
//!
//! One file per noun of the command line. Nothing here programs tables; the dataplane answers from counters and snapshots, so that looking never
//! disturbs forwarding (design §5). What changes something ([`config`], [`drain`], [`revoke`], [`policy`], [`give`]) is checked and audited by the daemon that is asked.

pub mod about;
pub mod agent;
pub mod capture;
pub mod cli;
pub mod config;
pub mod drain;
pub mod echo;
pub mod edge;
pub mod explain;
pub mod failure;
pub mod give;
pub mod operator;
pub mod output;
pub mod packets;
pub mod ping;
pub mod pki;
pub mod policy;
pub mod probe;
pub mod revoke;
pub mod show;
pub mod span;
pub mod text;
pub mod trace;
pub mod watch;

use cli::operator::NodeShow;
use cli::{Cli, Command, Show, TraceMode};
use config::Daemon;
use failure::Failure;
use operator::Operator;
use output::Output;

/// Exit status when everything was done.
pub const EXIT_OK: u8 = 0;
/// Exit status when the question was asked but nobody answered it (`ping`, `probe`, `trace`), or nothing would be delivered (`explain`).
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

/// By whom a command is answered: a control plane, an edge, or the agent of a dataplane.
async fn dispatch(cli: Cli, output: &mut Output) -> Result<u8, Failure> {
    match &cli.command {
        Command::Config(what) => {
            let mut daemon = daemon(&cli).await?;
            config::run(&mut daemon, what, output).await?;
        }
        Command::About => about::run(&mut node(&cli).await?, output).await?,
        Command::Drain(args) => drain::run(&mut node(&cli).await?, args, output).await?,
        Command::Undrain => drain::back(&mut node(&cli).await?, output).await?,
        Command::Revoke(args) => revoke::run(&mut node(&cli).await?, args, output).await?,
        Command::Policy(what) => policy::run(&mut node(&cli).await?, what, output).await?,
        Command::Explain(args) => return explain::run(&cli, args, output).await,
        Command::Give(args) => give::run(&mut node(&cli).await?, args, output).await?,
        Command::Show(Show::Network(what)) => {
            show_node(&mut node(&cli).await?, what, output).await?
        }
        Command::Show(Show::Services(args)) => {
            show::services::run(&edge_of(&cli).await?, args, output).await?
        }
        Command::Show(Show::Connections(args)) => {
            show::connections::run(&edge_of(&cli).await?, args, output).await?
        }
        _ => return dataplane(cli, output).await,
    }
    Ok(EXIT_OK)
}

async fn node(cli: &Cli) -> Result<Operator, Failure> {
    let address = operator::find(cli.node.as_ref(), agent::SOCKET_DIRECTORY.as_ref())?;
    Operator::connect(address, cli.credentials.as_deref()).await
}

async fn edge_of(cli: &Cli) -> Result<edge::Edge, Failure> {
    let socket = edge::find(cli.edge.as_deref(), agent::SOCKET_DIRECTORY.as_ref())?;
    edge::Edge::connect(&socket).await
}

async fn agent_of(cli: &Cli) -> Result<agent::Agent, Failure> {
    let socket = agent::find_socket(cli.agent.as_deref(), agent::SOCKET_DIRECTORY.as_ref())?;
    agent::Agent::connect(&socket).await
}

/// A file must not reach the wrong daemon: nothing is guessed here.
async fn daemon(cli: &Cli) -> Result<Daemon, Failure> {
    match (&cli.node, &cli.agent) {
        (Some(_), None) => Ok(Daemon::Node(node(cli).await?)),
        (None, Some(_)) => Ok(Daemon::Dataplane(agent_of(cli).await?)),
        _ => Err(Failure::WhichDaemon),
    }
}

async fn show_node(
    operator: &mut Operator,
    what: &NodeShow,
    output: &mut Output,
) -> Result<(), Failure> {
    match what {
        NodeShow::Nodes => show::nodes::run(operator, output).await,
        NodeShow::Links => show::links::run(operator, output).await,
        NodeShow::Lsdb(args) => show::lsdb::run(operator, args, output).await,
        NodeShow::Routes => show::routes::run(operator, output).await,
        NodeShow::Pods => show::pods::run(operator, output).await,
        NodeShow::Prefixes(args) => show::prefixes::run(operator, args, output).await,
        NodeShow::Authorisations => show::authorisations::run(operator, output).await,
        NodeShow::Convergence => show::convergence::run(operator, output).await,
        NodeShow::Quality(args) => show::quality::run(operator, args, output).await,
        NodeShow::Policies => show::policies::run(operator, output).await,
        NodeShow::Decisions(args) => show::decisions::run(operator, args, output).await,
        NodeShow::Audit(args) => show::audit::run(operator, args, output).await,
    }
}

async fn dataplane(cli: Cli, output: &mut Output) -> Result<u8, Failure> {
    let mut agent = agent_of(&cli).await?;
    match cli.command {
        Command::Show(Show::Node) => show::node::run(&agent, output)?,
        Command::Show(Show::Ports) => show::ports::run(&mut agent, output).await?,
        Command::Show(Show::Workers) => show::workers::run(&mut agent, output).await?,
        Command::Show(Show::Runtime(args)) => show::runtime::run(&mut agent, &args, output).await?,
        Command::Show(Show::Traffic(args)) => show::traffic::run(&mut agent, &args, output).await?,
        Command::Show(Show::Tables(args)) => show::tables::run(&mut agent, &args, output).await?,
        Command::Show(Show::Attachments) => show::attachments::run(&mut agent, output).await?,
        Command::Show(Show::Adjacencies) => show::adjacencies::run(&mut agent, output).await?,
        Command::Show(Show::Counters { port }) => {
            show::counters::run(&mut agent, port, output).await?
        }
        // Done before.
        Command::Pki(_) => {}
        Command::Ping(args) => return ping::run(&mut agent, &args, output).await,
        Command::Probe(args) => return probe::run(&mut agent, &args, output).await,
        Command::Trace(args) => match args.mode {
            Some(TraceMode::Add(add)) => packets::run(&mut agent, &add, output).await?,
            None => return trace::run(&mut agent, &args, output).await,
        },
        Command::Capture(args) => capture::run(&mut agent, &args, output).await?,
        Command::Watch => watch::run(&mut agent, output).await?,
        // Answered before, by a control plane, an edge or both sides.
        Command::Explain(_)
        | Command::Policy(_)
        | Command::Show(Show::Network(_) | Show::Services(_) | Show::Connections(_))
        | Command::About
        | Command::Config(_)
        | Command::Drain(_)
        | Command::Undrain
        | Command::Revoke(_)
        | Command::Give(_) => {}
    }
    Ok(EXIT_OK)
}
