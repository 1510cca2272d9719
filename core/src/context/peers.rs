//! Peers that closed their end or died. Xen sends no event then, so a program that would wait for
//! ever asks from time to time.

use std::error::Error;

use super::error::{DispatchError, LinkError};
use super::{Channel, Context, DeviceError, LoopError, Shared};
use crate::hal::{Open, PortStatuses, Registrar};
use crate::ids::{DomId, Port};
use crate::machine::NotBound;
use crate::status::{PortStatus, Status};
use crate::sync::Occupant;

/// A question about the peer of one channel failed.
///
/// ```
/// use evtchn_core::{Context, DomId, PeerError};
/// use evtchn_sim::{Sim, SimLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// match channel.peer_state(&sim.privcmd(DomId::DOM0)) {
///     Ok(status) => println!("{}", status.state),
///     Err(PeerError::Status(error)) => println!("nobody says: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError<S: Error + 'static> {
    /// The channel was unbound, or its device failed.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// Called in a forked child: the channel belongs to the parent.
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited,
    /// Nobody said what the port is.
    #[error(transparent)]
    Status(S),
}

/// A look after the peers failed.
///
/// ```
/// use evtchn_core::{CheckError, Context, DomId};
/// use evtchn_sim::{Sim, SimLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// match ctx.check_peers(&sim.privcmd(DomId::DOM0)) {
///     Ok(gone) => assert_eq!(gone, 0),
///     Err(CheckError::Busy) => {} // another thread looks
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError<S, D, R>
where
    S: Error + 'static,
    D: Error + 'static,
    R: Error + 'static,
{
    /// Another thread does it, or this one already. Nothing changed.
    #[error("the peers of this context are being looked after")]
    Busy,
    /// Nobody said what a port is. Nothing changed.
    #[error("cannot look after the peer of port {port}: {source}")]
    Status {
        /// The port.
        port: Port,
        /// Why.
        r#source: S,
    },
    /// Called in a forked child or from inside a hook, and nothing changed; or the device or the
    /// event loop failed once the waits had ended.
    #[error(transparent)]
    Dispatch(#[from] DispatchError<D, R>),
}

/// What a look after the peers gives.
pub type CheckResult<O, R, S> =
    Result<usize, CheckError<<S as PortStatuses>::Error, DeviceError<O>, LoopError<O, R>>>;

impl<O: Open, R: Registrar<O::Device>> Channel<O, R> {
    /// What the port of this channel is right now: connected, waiting for a peer, or something
    /// without one.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn peer_state<S: PortStatuses>(
        &self,
        statuses: &S,
    ) -> Result<PortStatus, PeerError<S::Error>> {
        if self.shared.is_inherited() {
            return Err(PeerError::Inherited);
        }
        self.shared.lock().machine.state(self.id())?;
        let status = statuses.status(DomId::SELF, self.port());
        status.map_err(PeerError::Status)
    }
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// Ends each wait whose peer closed its end or died, with
    /// [`Cause::PeerGone`](crate::Cause::PeerGone), and says how many these were. It is for a timer
    /// of the program, since Xen sends no event then and the core has no clock.
    ///
    /// Every channel that somebody waits for, in whatever way, is asked about; so `statuses` is
    /// that of the domain that bound them. A peer is gone where a channel was connected, by
    /// [`bind_interdomain`](Self::bind_interdomain) or as an earlier check saw it, and is no more.
    /// So a channel that no peer has bound to yet waits on, a peer that came and went between two
    /// checks is not noticed, and one that was found gone is told of once: after that the channel
    /// waits for a peer, which may come.
    ///
    /// Events that had come are read first: what a peer sent before it went wakes with
    /// [`Cause::Event`](crate::Cause::Event), and the wait after that ends by the next check.
    ///
    /// No lock is held while `statuses` is asked.
    ///
    /// # Errors
    /// [`CheckError`].
    pub fn check_peers<S: PortStatuses>(&self, statuses: &S) -> CheckResult<O, R, S> {
        self.shared.check_peers(statuses)
    }
}

/// While it lives, no other check begins: an answer that is older than what another check saw
/// would be taken for news.
struct Checking<'a>(&'a Occupant);

impl<'a> Checking<'a> {
    fn begin(place: &'a Occupant) -> Option<Checking<'a>> {
        place.enter().then(|| Checking(place))
    }
}

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    fn check_peers<S: PortStatuses>(&self, statuses: &S) -> CheckResult<O, R, S> {
        self.admit().map_err(DispatchError::from)?;
        let _checking = Checking::begin(&self.in_check).ok_or(CheckError::Busy)?;
        let waiting = self.lock().machine.without_wake();
        let (mut present, mut gone) = (Vec::new(), Vec::new());
        for (id, was_connected) in waiting {
            let port = id.port();
            let status = statuses.status(DomId::SELF, port);
            match status
                .map_err(|source| CheckError::Status { port, source })?
                .state
            {
                Status::Interdomain { .. } if !was_connected => present.push(id),
                Status::Unbound { .. } | Status::Closed if was_connected => gone.push(id),
                Status::Interdomain { .. }
                | Status::Unbound { .. }
                | Status::Closed
                | Status::Pirq { .. }
                | Status::Virq { .. }
                | Status::Ipi => {}
            }
        }
        // Who was asked is callers' code, and may have forked.
        if self.is_inherited() {
            return Err(DispatchError::from(LinkError::Inherited).into());
        }
        let mut state = self.lock();
        for id in present {
            state.machine.set_connected(id);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        let mut told = 0;
        let driven = self.drive_and(state, |machine| {
            told = gone.iter().filter(|id| machine.peer_gone(**id)).count();
        });
        driven?;
        Ok(told)
    }
}
