//! Xen event channels for Rust.
//!
//! An event channel is Xen's interrupt: a port in one domain, bound to a port in another domain,
//! to a virtual interrupt, or still unbound and waiting for its peer. This crate is the face of
//! the workspace; everything of the core stands at its root.
//!
//! - `xen` (feature `xen`, on by default): the real device, `/dev/xen/evtchn`.
//!   With the feature `status` it tells what ports are, too: `/dev/xen/privcmd`.
//! - `sim` (feature `sim`): a simulator of the hypervisor and the driver. No Xen, no root.
//! - `loops` (features `async-io`, `calloop`, `crossbeam`, `hooks`, `mio`, `polling`, `tokio`):
//!   adapters for event loops, and delivery to threads.
//! - Spans and events for a subscriber of `tracing` (feature `tracing`); futures of wakes as
//!   `Stream` (feature `futures`).
//! - `mock` (feature `mock`): mocks of the seam, for the tests of programs.
//!
//! A [`Context`] opens the device at the first bind, registers it with the event loop only while
//! somebody waits, and leaves nothing at teardown.
#![forbid(unsafe_code)]

pub use evtchn_core::*;

#[cfg(feature = "mock")]
pub use evtchn_core::mock;
#[cfg(any(
    feature = "async-io",
    feature = "calloop",
    feature = "crossbeam",
    feature = "hooks",
    feature = "mio",
    feature = "polling",
    feature = "tokio"
))]
pub use evtchn_loops as loops;
#[cfg(feature = "sim")]
pub use evtchn_sim as sim;
#[cfg(feature = "xen")]
pub use evtchn_xen as xen;

/// The blocks of Rust in the documents, compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/coming-from.md")]
    struct ComingFrom;
    #[doc = include_str!("../docs/overflow.md")]
    struct Overflow;
    #[doc = include_str!("../docs/record-and-replay.md")]
    struct RecordAndReplay;
    #[doc = include_str!("../docs/test-without-xen.md")]
    struct TestWithoutXen;
    #[doc = include_str!("../docs/tokio.md")]
    struct Tokio;
}
