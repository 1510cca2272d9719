//! Peers that connected, closed their end or died. Xen sends no event when they do, so a program
//! asks from time to time; otherwise it could wait for ever.

use std::error::Error;

use super::error::{DispatchError, LinkError};
use super::{Channel, Context, DeviceError, LoopError, Shared};
use crate::hal::{Error as _, ErrorKind, Open, PortStatuses, Registrar};
use crate::ids::{DomId, Port};
use crate::machine::{Machine, NotBound};
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
    /// The channel was unbound, its device failed, or a check found that Xen has closed its port.
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
///     Ok(ended) => assert_eq!(ended, 0),
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
        status_of(statuses, self.port()).map_err(PeerError::Status)
    }
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// Asks Xen for the status of every port that has a wait, whether of a value, a callback, a task
    /// or a blocked thread. If the peer of a port has changed, ends the wait. Returns the number of
    /// waits that it ended. Call it from a timer: Xen sends no event when a peer changes, and the
    /// core has no clock. `statuses` must ask as the domain that bound the channels.
    ///
    /// Each change ends a wait once, with
    /// - [`Cause::PeerConnected`](crate::Cause::PeerConnected) if the port is connected and the
    ///   context did not know its peer. A context knows a peer from
    ///   [`bind_interdomain`](Self::bind_interdomain), from an earlier check, or from the context
    ///   that handed the port over.
    /// - [`Cause::PeerGone`](crate::Cause::PeerGone) if the port had a peer and now has none, or
    ///   has another one. A port had a peer if the context knew one, or if an event came. The
    ///   channel then waits for the next peer; if that one has connected already, the next check
    ///   ends the next wait with `PeerConnected`.
    /// - [`Cause::Gone`](crate::Cause::Gone) if Xen has closed the port. The channel can no longer be
    ///   used. Dropping it makes no call, because the port number may have another owner by now.
    ///
    /// The check reads the events that have come before it ends waits. If a peer sent an event and
    /// then left, the wait ends with [`Cause::Event`](crate::Cause::Event), and the next check ends
    /// the wait after it.
    ///
    /// A check cannot see
    /// - a peer that connects and leaves between two checks without sending anything;
    /// - a peer that closes its port and binds again, if the new port has the number of the old one;
    /// - that a domain crashed or was shut down, if the toolstack keeps it (`preserve`): its ports
    ///   stay connected until it is destroyed;
    /// - whether the domain is the same as before. Xen gives the id of a destroyed domain to a new
    ///   one, which may bind to the port of a channel whose peer has left. To prevent that, unbind
    ///   the channel.
    ///
    /// The context holds no lock while it asks `statuses`.
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
        let mut news = Vec::new();
        for (id, peer) in waiting {
            let port = id.port();
            let status = status_of(statuses, port);
            let status = status.map_err(|source| CheckError::Status { port, source })?;
            news.extend(peer.news(status.state).map(|news| (id, news)));
        }
        // Who was asked is callers' code, and may have forked.
        if self.is_inherited() {
            return Err(DispatchError::from(LinkError::Inherited).into());
        }
        if news.is_empty() {
            return Ok(0);
        }
        let mut told = 0;
        let tell = |machine: &mut Machine| {
            told = news
                .iter()
                .filter(|(id, it)| machine.tell(*id, *it))
                .count();
        };
        self.drive_and(self.lock(), tell)?;
        Ok(told)
    }
}

/// What a port of this domain is. One behind the end of Xen's table is not in use.
fn status_of<S: PortStatuses>(statuses: &S, port: Port) -> Result<PortStatus, S::Error> {
    match statuses.status(DomId::SELF, port) {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(PortStatus {
            state: Status::Closed,
            vcpu: 0,
        }),
        status => status,
    }
}
