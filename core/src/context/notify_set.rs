//! A set of notifiers, which notifies all of them at once.

use std::fmt;

use super::Notifier;
use super::observed::{done, observed};
use crate::error::{Error, NotNotified};
use crate::hal::{Failures, NotifyBuf, Opened};
use crate::machine::ChannelId;
use crate::observe::Called;

/// Notifiers that notify together, from any thread:
/// [`Context::notify_many`](super::Context::notify_many) without the context.
///
/// While a call of the device notifies its channels, an unbind of any channel of the device waits.
/// Channels that were unbound stay in the set, and fail, until they are [removed](Self::remove).
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId, NotifySet};
///
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// let channels = [ctx.bind_unbound_port(guest.domid())?, ctx.bind_unbound_port(guest.domid())?];
/// let theirs = guest.bind_interdomain(DomId::DOM0, channels[1].port())?;
///
/// let set: NotifySet = channels.iter().map(|channel| channel.notifier()).collect();
/// std::thread::spawn(move || set.notify()).join().unwrap()?;
/// assert_eq!(guest.events(theirs)?, 2); // the bind was the first
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct NotifySet {
    /// The notifiers of each device by the ids of their channels.
    devices: Vec<Vec<Notifier>>,
}

impl NotifySet {
    /// A set without notifiers.
    #[must_use]
    pub const fn new() -> NotifySet {
        NotifySet {
            devices: Vec::new(),
        }
    }

    /// Adds a notifier. Returns whether its channel was not in the set.
    pub fn insert(&mut self, notifier: Notifier) -> bool {
        let mut devices = self.devices.iter_mut();
        let same = devices.find(|it| it.first().is_some_and(|first| first.is_beside(&notifier)));
        let Some(same) = same else {
            self.devices.push(vec![notifier]);
            return true;
        };
        match same.binary_search_by_key(&notifier.id(), Notifier::id) {
            Ok(_) => false,
            Err(place) => {
                same.insert(place, notifier);
                true
            }
        }
    }

    /// Removes the notifier of this channel. Returns whether there was one.
    pub fn remove(&mut self, channel: ChannelId) -> bool {
        let before = self.len();
        for notifiers in &mut self.devices {
            if let Ok(place) = notifiers.binary_search_by_key(&channel, Notifier::id) {
                notifiers.remove(place);
            }
        }
        self.devices.retain(|notifiers| !notifiers.is_empty());
        self.len() < before
    }

    /// How many channels it notifies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.iter().map(Vec::len).sum()
    }

    /// Whether it has no notifier.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Notifies all channels: in the order of their ports, and those of one context after those of
    /// another. It allocates nothing unless it fails.
    ///
    /// # Errors
    /// Those of [`Context::notify_many`](super::Context::notify_many).
    pub fn notify(&self) -> Result<(), Error> {
        let mut all = NotNotified {
            failed: Vec::new(),
            of: self.len(),
        };
        for notifiers in &self.devices {
            match notify(notifiers) {
                Ok(()) => {}
                Err(Error::NotNotified(one)) => all.failed.extend(one.failed),
                Err(error) => return Err(error),
            }
        }
        match all.failed.is_empty() {
            true => Ok(()),
            false => Err(Error::NotNotified(Box::new(all))),
        }
    }
}

/// Notifies channels of one device.
fn notify(notifiers: &[Notifier]) -> Result<(), Error> {
    let device = notifiers.first().and_then(Notifier::device);
    match device {
        Some(device) if !device.is_plain() => notify_with_news(device, notifiers),
        device => notify_now(device, notifiers, true),
    }
}

/// [`notify`] through a device that failed or is recorded.
#[cold]
#[inline(never)]
fn notify_with_news(device: &Opened, notifiers: &[Notifier]) -> Result<(), Error> {
    let ids: Vec<_> = notifiers.iter().map(Notifier::id).collect();
    let notify = || notify_now(Some(device), notifiers, !device.has_failed());
    let call = || Called::NotifyMany(&ids);
    observed(device.observer(), call, notify, done)
}

fn notify_now(device: Option<&Opened>, notifiers: &[Notifier], works: bool) -> Result<(), Error> {
    let mut failures = Failures::default();
    let Some(device) = device else {
        let places = notifiers.iter().map(Notifier::id).enumerate();
        places.for_each(|(place, id)| failures.add(place, id, Error::NotBound(id)));
        return failures.result(notifiers.len());
    };
    if device.is_inherited() {
        return Err(Error::Inherited);
    }
    let firsts = (0..).step_by(NotifyBuf::MOST);
    for (first, chunk) in firsts.zip(notifiers.chunks(NotifyBuf::MOST)) {
        // While it is locked, no channel of the device is unbound.
        let mut buf = device.notifies();
        let bound = chunk.iter().map(|it| (it.id(), works && it.is_alive()));
        buf.notify(&**device, bound, first, &mut failures);
    }
    failures.result(notifiers.len())
}

impl FromIterator<Notifier> for NotifySet {
    fn from_iter<I: IntoIterator<Item = Notifier>>(notifiers: I) -> NotifySet {
        let mut set = NotifySet::new();
        set.extend(notifiers);
        set
    }
}

impl Extend<Notifier> for NotifySet {
    fn extend<I: IntoIterator<Item = Notifier>>(&mut self, notifiers: I) {
        for notifier in notifiers {
            self.insert(notifier);
        }
    }
}

impl fmt::Debug for NotifySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notifiers = self.devices.iter().flatten();
        f.debug_set().entries(notifiers.map(Notifier::id)).finish()
    }
}
