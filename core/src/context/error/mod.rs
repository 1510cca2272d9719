//! One error enum per operation: each variant is a step that failed and says what state is left.
//!
//! `D` is the device's error, `R` the registrar's. What the event loop can do is common to most.
//!
//! Each error prints its cause, with call and errno, in its own line: `{error}` alone says all
//! there is to say. What was printed so is no `source()` too, so that no chain prints it twice; it
//! is in the variant.

mod bind;
mod dispatch;
mod notify;
mod teardown;
#[cfg(test)]
mod tests;
mod wait;

use std::error::Error;

pub use bind::{BindError, RestrictError, UnbindError};
pub use dispatch::DispatchError;
pub use notify::NotifyError;
pub use teardown::{Leftover, TeardownError};
pub use wait::{CancelError, TryCancelError, WaitError};

/// The event loop failed, or called back in.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn_core::{LinkError, WaitError};
/// use evtchn_sim::{Call, Errno};
///
/// ctx.registrar().fail_next(Call::Register, Errno::ENOMEM);
/// let error = channel.wait().unwrap_err();
/// assert!(matches!(error, WaitError::Link(LinkError::Register(why)) if why.errno == Errno::ENOMEM));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError<R: Error + 'static> {
    /// The event loop refused the device.
    #[error("the event loop refused the device: {0}")]
    Register(R),
    /// The event loop did not let go of the device; it is still registered. The next call on the
    /// context tries again.
    #[error("the event loop did not let go of the device: {0}")]
    Deregister(R),
    /// A hook panicked while a panic was unwinding already. (Otherwise its panic goes on to the
    /// caller.) It counts as having done nothing.
    #[error("a hook of the event loop panicked")]
    Panicked,
    /// Called from inside a hook of the registrar, or from the opening of the device. Nothing was
    /// done.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child: the context belongs to the parent. Nothing was done.
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited,
}
