//! Finding peers that connected, closed their end or died. Xen sends no event when they do, so a
//! program has to ask from time to time; otherwise it could wait for ever.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::observed::ok;
use super::{Channel, Context, Shared};
use crate::error::Error;
use crate::hal::{DeviceError, ErrorKind, PortStatuses, Registrar};
use crate::ids::DomId;
use crate::machine::Machine;
use crate::observe::{Called, Came, Hook};
use crate::status::{PortStatus, Status};
use crate::sync::OwnerThread;

/// Reports the states of ports.
pub(super) type Statuses = Arc<dyn PortStatuses>;

impl<R: Registrar> Channel<R> {
    /// What the port of this channel is right now: connected, not connected, or of a kind without a
    /// peer. The backend asks Xen ([`Open::statuses`](crate::Open::statuses)).
    ///
    /// # Errors
    /// [`Error::NotBound`] if the channel was unbound, its device failed, or a check found that Xen
    /// has closed its port; [`Error::Device`] if the backend cannot ask; [`Error::Inherited`] in a
    /// forked child.
    pub fn peer_state(&self) -> Result<PortStatus, Error> {
        self.peer_state_with(&*self.shared.statuses()?)
    }

    /// [`peer_state`](Self::peer_state), but asks `statuses`.
    ///
    /// # Errors
    /// Those of [`peer_state`](Self::peer_state).
    pub fn peer_state_with(&self, statuses: &dyn PortStatuses) -> Result<PortStatus, Error> {
        if self.shared.is_inherited() {
            return Err(Error::Inherited);
        }
        self.shared.lock().machine.state(self.id())?;
        Ok(known(statuses.status(DomId::SELF, self.port()))?)
    }
}

impl<R: Registrar> Context<R> {
    /// Asks Xen for the status of every port that has a wait, whether of a round, a task or a
    /// blocked thread. If the peer of a port has changed, ends the wait. Returns the number of
    /// waits that it ended. Call it from a timer: Xen sends no event when a peer changes, and the
    /// core has no clock. The backend asks Xen ([`Open::statuses`](crate::Open::statuses)).
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
    /// then left, the wait ends with [`Cause::Event`](crate::Cause::Event). When the channel waits
    /// again, the next check ends that second wait with `PeerGone`.
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
    /// The context holds no lock while it asks.
    ///
    /// # Errors
    /// Nothing changed: [`Error::Busy`] during another check; [`Error::Device`] if the backend
    /// cannot ask what a port is; [`Error::Reentrant`] from inside a hook. After the errors of
    /// [`drive`](Self::drive) the waits have ended.
    pub fn check_peers(&self) -> Result<usize, Error> {
        self.check_peers_with(&*self.shared.statuses()?)
    }

    /// [`check_peers`](Self::check_peers), but asks `statuses`, which must ask Xen as the domain
    /// that bound the channels.
    ///
    /// # Errors
    /// Those of [`check_peers`](Self::check_peers).
    pub fn check_peers_with(&self, statuses: &dyn PortStatuses) -> Result<usize, Error> {
        let check = || self.shared.check_peers(statuses);
        self.shared.observed(
            || Called::CheckPeers,
            check,
            |checked| ok(checked, |ended| Came::Checked(*ended)),
        )
    }
}

/// While it lives, no other check begins: with two, an old answer of one would look new after the
/// other.
struct Checking<'a>(&'a OwnerThread);

impl<'a> Checking<'a> {
    fn begin(place: &'a OwnerThread) -> Option<Checking<'a>> {
        place.acquire().then(|| Checking(place))
    }
}

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<R: Registrar> Shared<R> {
    /// What the backend has for asking the states of ports, opened once.
    pub(super) fn statuses(&self) -> Result<Statuses, Error> {
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        if let Some(statuses) = &*self.statuses.lock() {
            return Ok(Arc::clone(statuses));
        }
        let opened: Statuses = Arc::from(self.backend.statuses()?);
        *self.statuses.lock() = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn check_peers(&self, statuses: &dyn PortStatuses) -> Result<usize, Error> {
        self.check_caller()?;
        let _checking = Checking::begin(&self.in_check).ok_or(Error::Busy)?;
        let waiting = self.lock().machine.without_wake();
        let mut news = Vec::new();
        let ports: Vec<_> = waiting.iter().map(|(id, _)| id.port()).collect();
        let mut failed = None;
        statuses.status_many(DomId::SELF, &ports, &mut |place, status| {
            let Some(&(id, peer)) = waiting.get(place) else {
                return ControlFlow::Continue(());
            };
            let port = id.port();
            self.observe_hook(|| Hook::Status {
                port,
                status: &status,
            });
            match known(status) {
                Ok(status) => {
                    news.extend(peer.news(status.state).map(|news| (id, news)));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        // `statuses` is code of the program, and may have forked.
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        if news.is_empty() {
            return Ok(0);
        }
        let mut woken = 0;
        let wake = |machine: &mut Machine| {
            woken = news
                .iter()
                .filter(|(id, it)| machine.apply_news(*id, *it))
                .count();
        };
        self.drive_and(self.lock(), wake)?;
        Ok(woken)
    }
}

/// What a port of this domain is. A port behind the end of Xen's table is closed.
pub(super) fn known(status: Result<PortStatus, DeviceError>) -> Result<PortStatus, DeviceError> {
    match status {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(PortStatus {
            state: Status::Closed,
            vcpu: 0,
        }),
        status => status,
    }
}
