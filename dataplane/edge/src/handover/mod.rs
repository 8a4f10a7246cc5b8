//! Listening sockets and synthetic addresses go from the process that runs to the one that replaces it (`--takeover`).
//!
//! On the Unix socket `<operator>.takeover`, which only root and the edge's own user may open:
//! ```text
//! new ── ask ──▶ old         old: sends its listening sockets, and the table of addresses
//! new: registers its pods, serves HTTP; DNS and redirected connections wait
//! new ── ready ──▶ old       old: takes no new calls; once nobody gives addresses any more, the tables again
//! new ◀── ended ── old       new: DNS and redirected connections go on; old: lets what runs end
//! ```
//! Sockets stay open all the time, so that the kernel keeps what comes in between. Until `ready` nothing has happened to the old process: if the new one
//! fails before, it goes on. Messages are JSON behind their length; fields may be added.

mod give;
mod message;
mod take;

pub use give::serve;
pub use message::HandoverError;
pub use take::{Inherited, take};

use std::path::{Path, PathBuf};

/// Beside the operator's socket.
fn socket(operator: &Path) -> PathBuf {
    let mut path = operator.as_os_str().to_owned();
    path.push(".takeover");
    path.into()
}
