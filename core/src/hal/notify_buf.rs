//! The ports of a batch of notifies, and what came of them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{EventChannel, PortBuf};
use crate::error::{Error, NotNotified};
use crate::ids::Port;
use crate::machine::ChannelId;

/// Room for the ports that one call of a device notifies. It is kept, so that a batch allocates
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct NotifyBuf {
    ports: Vec<Port>,
    /// The channel of each port, and its place in the batch.
    channels: Vec<(usize, ChannelId)>,
}

impl NotifyBuf {
    /// The most channels that are notified in one call, so that no unbind has to wait for longer.
    pub(crate) const MOST: usize = PortBuf::MAX;

    /// Notifies channels, of which the first has the place `first` in the batch, if each is bound.
    #[inline]
    pub(crate) fn notify(
        &mut self,
        device: &dyn EventChannel,
        channels: impl Iterator<Item = (ChannelId, bool)>,
        first: usize,
        failures: &mut Failures,
    ) {
        self.ports.clear();
        self.channels.clear();
        for (place, (id, is_bound)) in (first..).zip(channels) {
            if is_bound {
                self.ports.push(id.port());
                self.channels.push((place, id));
            } else {
                failures.add(place, id, Error::NotBound(id));
            }
        }
        device.notify_many(&self.ports, &mut |index, error| {
            if let Some(&(place, id)) = self.channels.get(index) {
                failures.add(place, id, Error::Device(error));
            }
        });
    }
}

/// The channels of a batch that were not notified.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<(usize, ChannelId, Error)>);

impl Failures {
    #[cold]
    pub(crate) fn add(&mut self, place: usize, id: ChannelId, error: Error) {
        self.0.push((place, id, error));
    }

    /// The result of a batch of so many channels.
    #[inline]
    pub(crate) fn result(self, of: usize) -> Result<(), Error> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(self.error(of)),
        }
    }

    #[cold]
    fn error(self, of: usize) -> Error {
        let Failures(mut failed) = self;
        failed.sort_by_key(|(place, ..)| *place);
        let failed = failed.into_iter().map(|(_, id, error)| (id, error));
        Error::NotNotified(Box::new(NotNotified {
            failed: failed.collect(),
            of,
        }))
    }
}
