//! Notes which cells of the two tables the calling thread has used, for the checks that explore
//! them.
//!
//! Without the feature `only-under-checks` the functions do nothing.

use super::link::{Link, LinkInput};
use super::port::{PortInput, PortState};

/// Sets of cells, in the order of [`PortState::ALL`], [`PortInput::ALL`], [`Link::ALL`] and
/// [`LinkInput::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg(feature = "only-under-checks")]
pub struct Cells {
    /// Cells of the port table: for each state, bit `input`.
    pub port: [u16; PortState::ALL.len()],
    /// Cells of the link table: bit `state * inputs + input`.
    pub link: u32,
}

#[cfg(feature = "only-under-checks")]
std::thread_local! {
    static PORT: core::cell::Cell<[u16; PortState::ALL.len()]> =
        const { core::cell::Cell::new([0; PortState::ALL.len()]) };
    static LINK: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
}

/// The cells that this thread used since it last asked.
#[cfg(feature = "only-under-checks")]
#[must_use]
pub fn take() -> Cells {
    Cells {
        port: PORT.take(),
        link: LINK.take(),
    }
}

/// A port takes an input, in the table or by a shortcut through it.
#[inline]
pub(super) fn port(state: PortState, input: PortInput) {
    #[cfg(feature = "only-under-checks")]
    if let Some(state) = PortState::ALL.iter().position(|it| *it == state) {
        let mut cells = PORT.get();
        cells[state] |= 1 << input as usize;
        PORT.set(cells);
    }
    #[cfg(not(feature = "only-under-checks"))]
    let _ = (state, input);
}

/// The link takes an input.
#[inline]
#[cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "the context drives the link")
)]
pub(crate) fn link(link: Link, input: LinkInput) {
    #[cfg(feature = "only-under-checks")]
    {
        let cell = link as usize * LinkInput::ALL.len() + input as usize;
        LINK.set(LINK.get() | 1 << cell);
    }
    #[cfg(not(feature = "only-under-checks"))]
    let _ = (link, input);
}
