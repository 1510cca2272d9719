//! Live update: a context is taken apart with its ports still bound, and put together again in
//! the process that goes on with them.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use super::error::{Leftover, LinkError};
use super::{Channel, Context, LoopError, NOBODY, Shared, State};
use crate::hal::{EventChannel, Open, Registrar};
use crate::handover::{BadHandOver, HandOver};
use crate::machine::link::{Link, LinkInput};
use crate::machine::{ChannelId, NotBound};
use crate::sync::Arc;

/// A context taken apart: what its successor needs to go on without a lost event.
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
/// use evtchn_core::{Cause, Parts, Wait};
///
/// let Parts { device, table } = ctx.into_parts(vec![channel]).map_err(|error| error.reason)?;
/// let text = table.to_string(); // in the environment of the program that goes on, say
///
/// let parts = Parts { device, table: text.parse()? };
/// let (ctx, channels) = Context::from_parts(parts, sim.open(DomId::DOM0), SimLoop::level());
/// assert_eq!(channels[0].wait()?, Wait::Ready(Cause::Adopted));
/// assert_eq!(channels[0].wait()?, Wait::Pending);
/// guest.send(theirs)?;
/// assert_eq!(ctx.dispatch()?.count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parts<D> {
    /// The device, with every port still bound.
    pub device: D,
    /// The ports in the order of their channels, and the restriction.
    pub table: HandOver,
}

/// Why a context was not taken apart.
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
/// use evtchn_core::HandOverError;
///
/// let notifier = channel.notifier();
/// let error = ctx.into_parts(vec![channel]).unwrap_err();
/// assert!(matches!(error.reason, HandOverError::Notifier(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError<R: Error + 'static> {
    /// No device is open: there is nothing to hand over.
    #[error("no device is open")]
    NotOpen,
    /// Channels that were not given along, or unbound ones that are still held.
    #[error("{0}")]
    Leftover(Leftover),
    /// A channel that was given along is not bound here.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// A notifier of this channel is left; drop it first.
    #[error("a notifier of {0} is left")]
    Notifier(ChannelId),
    /// The ports do not fit into a table: the device gave out a number that Xen does not have.
    #[error(transparent)]
    Table(#[from] BadHandOver),
    /// The event loop did not let go of the device, or the call came from the wrong place.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}

type HandOverResult<O, R, T> = Result<T, HandOverError<LoopError<O, R>>>;

/// A context that was not taken apart comes back, as it was.
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
/// let error = ctx.into_parts(Vec::new()).unwrap_err();
/// assert!(error.reason.to_string().starts_with("still in use: channels on ports"));
/// let ctx = error.context; // as it was
/// let _pending = channel.wait()?;
/// # Ok(())
/// # }
/// ```
pub struct IntoPartsError<O: Open, R: Registrar<O::Device>> {
    /// The context.
    pub context: Context<O, R>,
    /// The channels that were given along.
    pub channels: Vec<Channel<O, R>>,
    /// Why.
    pub reason: HandOverError<LoopError<O, R>>,
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// Takes the context apart and leaves its ports bound, to be adopted by
    /// [`from_parts`](Self::from_parts) in another process or in this one.
    ///
    /// The device is deregistered from the event loop. Wakes and write-backs that are due need not
    /// be handed over: each adopted port wakes once, and is enabled again as it is waited on. What
    /// is known of the peers is handed over, so a check of the successor finds those that went
    /// meanwhile.
    ///
    /// # Errors
    /// [`IntoPartsError`] gives everything back; nothing changed.
    pub fn into_parts(
        self,
        channels: Vec<Channel<O, R>>,
    ) -> Result<Parts<O::Device>, Box<IntoPartsError<O, R>>> {
        let Parts { device, table } = match self.shared.release(&channels) {
            Ok(released) => released,
            Err(reason) => {
                return Err(Box::new(IntoPartsError {
                    context: self,
                    channels,
                    reason,
                }));
            }
        };
        channels.into_iter().for_each(Channel::let_go);
        match Arc::try_unwrap(device) {
            Ok(device) => Ok(Parts { device, table }),
            Err(_) => unreachable!("nobody else holds the device"),
        }
    }

    /// A context that goes on with the device and the ports of another, and a channel for each
    /// port, in the order of the table.
    ///
    /// The first wait on each channel is ready at once, with
    /// [`Cause::Adopted`](crate::Cause::Adopted). The restriction holds already, and a device that
    /// is opened later gets it too. A table that does not fit the device is noticed by the calls
    /// that name a wrong port: the driver cannot be asked which ports are bound. A port that Xen has
    /// closed is found by [`check_peers`](Self::check_peers).
    ///
    /// A device that the parent of a forked process opened stays the parent's: a context that the
    /// child makes of it refuses every call (`Inherited`). The child has to adopt the descriptor
    /// as a device of its own first.
    pub fn from_parts(
        parts: Parts<O::Device>,
        opener: O,
        registrar: R,
    ) -> (Context<O, R>, Vec<Channel<O, R>>) {
        let Parts { device, table } = parts;
        let process = match device.is_inherited() {
            true => NOBODY,
            false => opener.process(),
        };
        let device = Arc::new(device);
        let context = Context::made_by(process, opener, registrar);
        let shared = &context.shared;
        let mut state = shared.lock();
        shared.follow(&mut state, Link::Idle, &[]);
        state.machine.adopt_device();
        state.device = Some(Arc::clone(&device));
        state.restriction = table.restriction();
        let ports = table.known();
        let ids: Vec<_> = ports
            .map(|(port, peer)| state.machine.adopt(port, peer))
            .collect();
        drop(state);
        let channel = |id| Channel::new(Arc::clone(shared), Arc::clone(&device), id);
        let channels = ids.into_iter().map(channel).collect();
        (context, channels)
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    /// Lets go of the device, if only the context and these channels hold it. The machine forgets
    /// the channels.
    fn release(&self, channels: &[Channel<O, R>]) -> HandOverResult<O, R, Parts<Arc<O::Device>>> {
        self.admit()?;
        let settling = self.settling.lock();
        self.close_failed(&settling);
        let mut state = self.lock();
        let table = Self::table(&mut state, channels)?;
        let device = state.device.clone().ok_or(HandOverError::NotOpen)?;
        self.carry_out(state, LinkInput::Close, false, &settling)?;
        let mut state = self.lock();
        for channel in channels {
            let _was_bound = state.machine.unbind(channel.id());
        }
        Ok(Parts { device, table })
    }

    /// The table of these channels, if there are no others and no notifiers.
    fn table(
        state: &mut State<O::Device>,
        channels: &[Channel<O, R>],
    ) -> HandOverResult<O, R, HandOver> {
        for channel in channels {
            let id = channel.id();
            state.machine.state(id)?;
            if channel.bound().is_none_or(|it| Arc::strong_count(it) > 1) {
                return Err(HandOverError::Notifier(id));
            }
        }
        let given: BTreeSet<_> = channels.iter().map(|it| it.id().port()).collect();
        if let Some(mut leftover) = state.leftover() {
            leftover.channels.retain(|port| !given.contains(port));
            leftover.waiting.retain(|port| !given.contains(port));
            if !leftover.channels.is_empty() || leftover.held > 0 {
                return Err(HandOverError::Leftover(leftover));
            }
        }
        let known = channels.iter().map(|it| {
            let id = it.id();
            (id.port(), state.machine.bequest(id))
        });
        Ok(HandOver::of(known.collect(), state.restriction)?)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for IntoPartsError<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoPartsError")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Display for IntoPartsError<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot hand the context over: {}", self.reason)
    }
}

/// What its reason prints is in its own line.
impl<O: Open, R: Registrar<O::Device>> Error for IntoPartsError<O, R> {}
