//! A ring that overflows again and again under load.

use std::collections::HashMap;

use evtchn_core::{Cause, EventChannel, Port, Wake};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::due::Due;
use super::note;
use super::rig::{Rig, Wire};
use super::side::Side;

/// The channels. Their ring has room for 256.
const CHANNELS: usize = 200;

/// What a channel does in a cycle. Each channel takes every role in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Has a wait all the time.
    Waits,
    /// Is cancelled before the overflow, so it is unmasked during the overflow and has no wait.
    Cancelled,
    /// Does not wait again after the overflow, and is idle in the next cycle.
    Rests,
    /// Has had no wait since the last overflow.
    Idle,
}

impl Role {
    fn of(wire: usize, cycle: usize) -> Role {
        match (wire + cycle) % 8 {
            3 => Role::Cancelled,
            6 => Role::Rests,
            // No channel rested before the first cycle.
            7 if cycle > 0 => Role::Idle,
            _ => Role::Waits,
        }
    }

    fn is_waited_on(self) -> bool {
        matches!(self, Role::Waits | Role::Rests)
    }
}

pub(crate) fn overflows_under_load_wake_every_waiter_once_and_lose_nothing<S: Side>(side: &S) {
    let rig = Rig::new(side);
    let wires = rig.wires(CHANNELS);
    overflows(&rig, &wires, side.dose().overflows);
    rig.expect_registered_once();
    let stats = rig.context.stats();
    assert_eq!((stats.opens, stats.faults, stats.unreported), (1, 0, 0));
    note(format!(
        "overflows: {} of them, {} wakes, {} reads, {} writes",
        stats.overflows, stats.wakes, stats.reads, stats.writes,
    ));
    rig.close(wires);
}

/// Overflows the ring this often, with waiters, idle channels and traffic. All channels have a wait before and
/// afterwards.
pub(crate) fn overflows<S: Side>(rig: &Rig<'_, S>, wires: &[Wire], count: usize) {
    let before = rig.context.stats();
    let mut load = Load {
        rig,
        wires,
        due: Due::default(),
        wakes: 0,
        cycle: 0,
    };
    for cycle in 0..count {
        load.cycle = cycle;
        load.run();
        let overflows = rig.context.stats().overflows - before.overflows;
        assert_eq!(overflows, cycle as u64 + 1);
    }
    load.wait_on_the_rest();
    let after = rig.context.stats();
    if rig.side.is_prompt() {
        assert_eq!(after.wakes - before.wakes, load.wakes);
        let strange = (after.spurious, after.foreign);
        assert_eq!(strange, (before.spurious, before.foreign));
    }
}

struct Load<'a, S: Side> {
    rig: &'a Rig<'a, S>,
    wires: &'a [Wire],
    /// The wakes that are due for events. Every channel is also due one for each overflow.
    due: Due,
    /// All that were due so far.
    wakes: u64,
    cycle: usize,
}

impl<'a, S: Side> Load<'a, S> {
    /// The wires of some roles, with their numbers.
    fn of(&self, is_wanted: impl Fn(Role) -> bool) -> Vec<(usize, &'a Wire)> {
        let wires = self.wires.iter().enumerate();
        wires
            .filter(|(number, _)| is_wanted(Role::of(*number, self.cycle)))
            .collect()
    }

    fn run(&mut self) {
        for (_, wire) in self.of(|role| role == Role::Cancelled) {
            wire.channel.cancel().unwrap();
        }
        self.provoke();
        // The peers go on, some before the context has read the overflow.
        for (number, wire) in self.of(|role| role != Role::Rests) {
            if number % 2 == 0 {
                self.rig.notify(wire);
                // The overflow drops the event of an unmasked port; the overflow wake takes its place.
                if Role::of(number, self.cycle) != Role::Cancelled {
                    self.due.add(wire.port());
                }
            }
        }
        self.notice();
        self.wait_on_the_idle();
        self.collect();
        for (_, wire) in self.of(|role| role != Role::Rests) {
            self.rig.notify(wire);
            self.due.add(wire.port());
        }
        self.collect();
    }

    /// The other holder writes before it reads, until the ring has no room. Leaves every port with a wait masked.
    fn provoke(&self) {
        let fuel = self.of(Role::is_waited_on);
        let ports: Vec<Port> = fuel.iter().map(|(_, wire)| wire.port()).collect();
        self.rig.behind_its_back(|device| {
            for _ in 0..1_000 {
                fuel.iter().for_each(|(_, wire)| self.rig.notify(wire));
                if is_in_overflow(device) {
                    return;
                }
                assert_eq!(device.unmask(&ports).unwrap(), ports.len());
            }
            panic!("the ring does not overflow");
        });
    }

    /// One round wakes every waiter, and no other channel.
    fn notice(&mut self) {
        let waiters = self.of(Role::is_waited_on);
        let mut asleep: HashMap<_, _> = waiters
            .into_iter()
            .map(|(number, wire)| (wire.channel.id(), number))
            .collect();
        self.rig.turn(|wake| {
            assert_eq!(wake.cause, Cause::Overflow);
            let woken = asleep.remove(&wake.channel);
            let number = woken.unwrap_or_else(|| panic!("{} woke twice", wake.port()));
            let wire = &self.wires[number];
            self.woken_by_overflow(wire);
            if Role::of(number, self.cycle) == Role::Rests {
                return;
            }
            if number % 4 == 1 {
                self.rig.notify(wire);
                self.due.add(wire.port());
            }
            self.rig.rewait(&wire.channel);
        });
        assert!(asleep.is_empty(), "not woken: {asleep:?}");
    }

    /// Waits on the channels that had no wait at the overflow: the next round wakes them with the cause.
    fn wait_on_the_idle(&mut self) {
        let idle = self.of(|role| !role.is_waited_on());
        idle.iter()
            .for_each(|(_, wire)| self.rig.rewait(&wire.channel));
        let mut not_woken: HashMap<_, _> = idle
            .into_iter()
            .map(|(number, wire)| (wire.channel.id(), number))
            .collect();
        let is_prompt = self.rig.side.is_prompt();
        self.rig.turn(|wake| {
            if let Some(number) = not_woken.remove(&wake.channel) {
                assert!(wake.cause == Cause::Overflow || !is_prompt);
                self.woken_by_overflow(&self.wires[number]);
                self.rig.context.wait(wake.channel).unwrap();
            } else {
                // Events that came for other channels meanwhile.
                self.wakes += 1;
                self.take(wake);
            }
        });
        assert!(
            not_woken.is_empty(),
            "{not_woken:?} were not woken by the overflow"
        );
    }

    /// A channel was woken by the overflow. This wake stands for every event before it, since it is not known which of
    /// them had arrived.
    fn woken_by_overflow(&mut self, wire: &Wire) {
        self.wakes += 1;
        if !self.rig.side.is_prompt() {
            self.due.forget(wire.port());
        }
    }

    /// Turns until all wakes that are due have come, and waits again for each. No other may come, unless events are
    /// delayed: then one from before an overflow can come after it.
    fn collect(&mut self) {
        self.wakes += self.due.total() as u64;
        while self.due.total() > 0 {
            self.rig.turn(|wake| self.take(wake));
        }
        if self.rig.side.is_prompt() {
            self.rig.expect_quiet();
        }
    }

    /// Takes the wake of an event and waits again.
    fn take(&mut self, wake: Wake) {
        assert_eq!(wake.cause, Cause::Event);
        let was_due = self.due.take(wake.port());
        let is_prompt = self.rig.side.is_prompt();
        assert!(was_due || !is_prompt, "no notify for {}", wake.port());
        self.rig.context.wait(wake.channel).unwrap();
    }

    fn wait_on_the_rest(&self) {
        for (_, wire) in self.of(|role| role == Role::Rests) {
            self.rig.rewait(&wire.channel);
        }
        if self.rig.side.is_prompt() {
            self.rig.expect_quiet();
        }
    }
}

fn is_in_overflow<D: std::os::fd::AsFd>(device: &D) -> bool {
    let mut fds = [PollFd::new(device, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents().contains(PollFlags::ERR)
}
