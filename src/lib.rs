//! Xen event channels for Rust.
//!
//! An event channel carries a signal, and no data, to a domain. The domain knows its end by a
//! number, the *port*. At the other end is a port, mostly of another domain, or Xen itself, which
//! raises a *virtual interrupt* (VIRQ). A port can also be without a peer, and wait for one.
//!
//! ```no_run
//! use evtchn::poll::Context;
//! use evtchn::{Virq, xen};
//!
//! fn main() -> Result<(), evtchn::Error> {
//!     let ctx = Context::new(xen::backend())?; // opens nothing yet
//!     let console = ctx.bind_virq(Virq::CON_RING)?; // the first bind opens the device
//!     loop {
//!         let cause = console.block()?;
//!         println!("Xen has printed something ({cause})");
//!     }
//! }
//! ```
//!
//! A [`Context`] opens the device at the first bind, registers it with the event loop only while
//! something waits, and leaves nothing behind at teardown. The program chooses at run time which
//! device that is, the one of this domain or a simulated one, by the [`Backend`] that it gives to
//! the context; all other types stay the same.
//!
//! Each event loop has a module with a `Context` and a `Channel` of its own, so that no program has
//! to write a type parameter:
//!
//! | module | feature | event loop |
//! | --- | --- | --- |
//! | `poll` | `xen`, on by default | a blocking loop on `poll(2)` |
//! | `tokio` | `tokio` | the reactor of tokio, for tasks |
//! | `async_io` | `async-io` | the reactor of async-io and smol, for tasks |
//! | `mio` | `mio` | mio |
//! | `polling` | `polling` | polling |
//! | `calloop` | `calloop` | calloop |
//! | `hooks` | `hooks` | any loop that can watch a file descriptor, and an array for `poll(2)` |
//! | `crossbeam` | `crossbeam` | no loop: a dispatcher that hands wakes to threads |
//!
//! Name the types in full, as in `evtchn::tokio::Context`. After `use evtchn::tokio`, the name
//! `tokio` is this module and not the crate, and macros such as `tokio::select!` do not compile.
//!
//! Beside these:
//!
//! - `xen` (feature `xen`, on by default): the device, `/dev/xen/evtchn`. With the feature `status`
//!   it also reports the state of the ports of a domain, through `/dev/xen/privcmd`. With the feature
//!   `multicall` it notifies many ports in one hypercall, where the program asks for that.
//! - `sim` (feature `sim`): a simulator of the hypervisor and the driver. No Xen, no root. With the feature
//!   `remote`, one simulated machine serves several processes.
//! - `mock` (feature `mock`): mocks of what a backend and a loop supply, for the tests of programs.
//! - Spans and events for a subscriber of `tracing` (feature `tracing`); futures of wakes as
//!   `Stream` (feature `futures`).
#![cfg_attr(docsrs, feature(doc_cfg))]
// The feature `std` of the crates below is always on here.
#![cfg_attr(docsrs, doc(auto_cfg(hide(feature = "std", error_in_core))))]
#![forbid(unsafe_code)]

/// rustdoc says of every method of a type that it needs the feature of the first module that names
/// the type. This is the first one, and it needs none.
#[cfg(doc)]
mod named_first {
    pub use evtchn_core::{Channel, Context};
}

#[cfg(feature = "mock")]
pub use evtchn_core::mock;
pub use evtchn_core::{
    AfterHandler, Backend, BadHandOver, BadId, BadLimit, BeforeHandler, Call, Cause, Channel,
    ChannelId, ChannelMap, Context, Device, DeviceCall, DeviceError, DomId, Driver, Eoi, Error,
    ErrorKind, EventChannel, ForkMark, HandOver, Handlers, Link, LoopError, NewLoop, NotNotified,
    NotStatic, Notifier, NotifySet, OnEoi, Open, Outcome, OwnTime, Parts, Passed, Port, PortBuf,
    PortStatus, PortStatuses, RateLimit, Registrar, RemotePort, Round, Sleep, Sleeper, Slept,
    Stats, Status, StillInUse, Trigger, Unmask, UnmaskPolicy, Virq, Wake, WakeBuf, WakeTargets,
    Wakes, WeakContext, Woken,
};
#[cfg(feature = "sim")]
#[doc(inline)]
pub use evtchn_sim as sim;

/// The device, `/dev/xen/evtchn`.
#[cfg(feature = "xen")]
pub mod xen {
    #[cfg(feature = "multicall")]
    pub use evtchn_xen::Multicall;
    #[cfg(any(feature = "status", feature = "multicall"))]
    pub use evtchn_xen::PRIVCMD_PATH;
    #[cfg(feature = "status")]
    pub use evtchn_xen::Privcmd;
    pub use evtchn_xen::{Call, DEVICE_PATH, Device, Errno, Error, XenOpen, backend};
}

/// The types of one event loop, without a type parameter.
#[cfg(any(
    feature = "async-io",
    feature = "calloop",
    feature = "hooks",
    feature = "mio",
    feature = "polling",
    feature = "tokio",
    feature = "xen"
))]
macro_rules! types_of {
    ($registrar:ty) => {
        /// [`Context`](evtchn_core::Context) on this event loop.
        pub type Context = evtchn_core::Context<$registrar>;
        /// [`Channel`](evtchn_core::Channel) on this event loop.
        pub type Channel = evtchn_core::Channel<$registrar>;
    };
}

/// A blocking event loop on `poll(2)`.
#[cfg(feature = "xen")]
pub mod poll {
    pub use evtchn_xen::{PollLoop, Readiness};

    types_of!(PollLoop);
}

/// The reactor of tokio, for tasks.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use evtchn_loops::TokioRegistrar;

    types_of!(TokioRegistrar);
}

/// The reactor of async-io and smol, for tasks.
#[cfg(feature = "async-io")]
pub mod async_io {
    pub use evtchn_loops::AsyncIoRegistrar;

    types_of!(AsyncIoRegistrar);
}

/// An adapter for mio.
#[cfg(feature = "mio")]
pub mod mio {
    pub use evtchn_loops::MioRegistrar;

    types_of!(MioRegistrar);
}

/// An adapter for polling.
#[cfg(feature = "polling")]
pub mod polling {
    pub use evtchn_loops::PollingRegistrar;

    types_of!(PollingRegistrar);
}

/// An adapter for calloop.
#[cfg(feature = "calloop")]
pub mod calloop {
    pub use evtchn_loops::{CalloopRegistrar, CalloopSource};

    types_of!(CalloopRegistrar);
}

/// Adapters for any loop that can watch a file descriptor, and for an array for `poll(2)`.
#[cfg(feature = "hooks")]
pub mod hooks {
    pub use evtchn_loops::{Cookie, HookRegistrar, Hooks, Interest, PollArray, PollFd};

    types_of!(HookRegistrar);
}

/// Delivery to threads through `crossbeam-channel`.
#[cfg(feature = "crossbeam")]
pub mod crossbeam {
    pub use evtchn_loops::{AddError, Delivery, Dispatcher, RunError, Running};
}

/// The blocks of Rust in the documents, compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/coming-from.md")]
    struct ComingFrom;
    #[doc = include_str!("../docs/notify-many.md")]
    struct NotifyMany;
    #[doc = include_str!("../docs/overflow.md")]
    struct Overflow;
    #[doc = include_str!("../docs/peers.md")]
    struct Peers;
    #[doc = include_str!("../docs/platforms.md")]
    struct Platforms;
    #[doc = include_str!("../docs/record-and-replay.md")]
    struct RecordAndReplay;
    #[doc = include_str!("../docs/restored-guests.md")]
    struct RestoredGuests;
    #[doc = include_str!("../docs/restrict.md")]
    struct Restrict;
    #[doc = include_str!("../docs/test-without-xen.md")]
    struct TestWithoutXen;
    #[doc = include_str!("../docs/threads.md")]
    struct Threads;
    #[doc = include_str!("../docs/tokio.md")]
    struct Tokio;
}
