//! One domain as Xen sees it: its port table and where its VIRQs are bound.

use evtchn_core::DomId;

use super::queue::Ticket;
use super::virq::NR_VIRQS;
use crate::config::{Abi, DomainConfig};
use crate::errno::Errno;

/// What a port is (xen/include/xen/sched.h, `ECS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Reserved,
    Unbound { remote: DomId },
    Interdomain { remote: DomId, port: u32 },
    Virq { virq: u32, vcpu: u32 },
    Ipi { vcpu: u32 },
    Pirq { pirq: u32 },
}

impl State {
    /// The vCPU that gets the events at first.
    const fn first_vcpu(self) -> u32 {
        match self {
            State::Virq { vcpu, .. } | State::Ipi { vcpu } => vcpu,
            State::Free
            | State::Reserved
            | State::Unbound { .. }
            | State::Interdomain { .. }
            | State::Pirq { .. } => 0,
        }
    }
}

/// What gets the events of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    Guest,
    /// Xen itself, which got this many events.
    Xen {
        events: u32,
    },
}

/// One port: its state and the bits that Xen shares with the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) state: State,
    pub(crate) pending: bool,
    pub(crate) masked: bool,
    /// In the guest's event queue, waiting for its upcall. Outlives a close.
    pub(crate) linked: bool,
    /// Where it is in the hypervisor's queue, if it is there.
    pub(super) ticket: Ticket,
    /// The vCPU that gets the events.
    pub(crate) vcpu: u32,
    pub(crate) consumer: Consumer,
}

impl Channel {
    const FREE: Channel = Channel {
        state: State::Free,
        pending: false,
        masked: true,
        linked: false,
        ticket: Ticket::FIRST,
        vcpu: 0,
        consumer: Consumer::Guest,
    };

    /// Whether Xen keeps the port for itself, inside the table of the domain.
    pub(crate) const fn is_xens(&self) -> bool {
        matches!(self.consumer, Consumer::Xen { .. })
    }
}

/// The port table grows by this many at a time, for good, and the numbers in it are *valid*
/// (`EVTCHNS_PER_BUCKET`).
const BUCKET: usize = 64;

#[derive(Debug)]
pub(crate) struct Domain {
    /// Every valid port; 0 is reserved.
    channels: Vec<Channel>,
    free: FreePorts,
    /// The highest port that the toolstack permits.
    max_port: u32,
    abi: Abi,
    /// Per vCPU, the port of each VIRQ; 0 where it is not bound.
    virqs: Vec<[u32; NR_VIRQS]>,
    pub(crate) privileged: bool,
    pub(crate) device_model_of: Option<DomId>,
    /// The physical interrupts that it may bind.
    pub(crate) pirqs: Vec<u32>,
    pub(crate) dying: bool,
    /// How often the toolstack paused it.
    pub(crate) pauses: u32,
    /// It shut itself down: its vCPUs never run again.
    pub(crate) shut_down: bool,
    /// Linked ports that no vCPU of the domain can notice, because none of them runs.
    pub(crate) parked: Vec<u32>,
}

impl Domain {
    pub(crate) fn new(config: &DomainConfig) -> Domain {
        let mut domain = Domain {
            channels: Vec::new(),
            free: FreePorts::default(),
            max_port: config.max_port,
            abi: config.abi,
            virqs: vec![[0; NR_VIRQS]; config.vcpus as usize],
            privileged: config.privileged,
            device_model_of: config.device_model_of,
            pirqs: config.pirqs.clone(),
            dying: false,
            pauses: 0,
            shut_down: false,
            parked: Vec::new(),
        };
        domain.grow();
        domain.free.take(0);
        domain.channels[0].state = State::Reserved;
        domain
    }

    /// The channel of a valid port.
    pub(crate) fn channel(&self, port: u32) -> Option<&Channel> {
        self.channels.get(port as usize)
    }

    /// The channel of a valid port.
    pub(crate) fn channel_mut(&mut self, port: u32) -> Option<&mut Channel> {
        self.channels.get_mut(port as usize)
    }

    /// Every valid port but 0.
    pub(crate) fn ports(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        // The table never holds more than 2^17 ports.
        1..u32::try_from(self.channels.len()).unwrap_or(u32::MAX)
    }

    /// The lowest free port. It becomes valid here, and is not taken yet (`get_free_port`).
    pub(crate) fn free_port(&mut self) -> Result<u32, Errno> {
        if self.dying {
            return Err(Errno::EINVAL);
        }
        let port = match self.free.lowest() {
            Some(port) => port,
            None => u32::try_from(self.channels.len()).map_err(|_| Errno::ENOSPC)?,
        };
        if port > self.highest() {
            return Err(Errno::ENOSPC);
        }
        if port as usize >= self.channels.len() {
            self.grow();
        }
        Ok(port)
    }

    /// Takes a free port: neither pending nor linked, and masked as the guest's kernel leaves it.
    pub(crate) fn take(&mut self, port: u32, state: State) {
        let Some(channel) = self.channels.get_mut(port as usize) else {
            return;
        };
        let Channel { linked, ticket, .. } = *channel;
        *channel = Channel {
            state,
            linked,
            ticket,
            vcpu: state.first_vcpu(),
            ..Channel::FREE
        };
        self.free.take(port);
    }

    /// Takes a port by its number, as the tables of a statically partitioned machine do.
    pub(crate) fn take_static(&mut self, port: u32, state: State) -> Result<(), Errno> {
        if port > self.highest() {
            return Err(Errno::ENOSPC);
        }
        while port as usize >= self.channels.len() {
            self.grow();
        }
        if self.channels[port as usize].state != State::Free {
            return Err(Errno::EBUSY);
        }
        self.take(port, state);
        Ok(())
    }

    /// Makes a port free. One that is still linked stays busy under the FIFO ABI until the
    /// guest's upcall unlinks it (xen/common/event_fifo.c, `evtchn_fifo_is_busy`).
    pub(crate) fn put(&mut self, port: u32) {
        let Some(channel) = self.channels.get_mut(port as usize) else {
            return;
        };
        let Channel { linked, ticket, .. } = *channel;
        *channel = Channel {
            linked,
            ticket,
            ..Channel::FREE
        };
        if !(linked && self.abi == Abi::Fifo) {
            self.free.put(port);
        }
    }

    /// Removes a port from the guest's event queue; returns whether it is to be handled.
    pub(crate) fn unlink(&mut self, port: u32) -> bool {
        let Some(channel) = self.channels.get_mut(port as usize) else {
            return false;
        };
        channel.linked = false;
        if channel.state == State::Free {
            self.free.put(port);
        }
        channel.pending && !channel.masked
    }

    /// Whether a port of the FIFO ABI is not masked.
    #[inline]
    pub(crate) fn is_unmasked_fifo(&self, port: u32) -> bool {
        self.abi == Abi::Fifo && self.channel(port).is_some_and(|it| !it.masked)
    }

    /// The port of a VIRQ on a vCPU, 0 where it is not bound.
    pub(crate) fn virq(&mut self, virq: usize, vcpu: u32) -> Option<&mut u32> {
        self.virqs.get_mut(vcpu as usize)?.get_mut(virq)
    }

    pub(crate) fn has_vcpu(&self, vcpu: u32) -> bool {
        (vcpu as usize) < self.virqs.len()
    }

    /// Whether its vCPUs notice events.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.pauses == 0 && !self.shut_down
    }

    /// Changes the way in which event bits are shared. The queue of the old way is emptied, and no
    /// port stays busy because it was in that queue.
    pub(crate) fn switch(&mut self, abi: Abi) {
        self.abi = abi;
        self.parked.clear();
        for port in self.ports() {
            let channel = &mut self.channels[port as usize];
            channel.linked = false;
            if channel.state == State::Free {
                self.free.put(port);
            }
        }
    }

    /// The highest port that may be allocated.
    fn highest(&self) -> u32 {
        self.max_port.min(self.abi.ports() - 1)
    }

    fn grow(&mut self) {
        let valid = self.channels.len() + BUCKET;
        self.channels.resize(valid, Channel::FREE);
        self.free.words.push(u64::MAX);
    }
}

/// The free ports of the table, a bit each.
#[derive(Debug, Default)]
struct FreePorts {
    words: Vec<u64>,
    /// No word before this one has a free port.
    first: usize,
}

impl FreePorts {
    fn lowest(&mut self) -> Option<u32> {
        while let Some(&word) = self.words.get(self.first) {
            if word != 0 {
                let words = u32::try_from(self.first).ok()?;
                return Some(words * u64::BITS + word.trailing_zeros());
            }
            self.first += 1;
        }
        None
    }

    fn take(&mut self, port: u32) {
        let (word, bit) = place(port);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
    }

    fn put(&mut self, port: u32) {
        let (index, bit) = place(port);
        if let Some(word) = self.words.get_mut(index) {
            *word |= bit;
            self.first = self.first.min(index);
        }
    }
}

const fn place(port: u32) -> (usize, u64) {
    ((port / u64::BITS) as usize, 1 << (port % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_port_is_given_whatever_was_put_back() {
        let mut domain = Domain::new(&DomainConfig::dom0());
        let state = State::Ipi { vcpu: 0 };
        for expected in 1..200 {
            let port = domain.free_port().unwrap();
            assert_eq!(port, expected);
            domain.take(port, state);
        }
        for port in [150, 3, 70] {
            domain.put(port);
        }
        for expected in [3, 70, 150, 200] {
            let port = domain.free_port().unwrap();
            assert_eq!(port, expected);
            domain.take(port, state);
        }
    }

    #[test]
    fn ports_become_valid_64_at_a_time_and_stay_so() {
        let mut domain = Domain::new(&DomainConfig::dom0());
        assert!(domain.channel(63).is_some() && domain.channel(64).is_none());
        for _ in 1..=64 {
            let port = domain.free_port().unwrap();
            domain.take(port, State::Ipi { vcpu: 0 });
        }
        assert!(domain.channel(127).is_some() && domain.channel(128).is_none());
        domain.ports().for_each(|port| domain.put(port));
        assert!(domain.channel(127).is_some());
    }

    #[test]
    fn a_closed_port_that_is_linked_is_busy_under_fifo_and_free_under_two_level() {
        for (config, next) in [
            (DomainConfig::dom0(), 2),
            (DomainConfig::dom0_two_level(), 1),
        ] {
            let mut domain = Domain::new(&config);
            domain.take(1, State::Ipi { vcpu: 0 });
            domain.channel_mut(1).unwrap().linked = true;
            domain.put(1);
            assert_eq!(domain.free_port(), Ok(next), "{:?}", config.abi);
            assert!(!domain.unlink(1));
            assert_eq!(domain.free_port(), Ok(1));
        }
    }
}
