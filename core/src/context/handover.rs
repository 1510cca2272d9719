//! Live update: a context hands its device over with the ports still bound, and the process that
//! goes on with them makes another context of it.

use std::collections::BTreeSet;

use super::observed::ok;
use super::{Channel, Context, NO_PROCESS, Shared, State};
use crate::error::{Error, StillInUse};
use crate::hal::{
    Backend, Device, DeviceCall, DeviceError, ErrorKind, EventChannel, Opened, Process, Registrar,
};
use crate::handover::HandOver;
use crate::machine::ChannelId;
use crate::machine::link::{Link, LinkInput};
use crate::observe::{Called, Came};
use crate::sync::Arc;

/// What a context handed over: all that its successor needs to go on without losing an event.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn::{Cause, Parts};
///
/// let Parts { device, table } = ctx.hand_over(&mut [channel])?;
/// let text = table.to_string(); // in the environment of the program that goes on, say
///
/// let parts = Parts { device, table: text.parse()? };
/// let (ctx, channels) = Context::from_parts(parts, sim.open(DomId::DOM0), SimLoop::level());
/// for expected in [Cause::Adopted, Cause::Event] {
///     channels[0].wait()?;
///     let causes: Vec<_> = ctx.dispatch()?.map(|wake| wake.cause).collect();
///     assert_eq!(causes, [expected]);
///     guest.send(theirs)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parts {
    /// The device, with every port still bound.
    pub device: Device,
    /// The ports in the order of their channels, and the restriction.
    pub table: HandOver,
}

impl<R: Registrar> Context<R> {
    /// Hands the device over with its ports still bound. [`from_parts`](Self::from_parts) adopts
    /// it, in another process or in this one. Afterwards these channels are
    /// [`NotBound`](Error::NotBound), their waits have ended, as with [`unbind`](Channel::unbind),
    /// and the next bind opens a new device.
    ///
    /// The device is deregistered from the event loop. Wakes and unmasks that are due are not
    /// handed over: each adopted port wakes once, and the next wait unmasks it. What is known of
    /// the peers is handed over, so a check of the successor finds the peers that left meanwhile.
    ///
    /// # Errors
    /// Nothing changed. [`Error::StillInUse`] if there are other channels, or notifiers;
    /// [`Error::NotBound`] if a channel is not bound here; [`Error::NotOpen`] if no device is open, or
    /// if this domain was restored after it was opened, which ends every channel;
    /// [`Error::HandOver`] if a port cannot be in a table; [`Error::Deregister`] if the event loop
    /// cannot deregister the device; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`]
    /// in a forked child.
    pub fn hand_over(&self, channels: &mut [Channel<R>]) -> Result<Parts, Error> {
        // Only an observer needs them.
        let mut ids = Vec::new();
        if self.shared.observer.is_some() {
            ids.extend(channels.iter().map(Channel::id));
        }
        let hand_over = || self.hand_over_now(channels);
        let call = || Called::HandOver(&ids);
        self.shared.observed(call, hand_over, |handed_over| {
            ok(handed_over, |_| Came::HandedOver)
        })
    }

    fn hand_over_now(&self, channels: &mut [Channel<R>]) -> Result<Parts, Error> {
        let (device, table) = self.shared.release(channels)?;
        channels.iter_mut().for_each(Channel::let_go);
        let callbacks = {
            let mut state = self.shared.lock();
            let ids = channels.iter().map(Channel::id);
            ids.map(|id| state.callbacks.remove(id)).collect::<Vec<_>>()
        };
        // Wakes the tasks that waited for these channels, which are gone.
        self.shared.settle_or_count();
        drop(callbacks);
        let device = device.handle();
        Ok(Parts { device, table })
    }

    /// Makes a context that goes on with the device and the ports of another, and a channel for
    /// each port, in the order of the table.
    ///
    /// The first wait on each channel gets a wake at once, with
    /// [`Cause::Adopted`](crate::Cause::Adopted). The device keeps its restriction, and a device
    /// that is opened later gets it too. The driver cannot be asked which ports are bound: if the
    /// table does not fit the device, the calls for a wrong port fail.
    /// [`check_peers`](Self::check_peers) finds a port that Xen has closed.
    ///
    /// If the device was opened by the parent of a forked process, every call of the context fails
    /// ([`Error::Inherited`]). The child first has to make a device of its own from the descriptor, with
    /// `evtchn_xen::Device::from_fd`.
    pub fn from_parts(
        parts: Parts,
        backend: impl Into<Backend>,
        registrar: R,
    ) -> (Context<R>, Vec<Channel<R>>) {
        let backend = backend.into();
        let process = match parts.device.is_inherited() {
            true => Process::new(None, NO_PROCESS),
            false => backend.process(),
        };
        let context = Context::made_by(process, backend, registrar);
        let Parts { mut device, table } = parts;
        if let Some(observer) = context.shared.backend.observer() {
            device = observer.adopt(device);
            device.opened().observe(|| observer.context());
        }
        let device = device.opened();
        let ids = context.shared.observed(
            || Called::FromParts(&table),
            || context.shared.adopt(&device, &table),
            |adopted| Came::Adopted(adopted),
        );
        let channel = |id| Channel::new(Arc::clone(&context.shared), device.clone(), id);
        let channels = ids.into_iter().map(channel).collect();
        (context, channels)
    }
}

impl<R: Registrar> Shared<R> {
    /// Goes on with the device of another context.
    fn adopt(&self, device: &Opened, table: &HandOver) -> Vec<ChannelId> {
        let mut state = self.lock();
        self.set_link(&mut state, Link::Idle, &[]);
        state.machine.adopt_device();
        state.device = Some(device.clone());
        state.restriction = table.restriction();
        let ports = table.known();
        let adopted = ports.map(|(port, peer)| state.machine.adopt(port, peer));
        adopted.collect()
    }

    /// Gives up the device, if only the context and these channels hold it. The machine forgets the
    /// channels.
    fn release(&self, channels: &[Channel<R>]) -> Result<(Opened, HandOver), Error> {
        self.check_caller()?;
        let settling = self.settling.lock();
        self.close_failed(&settling);
        let mut state = self.lock();
        let device = state.device.as_deref();
        if device.is_some_and(EventChannel::is_resumed) {
            let call = DeviceCall::Other("hand the device over");
            state.resumed(DeviceError::new(ErrorKind::Resumed, call));
            drop(settling);
            self.unlock(state, true, None)?;
            self.settle_or_count();
            return Err(Error::NotOpen);
        }
        let table = Self::table(&mut state, channels)?;
        let device = state.device.clone().ok_or(Error::NotOpen)?;
        self.carry_out(state, LinkInput::Close, false, &settling)?;
        let mut state = self.lock();
        for channel in channels {
            let _was_bound = state.machine.unbind(channel.id());
        }
        // What they left in the ring does not concern the device that is opened next.
        state.machine.set_clean();
        Ok((device, table))
    }

    /// The table of these channels, if there are no others and no notifiers.
    fn table(state: &mut State, channels: &[Channel<R>]) -> Result<HandOver, Error> {
        for channel in channels {
            let id = channel.id();
            state.machine.state(id)?;
            if channel.has_notifier() {
                return Err(Error::StillInUse(Box::new(StillInUse {
                    channels: Vec::new(),
                    waiting: Vec::new(),
                    held: 1,
                })));
            }
        }
        let given: BTreeSet<_> = channels.iter().map(|it| it.id().port()).collect();
        if let Some(mut leftover) = state.leftover() {
            leftover.channels.retain(|port| !given.contains(port));
            leftover.waiting.retain(|port| !given.contains(port));
            if !leftover.channels.is_empty() || leftover.held > 0 {
                return Err(Error::StillInUse(Box::new(leftover)));
            }
        }
        let known = channels.iter().map(|it| {
            let id = it.id();
            (id.port(), state.machine.peer_to_hand_over(id))
        });
        Ok(HandOver::of(known.collect(), state.restriction)?)
    }
}
