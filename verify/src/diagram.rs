//! One history as a space-time diagram: a lane per thread or per node, time runs downwards.
//!
//! A diagram is data, which a process that has just broken something can tell another. It is drawn as text for a terminal and for the pages
//! of the catalogue ([`Diagram::text`]), and as SVG for the report ([`Diagram::svg`]).

use serde::{Deserialize, Serialize};

mod canvas;
mod nodes;
mod svg;
mod text;
mod threads;

#[cfg(test)]
pub(crate) mod tests;

pub use canvas::{MARK, STYLE};
pub use threads::of_threads;

/// What ends an execution in which whoever is left waits.
pub const DEADLOCK: &str = "deadlock: whoever is left waits, and nobody can end it";

/// A section, and of which node it is. What has no nodes has 0 in their place.
fn place(node: u64, section: &str) -> String {
    match node {
        0 => section.into(),
        id => format!("node {id}: {section}"),
    }
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagram {
    /// The names of the lanes, from left to right.
    pub lanes: Vec<String>,
    /// What happened.
    pub story: Story,
    /// What was wrong with it: a sentence, perhaps more.
    pub broken: String,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Story {
    /// A lane is a thread.
    Threads(Vec<Row>),
    /// A lane is a node.
    Nodes(Journey),
}

/// One thing in the lane of a thread; or many that are not drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The thread of this lane did this.
    Did(usize, Act),
    /// So many steps are left out.
    LeftOut(usize),
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// It asks for the lock of this node (0 if there are none), to do this.
    Wants(u64, String),
    /// It has it.
    Enters(u64, String),
    /// It woke and has the lock of this node again, to go on with this.
    Wakes(u64, String),
    /// Inside, it changes this.
    Changes(String),
    /// It gives up the lock and sleeps until this has happened.
    Sleeps(String),
    /// It broadcasts, and the thread of this lane hears it. (Before it leaves or sleeps itself.)
    Rouses(usize),
    /// It leaves; true if it broadcasts.
    Leaves(bool),
    /// It sends this, to this node.
    Sends(u64, String),
    /// It writes this, and that is durable.
    Writes(String),
    /// Anything else.
    Notes(String),
}

/// The steps of several nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    /// What the node of a lane begins with, if that is not nothing.
    pub begins: Vec<(usize, String)>,
    /// The steps.
    pub hops: Vec<Hop>,
    /// After so many steps nothing fails any more, and what was under way is lost.
    pub quiet: Option<usize>,
}

/// One step of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Its lane.
    pub lane: usize,
    /// Why it makes a step.
    pub cause: Cause,
    /// What is different afterwards.
    pub changes: Vec<String>,
    /// What it says.
    pub sends: Vec<Sent>,
}

/// Why a node makes a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A message arrives.
    Arrives {
        /// The lane of its sender.
        from: usize,
        /// The message.
        text: String,
        /// Whether no leader was heard for long.
        late: bool,
    },
    /// Something happens to the node by itself.
    Happens(String),
}

/// A message that a step sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The lane of the one it is for.
    pub to: usize,
    /// The message.
    pub text: String,
    /// The steps in which it arrives, counted from 0: none if it is lost, or still under way in the end, several if it is repeated.
    pub arrives: Vec<usize>,
}

impl Diagram {
    /// Whether it has more lanes than have room side by side on an upright sheet of paper.
    pub fn is_wide(&self) -> bool {
        self.lanes.len() > 2
    }

    /// The lines of what was wrong.
    fn wrong(&self) -> impl Iterator<Item = &str> {
        let lines = self.broken.lines().map(str::trim);
        lines.filter(|line| !line.is_empty())
    }
}
