//! `show lsdb`: the link-state database, object by object.

use dmsc_proto::v1::{LsdbEntry, LsdbReply, LsdbRequest};
use serde::Serialize;

use crate::cli::operator::LsdbArgs;
use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::text::{or_dash, sequence};

/// JSON of `show lsdb`.
#[derive(Debug, Serialize)]
pub struct LsdbView {
    /// Objects in the database in all.
    total: u64,
    objects: Vec<ObjectView>,
}

#[derive(Debug, Serialize)]
struct ObjectView {
    kind: u32,
    kind_name: String,
    origin: u32,
    /// Hexadecimal: 64 bits do not fit a JSON number.
    id: String,
    /// Epoch and counter.
    sequence: String,
    purge: bool,
    lifetime_left_s: u32,
    size_bytes: u32,
    /// "accepted" or "waiting".
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl ObjectView {
    fn new(entry: LsdbEntry, bodies: bool) -> Self {
        Self {
            kind: entry.kind,
            kind_name: entry.kind_name,
            origin: entry.origin,
            id: format!("{:x}", entry.id),
            sequence: sequence(entry.sequence),
            purge: entry.purge,
            lifetime_left_s: entry.lifetime_left_s,
            size_bytes: entry.bytes,
            state: entry.state,
            body: bodies.then_some(entry.body),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &Operator, args: &LsdbArgs, output: &mut Output) -> Result<(), Failure> {
    let bodies = args.bodies;
    let ask = |mut client: Client, limit, after| async move {
        let request = LsdbRequest {
            bodies,
            limit,
            after,
        };
        client.show_lsdb(request).await
    };
    let reply: LsdbReply = operator.pages(args.limit, ask).await?;
    let (mut entries, total) = (reply.entries, reply.total);
    entries.sort_by_key(|entry| (entry.kind, entry.origin, entry.id));
    let view = LsdbView {
        total,
        objects: entries
            .into_iter()
            .map(|entry| ObjectView::new(entry, bodies))
            .collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "the database is empty")?;
        for object in &view.objects {
            let Some(body) = &object.body else { continue };
            output.line("")?;
            output.line(&format!(
                "{} {} of node {}:",
                object.kind_name, object.id, object.origin
            ))?;
            for line in body.lines() {
                output.line(&format!("  {line}"))?;
            }
        }
        if (view.objects.len() as u64) < view.total {
            output.line(&format!(
                "{} of {} objects are shown",
                view.objects.len(),
                view.total
            ))?;
        }
    }
    Ok(())
}

fn grid(view: &LsdbView) -> Grid {
    let mut grid = Grid::new(&[
        "kind",
        ">origin",
        ">id",
        ">sequence",
        "state",
        ">lifetime s",
        ">bytes",
    ]);
    for object in &view.objects {
        let state = if object.purge {
            "purged".to_owned()
        } else {
            or_dash(&object.state)
        };
        grid.row([
            or_dash(&object.kind_name),
            object.origin.to_string(),
            object.id.clone(),
            object.sequence.clone(),
            state,
            object.lifetime_left_s.to_string(),
            object.size_bytes.to_string(),
        ]);
    }
    grid
}
