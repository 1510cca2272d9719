//! Binds and unbinds without end, on a ring that is as full as it can be.

use evtchn_core::{Cause, DomId, EventChannel, Port, PortBuf, Wake};

use super::due::Due;
use super::note;
use super::rig::{Channel, Rig, local};
use super::side::Side;

/// As many channels as the smallest ring has room for entries.
const CHANNELS: usize = 64;

pub(crate) fn churn_with_unread_entries_never_overflows_and_wakes_no_wrong_owner<S: Side>(
    side: &S,
) {
    let rig = Rig::new(side);
    let mut churn = Churn::new(&rig);
    churn.rebind(side.dose().rebinds);
    rig.expect_registered_once();
    let stats = rig.context.stats();
    assert_eq!((stats.overflows, stats.spurious, stats.faults), (0, 0, 0));
    // Without many stale entries all this would prove nothing.
    let many = 5 * CHANNELS;
    assert!(churn.reused >= many, "{} numbers reused", churn.reused);
    assert!(stats.foreign >= many as u64, "{} stale", stats.foreign);
    note(format!(
        "churn: {} rebinds, {} stale entries, {} numbers of one reused, {} wakes, {} overflows",
        churn.rebinds, stats.foreign, churn.reused, stats.wakes, stats.overflows,
    ));
    churn.end();
    rig.close(vec![]);
}

/// A channel, and the port of the peer at its other end, if any.
struct Slot {
    channel: Channel,
    peer: Option<Port>,
}

/// Channels that come and go, all of them waited on between the steps.
pub(crate) struct Churn<'r, S: Side> {
    rig: &'r Rig<'r, S>,
    slots: Vec<Slot>,
    due: Due,
    /// Where the next choice comes from.
    dice: u64,
    rebinds: usize,
    /// How many channels got a number whose last owner left an unread event.
    reused: usize,
}

impl<'r, S: Side> Churn<'r, S> {
    pub(crate) fn new(rig: &'r Rig<'r, S>) -> Self {
        let mut churn = Churn {
            rig,
            slots: Vec::new(),
            due: Due::default(),
            dice: 1,
            rebinds: 0,
            reused: 0,
        };
        for _ in 0..CHANNELS {
            churn.bind();
        }
        churn
    }

    /// Unbinds and rebinds at least this many channels, with everything else that can happen
    /// between.
    pub(crate) fn rebind(&mut self, count: usize) {
        let end = self.rebinds + count;
        while self.rebinds < end {
            self.notify_some();
            // With the event unread, and below with the event read for a bind.
            self.cancel_some();
            self.wait_on_all();
            self.notify_some();
            self.cancel_some();
            let most = 1 + self.throw(8);
            self.replace(most);
            self.wait_on_all();
            if self.throw(4) == 0 && self.due.total() > 0 {
                self.turn();
            }
        }
        while self.due.total() > 0 {
            self.turn();
        }
        self.rig.expect_quiet();
    }

    pub(crate) fn end(self) {
        for mut slot in self.slots {
            slot.channel.unbind().unwrap();
        }
    }

    /// A number that looks random and is the same in every run (xorshift64*).
    fn throw(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        let thrown = self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(thrown).unwrap() % sides
    }

    /// Half of the peers notify.
    fn notify_some(&mut self) {
        // A second event waits in Xen for the unmask of the first. If events are delayed, the two
        // may become one.
        let most = if self.rig.side.is_prompt() { 2 } else { 1 };
        for number in 0..self.slots.len() {
            let is_chosen = self.throw(2) == 0;
            let slot = &self.slots[number];
            let port = slot.channel.port();
            let Some(peer) = slot.peer else { continue };
            if is_chosen && self.due.on(port) < most {
                self.rig.peer.notify(peer).unwrap();
                self.due.add(port);
            }
        }
    }

    fn cancel_some(&mut self) {
        for number in 0..self.slots.len() {
            if self.throw(4) == 0 {
                self.slots[number].channel.cancel().unwrap();
            }
        }
    }

    /// Some wait already; for some of the others an event was read meanwhile, which the next round
    /// hands out.
    fn wait_on_all(&self) {
        for slot in &self.slots {
            slot.channel.wait().unwrap();
        }
    }

    /// Unbinds some channels, read or not, and then binds as many new ones.
    fn replace(&mut self, most: usize) {
        let first = self.throw(CHANNELS);
        let end = CHANNELS.min(first + most);
        let old: Vec<Slot> = self.slots.drain(first..end).collect();
        let mut unread = Vec::new();
        for Slot { mut channel, peer } in old {
            let port = channel.port();
            if self.due.on(port) > 0 {
                unread.push(port);
            }
            self.due.forget(port);
            channel.unbind().unwrap();
            if let Some(peer) = peer {
                self.rig.peer.unbind(peer).unwrap();
            }
        }
        while self.slots.len() < CHANNELS {
            let port = self.bind();
            self.reused += usize::from(unread.contains(&port));
            self.rebinds += 1;
        }
        // Otherwise its ring would overflow, which no check would notice.
        let mut taken = PortBuf::with_capacity(CHANNELS);
        self.rig.peer.pending(&mut taken).unwrap();
    }

    /// A new channel that is waited on. Only one that was bound to a port of the peer has a wake.
    fn bind(&mut self) -> Port {
        let kind = self.throw(8);
        let (context, peer) = (&self.rig.context, &self.rig.peer);
        let slot = if kind < 3 {
            let remote = peer.bind_unbound_port(DomId::SELF).unwrap();
            let channel = context.bind_interdomain(local(remote)).unwrap();
            self.due.add(channel.port());
            Slot {
                channel,
                peer: Some(remote),
            }
        } else {
            let channel = context.bind_unbound_port(DomId::SELF).unwrap();
            // Some wait for a peer that never binds.
            let is_met = kind < 7;
            let meet = || peer.bind_interdomain(local(channel.port())).unwrap();
            let peer = is_met.then(meet);
            Slot { channel, peer }
        };
        self.rig.rewait(&slot.channel);
        let port = slot.channel.port();
        self.slots.push(slot);
        port
    }

    fn turn(&mut self) {
        let rig = self.rig;
        rig.turn(|wake| self.woken(wake));
    }

    fn woken(&mut self, wake: Wake) {
        let port = wake.port();
        assert_eq!(wake.cause, Cause::Event);
        let mut slots = self.slots.iter();
        assert!(slots.any(|slot| slot.channel.id() == wake.channel));
        assert!(self.due.take(port), "no notify for {port}");
        self.rig.context.wait(wake.channel).unwrap();
        if self.throw(16) == 0 {
            self.replace(1);
        }
    }
}
