//! Values by channel, found in O(1).

use alloc::collections::BTreeMap;
use core::{fmt, mem};

use crate::machine::ChannelId;
use crate::machine::pages::Pages;

/// A map from channels to values, in O(1): for what a program keeps beside each channel.
///
/// It is indexed by port number, so it takes memory for each page of 128 numbers in which there is a
/// channel.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// use evtchn::ChannelMap;
///
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let mut wakes = ChannelMap::new();
/// wakes.insert(channel.id(), 0);
/// channel.wait_each()?;
/// guest.send(theirs)?;
/// for wake in ctx.dispatch()? {
///     if let Some(count) = wakes.get_mut(wake.channel) {
///         *count += 1;
///     }
/// }
/// assert_eq!(wakes.remove(channel.id()), Some(1));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct ChannelMap<T> {
    places: Pages<Place<T>>,
    /// The values of earlier bindings whose port number another channel of the map has by now.
    displaced: BTreeMap<ChannelId, Option<T>>,
    channels: usize,
}

/// What is kept for a port number.
struct Place<T> {
    /// The generation of the binding; 0 if there is none.
    generation: u64,
    /// `None` while a callback is taken out to run.
    value: Option<T>,
}

impl<T> Default for Place<T> {
    fn default() -> Place<T> {
        Place {
            generation: 0,
            value: None,
        }
    }
}

impl<T> ChannelMap<T> {
    /// An empty map.
    #[must_use]
    pub fn new() -> ChannelMap<T> {
        ChannelMap::default()
    }

    /// Sets the value of a channel. Returns the one that it replaces.
    pub fn insert(&mut self, id: ChannelId, value: T) -> Option<T> {
        if let Some(place) = self.place(id) {
            return place.replace(value);
        }
        self.channels += 1;
        let place = self.places.enter(id.port().as_raw());
        let earlier = mem::replace(&mut place.generation, id.generation());
        let displaced = place.value.replace(value);
        if earlier != 0 {
            let earlier = ChannelId::of(id.port(), earlier);
            self.displaced.insert(earlier, displaced);
        }
        None
    }

    /// Removes the value of a channel, and returns it.
    pub fn remove(&mut self, id: ChannelId) -> Option<T> {
        let value = match self.places.get_mut(id.port().as_raw()) {
            Some(place) if place.generation == id.generation() => {
                place.generation = 0;
                place.value.take()
            }
            Some(_) | None => self.displaced.remove(&id)?,
        };
        self.channels -= 1;
        value
    }

    /// The value of a channel.
    #[must_use]
    pub fn get(&self, id: ChannelId) -> Option<&T> {
        match self.places.get(id.port().as_raw()) {
            Some(place) if place.generation == id.generation() => place.value.as_ref(),
            Some(_) | None => self.displaced.get(&id)?.as_ref(),
        }
    }

    /// The value of a channel, to change it.
    #[inline]
    pub fn get_mut(&mut self, id: ChannelId) -> Option<&mut T> {
        self.place(id)?.as_mut()
    }

    /// Whether the channel has a value.
    #[inline]
    #[must_use]
    pub fn contains(&self, id: ChannelId) -> bool {
        let place = self.places.get(id.port().as_raw());
        place.is_some_and(|place| place.generation == id.generation())
            || self.displaced.contains_key(&id)
    }

    /// How many channels have a value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.channels
    }

    /// Whether no channel has a value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.channels == 0
    }

    /// The channels that have a value, in no particular order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        let entered = self.places.iter().filter_map(|(raw, place)| {
            let port = crate::ids::Port::new(raw).filter(|_| place.generation != 0)?;
            Some(ChannelId::of(port, place.generation))
        });
        entered.chain(self.displaced.keys().copied())
    }

    /// The place of the value of a channel, which is empty while a callback is taken out.
    #[inline]
    pub(crate) fn place(&mut self, id: ChannelId) -> Option<&mut Option<T>> {
        match self.places.get_mut(id.port().as_raw()) {
            Some(place) if place.generation == id.generation() => Some(&mut place.value),
            Some(_) | None => Self::displaced(&mut self.displaced, id),
        }
    }

    /// The place of a channel whose port number has another owner, where there is one.
    #[cold]
    #[inline(never)]
    fn displaced(
        displaced: &mut BTreeMap<ChannelId, Option<T>>,
        id: ChannelId,
    ) -> Option<&mut Option<T>> {
        displaced.get_mut(&id)
    }
}

impl<T> Default for ChannelMap<T> {
    fn default() -> ChannelMap<T> {
        ChannelMap {
            places: Pages::default(),
            displaced: BTreeMap::new(),
            channels: 0,
        }
    }
}

impl<T> fmt::Debug for ChannelMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.channels()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Port;

    fn channel(raw: u32, generation: u64) -> ChannelId {
        ChannelId::of(Port::new(raw).unwrap(), generation)
    }

    #[test]
    fn each_channel_has_a_value_of_its_own() {
        let mut map = ChannelMap::new();
        let [one, other] = [channel(5, 1), channel(700, 2)];
        assert!(map.is_empty() && map.insert(one, 'a').is_none());
        assert!(map.insert(other, 'b').is_none());
        assert_eq!(map.insert(one, 'c'), Some('a'));
        assert_eq!((map.get(one), map.get(other)), (Some(&'c'), Some(&'b')));
        assert_eq!(map.len(), 2);
        assert_eq!(map.remove(one), Some('c'));
        assert!(!map.contains(one) && map.remove(one).is_none());
        assert_eq!(map.channels().collect::<Vec<_>>(), [other]);
    }

    #[test]
    fn two_bindings_of_one_port_number_have_a_value_each() {
        let mut map = ChannelMap::new();
        let [first, second, third] = [1, 2, 3].map(|generation| channel(5, generation));
        map.insert(first, 'a');
        assert!(!map.contains(second) && map.get_mut(second).is_none());
        map.insert(second, 'b');
        assert_eq!((map.get(first), map.get(second)), (Some(&'a'), Some(&'b')));
        assert_eq!(map.insert(first, 'c'), Some('a'));
        assert!(map.get(third).is_none() && map.remove(third).is_none());
        assert_eq!(map.len(), 2);
        assert_eq!(map.remove(second), Some('b'));
        assert_eq!(map.remove(first), Some('c'));
        assert!(map.is_empty() && map.channels().next().is_none());
    }
}
