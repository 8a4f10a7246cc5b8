//! A real router with two links, or four, what is programmed into it, and who is at the far ends of the links.
//!
//! `link`: addresses and devices of a link; `neighbour`: its far end's hellos; `frames`: what travels from the first link to the second;
//! `router`: the process; `crossed`: the same in mode `mac`; `far`: the far ends as ports of this process; `rig`: what all of it stands on.

mod crossed;
mod far;
mod frames;
mod link;
mod neighbour;
mod rig;
mod router;

pub use crossed::{CrossedArgs, run as serve_crossed};
pub use far::{Far, Pinned, pin};
pub use frames::{Mode, STAMP, Size, Template, frame};
pub use link::{LINKS, Link, OTHERS, Pmd, Way};
pub use neighbour::{Neighbour, introduction};
pub use rig::{Rig, Wanted};
pub use router::{Idle, NODE, Router, Work, find_dataplane, operations};
