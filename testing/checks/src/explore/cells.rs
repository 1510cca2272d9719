//! The cells of the two tables: their names, and which ones cannot be reached.

use evtchn_core::Cause;
use evtchn_core::machine::link::{Link, LinkInput};
use evtchn_core::machine::port::{PortInput, PortState};

/// How many cells the port table has.
pub const PORT_CELLS: usize = PortState::ALL.len() * PortInput::ALL.len();
/// How many cells the link table has.
pub const LINK_CELLS: usize = Link::ALL.len() * LinkInput::ALL.len();

/// A cell of the port table or of the link table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// A port in this state gets this input.
    Port(PortState, PortInput),
    /// The link in this state gets this input.
    Link(Link, LinkInput),
}

impl Cell {
    /// All cells, in the order in which they are counted: those of the port table first.
    pub fn all() -> impl Iterator<Item = Cell> {
        let port = PortState::ALL
            .into_iter()
            .flat_map(|state| PortInput::ALL.map(|input| Cell::Port(state, input)));
        let link = Link::ALL
            .into_iter()
            .flat_map(|link| LinkInput::ALL.map(|input| Cell::Link(link, input)));
        port.chain(link)
    }

    /// Why no script can reach this cell, if none can.
    #[must_use]
    pub const fn unreachable(self) -> Option<&'static str> {
        use PortState as S;
        match self {
            Cell::Port(S::Latched(cause) | S::Ready(cause), _) if cause.is_unbound() => {
                Some("a channel that is not bound has no port: its wake stands in the queue alone")
            }
            Cell::Port(
                S::Latched(Cause::PeerGone | Cause::PeerConnected)
                | S::Ready(Cause::PeerGone | Cause::PeerConnected),
                _,
            )
            | Cell::Port(_, PortInput::PeerGone | PortInput::PeerConnected) => {
                Some("no script asks what became of a peer: tests/peers does")
            }
            Cell::Port(S::Unmasking, PortInput::Unmasked) => None,
            Cell::Port(_, PortInput::Unmasked) => {
                Some("what is unmasked is due, and stays so under the lock of the write")
            }
            Cell::Link(Link::Closed | Link::Faulted, LinkInput::Wanted) => Some(
                "a wait needs a device that is open, and a device that fails takes its waits along",
            ),
            Cell::Link(Link::Closed | Link::Faulted, LinkInput::Fault) => {
                Some("a device that is closed is not read, so it cannot fail")
            }
            Cell::Port(..) | Cell::Link(..) => None,
        }
    }

    /// State and input as the tables in the documents have them.
    #[must_use]
    pub fn names(self) -> (String, String) {
        match self {
            Cell::Port(PortState::Latched(cause), input) => {
                (format!("Latched ({cause:?})"), format!("{input:?}"))
            }
            Cell::Port(PortState::Ready(cause), input) => {
                (format!("Ready ({cause:?})"), format!("{input:?}"))
            }
            Cell::Port(state, input) => (format!("{state:?}"), format!("{input:?}")),
            Cell::Link(link, input) => (format!("{link:?}"), format!("{input:?}")),
        }
    }
}
