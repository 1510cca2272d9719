//! One open file of the driver (`struct per_user_data`): its ring and its restriction.
//!
//! The kernel's port table says which ports it has bound.

use std::collections::{BTreeSet, VecDeque};

use super::abi::{Access, PollBits};
use crate::errno::Errno;
use crate::pollable::Pollable;

#[derive(Debug)]
pub(crate) struct File {
    /// Ports that fired and were not read yet. An entry survives the unbind of its port.
    ring: VecDeque<u32>,
    ring_size: usize,
    /// Set when an event found the ring full; only a reset clears it.
    overflowed: bool,
    /// The ports that are bound, in no order.
    pub(super) ports: Vec<u32>,
    /// The ports that were bound before the last restore of the domain, which are dead.
    old_ports: BTreeSet<u32>,
    /// The domain was restored since the file was opened.
    pub(super) is_old: bool,
    /// Its holder watches for a restore.
    has_watch: bool,
    /// What its holder watches to notice that has fired.
    watch_fired: bool,
    pub(super) restricted_to: Option<u16>,
    /// How often a sleeper was woken: the changes of the ring from empty to not empty.
    wakes: u64,
    /// How many descriptors refer to this file.
    pub(super) descriptors: usize,
    /// How many threads sleep in a read of it.
    pub(super) readers: usize,
    pub(super) access: Access,
    /// `O_NONBLOCK`.
    pub(super) is_nonblocking: bool,
    /// `O_ASYNC`.
    pub(super) is_async: bool,
    /// How often `SIGIO` was due.
    pub(super) signals: u64,
    /// What a real event loop polls in its stead.
    pub(super) pollable: Option<Pollable>,
}

impl File {
    pub(super) fn new() -> File {
        File {
            ring: VecDeque::new(),
            ring_size: 0,
            overflowed: false,
            ports: Vec::new(),
            old_ports: BTreeSet::new(),
            is_old: false,
            has_watch: true,
            watch_fired: false,
            restricted_to: None,
            wakes: 0,
            descriptors: 1,
            readers: 0,
            access: Access::ReadWrite,
            is_nonblocking: true,
            is_async: false,
            signals: 0,
            pollable: None,
        }
    }

    /// The domain was restored: the ports are dead. What was not read yet can still be read.
    pub(super) fn restore(&mut self) {
        self.old_ports.extend(self.ports.drain(..));
        self.is_old = true;
    }

    /// Whether it had bound this port before a restore.
    #[inline]
    pub(super) fn has_old(&self, port: u32) -> bool {
        self.is_old && self.old_ports.contains(&port)
    }

    pub(super) fn forget_old(&mut self, port: u32) {
        self.old_ports.remove(&port);
    }

    pub(super) fn old_ports(&self) -> usize {
        self.old_ports.len()
    }

    /// Its holder does not watch for a restore.
    pub(super) fn unwatch(&mut self) {
        self.has_watch = false;
    }

    /// The watch of its holder fires, if the file is from before the restore.
    pub(super) fn fire_watch(&mut self) {
        self.watch_fired |= self.is_old && self.has_watch;
        self.show();
    }

    #[inline]
    pub(super) fn has_fired_watch(&self) -> bool {
        self.watch_fired
    }

    /// What an event loop sees that polls the device and the watch of its holder.
    pub(super) fn poll_with_watch(&self) -> PollBits {
        match self.poll() {
            PollBits::WRITABLE if self.watch_fired => PollBits::READABLE,
            bits => bits,
        }
    }

    /// Enters one more bound port and makes room for it: 64 entries at first, then twice as many
    /// whenever there are more ports than entries (`evtchn_resize_ring`). Returns its place among the
    /// ports.
    pub(super) fn bound_one(&mut self, port: u32) -> u32 {
        // There are no more than 2^17 ports.
        let place = u32::try_from(self.ports.len()).unwrap_or(u32::MAX);
        self.ports.push(port);
        if self.ports.len() > self.ring_size {
            self.ring_size = if self.ring_size == 0 {
                64
            } else {
                self.ring_size * 2
            };
            self.ring.reserve(self.ring_size - self.ring.len());
        }
        place
    }

    /// An event of `port`: appended, or dropped where the ring is full (`evtchn_interrupt`).
    #[inline]
    pub(super) fn push(&mut self, port: u32) {
        if self.ring.len() < self.ring_size {
            self.ring.push_back(port);
            if self.ring.len() == 1 {
                self.wakes += 1;
                self.signals += u64::from(self.is_async);
                self.show();
            }
        } else {
            self.overflow();
        }
    }

    /// An event found the ring full and was dropped.
    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
        self.show();
    }

    /// Reads into room for `count` bytes, a page at most; `put` stores each port. Returns bytes (`evtchn_read`).
    /// Only the first `there` bytes of the room are mapped; what does not fit into them is not
    /// consumed.
    #[inline]
    pub(super) fn read(
        &mut self,
        page: usize,
        count: usize,
        there: usize,
        mut put: impl FnMut(usize, u32),
    ) -> Result<usize, Errno> {
        let room = count.min(page) / size_of::<u32>();
        if room == 0 {
            return Ok(0);
        }
        if self.overflowed {
            return Err(Errno::EFBIG);
        }
        if self.ring.is_empty() {
            return Err(Errno::EAGAIN);
        }
        let ports = room.min(self.ring.len());
        if ports * size_of::<u32>() > there {
            return Err(Errno::EFAULT);
        }
        for (index, port) in self.ring.drain(..ports).enumerate() {
            put(index, port);
        }
        if self.ring.is_empty() {
            self.show();
        }
        Ok(ports * size_of::<u32>())
    }

    /// Empties the ring and ends an overflow. Sets no port's enabled flag.
    pub(super) fn reset(&mut self) {
        self.ring.clear();
        self.overflowed = false;
        self.show();
    }

    /// What poll(2) says (`evtchn_poll`).
    #[inline]
    pub(super) fn poll(&self) -> PollBits {
        if self.overflowed {
            PollBits::ERROR
        } else if self.ring.is_empty() {
            PollBits::WRITABLE
        } else {
            PollBits::READABLE
        }
    }

    pub(super) fn wakes(&self) -> u64 {
        self.wakes
    }

    /// The unread entries, the oldest first.
    pub(super) fn ring(&self) -> impl ExactSizeIterator<Item = u32> {
        self.ring.iter().copied()
    }

    pub(super) fn ring_size(&self) -> usize {
        self.ring_size
    }

    /// Shows the state to a real event loop, if one polls.
    #[inline]
    fn show(&mut self) {
        let bits = self.poll_with_watch();
        if let Some(pollable) = &mut self.pollable {
            pollable.show(bits);
        }
    }
}
