//! Binding ports.

use super::observed::ok;
use super::{Channel, Context, State};
use crate::error::Error;
use crate::hal::{DeviceError, ErrorKind, Opened, Registrar, Trigger};
use crate::ids::{DomId, Port, RemotePort, Virq};
use crate::machine::ChannelId;
use crate::machine::peers::Peer;
use crate::observe::{Called, Came, Source};
use crate::sync::Arc;

impl<R: Registrar> Context<R> {
    /// Allocates a port that `remote` may bind to. Xen accepts the id of a domain that does not
    /// exist: a domain that gets this id later may bind to the port.
    ///
    /// # Errors
    /// No port was bound. [`Error::Device`] if the device cannot be opened, has failed or refuses
    /// the port; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child.
    /// On a [restricted](Self::restrict) device it always fails.
    pub fn bind_unbound_port(&self, remote: DomId) -> Result<Channel<R>, Error> {
        self.bind(Source::Unbound(remote))
    }

    /// Binds to a port that another domain allocated for this one. The new channel gets a wake at
    /// once.
    ///
    /// # Errors
    /// No port was bound. [`Error::Device`] if the device cannot be opened, has failed or refuses
    /// the port; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child.
    pub fn bind_interdomain(&self, remote: RemotePort) -> Result<Channel<R>, Error> {
        self.bind(Source::Interdomain(remote))
    }

    /// Binds a virtual interrupt. Before Xen 4.21 this also succeeds for an interrupt that Xen
    /// sends to another domain, such as a global one; the channel then never wakes.
    ///
    /// # Errors
    /// No port was bound. [`Error::Device`] if the device cannot be opened, has failed or refuses
    /// the port; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child.
    /// On a [restricted](Self::restrict) device it always fails.
    pub fn bind_virq(&self, virq: Virq) -> Result<Channel<R>, Error> {
        self.bind(Source::Virq(virq))
    }

    /// Takes over a port that existed before any program opened the device (static event channel,
    /// Linux 6.6). An unbind leaves the port open in Xen.
    ///
    /// The caller must know that `port` is the end of a static channel of this domain. The kernel does
    /// not refuse every other number, and a bind of one can break the channel of its owner. So this
    /// call refuses by itself
    /// - the ports of this context, always;
    /// - what is closed, and the port of a virtual interrupt, a physical interrupt or an IPI, if the
    ///   backend can ask Xen what a port is ([`Open::statuses`](crate::Open::statuses)). The backend
    ///   of the real device asks through privcmd, which it then keeps open. If it cannot ask, as in
    ///   most unprivileged domains, this check is left out.
    ///
    /// **It cannot tell the port of another program or of the kernel from a static one**: to Xen both
    /// are ends of channels between domains.
    ///
    /// # Errors
    /// No port was bound. [`Error::NotStatic`] if the port is one of those that this call refuses;
    /// [`Error::Device`] if the device cannot be opened, has failed or refuses
    /// the port; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child.
    pub fn bind_static(&self, port: Port) -> Result<Channel<R>, Error> {
        self.bind(Source::Static(port))
    }

    fn bind(&self, source: Source) -> Result<Channel<R>, Error> {
        if self.shared.observer.is_some() {
            return self.bind_observed(source);
        }
        self.bind_now(source)
    }

    #[cold]
    #[inline(never)]
    fn bind_observed(&self, source: Source) -> Result<Channel<R>, Error> {
        self.shared.observed(
            || Called::Bind(source),
            || self.bind_now(source),
            |bound| ok(bound, |channel| Came::Bound(channel.id())),
        )
    }

    /// If the device turns out to be from before a restore of this domain, its channels end, and the
    /// bind is made on a new one.
    fn bind_now(&self, source: Source) -> Result<Channel<R>, Error> {
        let bound = self.bind_once(source);
        if let Err(Error::Device(error)) = &bound {
            if error.kind() == ErrorKind::Resumed {
                return self.bind_once(source);
            }
        }
        bound
    }

    fn bind_once(&self, source: Source) -> Result<Channel<R>, Error> {
        let shared = &self.shared;
        if shared.is_inherited() {
            return Err(Error::Inherited);
        }
        if shared.is_in_hook() {
            return Err(Error::Reentrant);
        }
        if let Source::Static(port) = source {
            shared.check_static(port)?;
        }
        let settling = shared.settling.lock();
        let (before, device) = shared.open(&settling)?;
        let mut state = shared.lock();
        let bound = state.bind(&device, source, shared.trigger);
        // A round of this thread finds what is ready by itself.
        let is_for_loop = state.machine.has_ready() && !shared.in_round.is_current();
        let after = state.after_lock(is_for_loop, None);
        drop(state);
        if bound.is_err() && !before.is_open() {
            shared.close_again(before, &settling);
        }
        drop(settling);
        // Before a hook is called, because that may panic.
        let channel = bound.map(|id| Channel::new(Arc::clone(shared), device, id));
        after.carry_out(shared)?;
        // The result of the bind is known. If this fails, the next settle tries again.
        shared.settle_or_count();
        channel
    }
}

impl State {
    fn bind(
        &mut self,
        device: &Opened,
        source: Source,
        trigger: Trigger,
    ) -> Result<ChannelId, Error> {
        if self.machine.is_dirty() {
            self.drain(trigger)?;
        }
        let port = match source {
            Source::Unbound(remote) => device.bind_unbound_port(remote),
            Source::Interdomain(remote) => device.bind_interdomain(remote),
            Source::Virq(virq) => device.bind_virq(virq),
            Source::Static(port) => device.bind_static(port).map(|()| port),
        };
        let port = port.inspect_err(|error| self.refused(error))?;
        let id = self.machine.bind(port);
        if let Source::Interdomain(remote) = source {
            self.machine.set_peer(id, Peer::Seen(remote));
        }
        Ok(id)
    }

    /// The device refused a bind.
    fn refused(&mut self, error: &DeviceError) {
        if error.kind() == ErrorKind::Resumed {
            self.resumed(error.clone());
        }
    }
}
