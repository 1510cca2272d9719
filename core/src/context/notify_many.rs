//! Notifying many channels at once.

use super::observed::done;
use super::{Context, Shared};
use crate::error::Error;
use crate::hal::{Failures, NotifyBuf, Registrar};
use crate::machine::ChannelId;
use crate::observe::Called;

impl<R: Registrar> Context<R> {
    /// Notifies each of these channels, as [`Channel::notify`](super::Channel::notify) does, in this
    /// order. If the backend can, one system call notifies up to 1,024 of them. The backend of the
    /// real device can on a dom0, with the feature `multicall`, if the program has asked for it
    /// (`XenOpen::multicall`). Otherwise each channel takes a call.
    ///
    /// It allocates nothing unless it fails. It holds the lock of the context for the length of each
    /// system call, so no channel is unbound while a call that names it runs.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{ChannelId, Context, DomId, Error};
    ///
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let mut channels = vec![];
    /// for _ in 0..3 {
    ///     let channel = ctx.bind_unbound_port(guest.domid())?;
    ///     guest.bind_interdomain(DomId::DOM0, channel.port())?;
    ///     channels.push(channel);
    /// }
    /// let woken: Vec<ChannelId> = channels.iter().map(|channel| channel.id()).collect();
    /// ctx.notify_many(&woken)?;
    ///
    /// // The others are notified, whatever becomes of one.
    /// channels[1].unbind()?;
    /// let Err(Error::NotNotified(refused)) = ctx.notify_many(&woken) else {
    ///     panic!("a channel is not bound");
    /// };
    /// assert_eq!((refused.failed.len(), refused.of), (1, 3));
    /// assert_eq!(refused.failed[0].0, woken[1]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotNotified`] names each channel that was not notified, and why: it is not bound
    /// here, or the device refused it. All others were notified. [`Error::Inherited`] in a forked
    /// child: no channel was.
    pub fn notify_many(&self, channels: &[ChannelId]) -> Result<(), Error> {
        let notify = || self.shared.notify_many(channels);
        self.shared
            .observed(|| Called::NotifyMany(channels), notify, done)
    }
}

impl<R: Registrar> Shared<R> {
    fn notify_many(&self, channels: &[ChannelId]) -> Result<(), Error> {
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        let mut failures = Failures::default();
        let firsts = (0..).step_by(NotifyBuf::MOST);
        for (first, chunk) in firsts.zip(channels.chunks(NotifyBuf::MOST)) {
            // No channel changes, so what a round took ahead stays so.
            let mut state = self.state.lock();
            let state = &mut *state;
            let bound = chunk.iter().map(|id| (*id, state.machine.is_bound(*id)));
            match &state.device {
                Some(device) => {
                    let device = &**device;
                    state.notifies.notify(device, bound, first, &mut failures);
                }
                None => {
                    let places = (first..).zip(chunk);
                    places.for_each(|(place, id)| failures.add(place, *id, Error::NotBound(*id)));
                }
            }
        }
        failures.result(channels.len())
    }
}
