//! Restores at every point of a script, one or two of them, with the watch of the program firing at once or late.

use evtchn::sim::SimLoop;
use evtchn::{Cause, ChannelId, Error, Port};

use super::{Restored, SECOND};
use crate::common::Channel;

/// The steps of the script, in this order.
const STEPS: [fn(&mut Run); 14] = [
    Run::bind,
    Run::wait_each,
    Run::bind,
    Run::wait,
    Run::fire,
    Run::turn,
    Run::notify,
    Run::wait,
    Run::cancel,
    Run::fire,
    Run::unbind,
    Run::turn,
    Run::drop,
    Run::turn,
];

/// When the watch of the program fires.
#[derive(Debug, Clone, Copy)]
enum Watch {
    /// Before the next step.
    AtOnce,
    /// After the script.
    Late,
}

struct Run {
    it: Restored,
    /// With the ports of their peers, and how many restores there were before the bind.
    channels: Vec<(Channel, Port, usize)>,
    restores: usize,
    /// The channels with a wait that has not ended.
    waiting: Vec<ChannelId>,
    /// Those whose wait is to end because of a restore.
    to_resume: Vec<ChannelId>,
    resumed: Vec<ChannelId>,
}

impl Run {
    fn bind(&mut self) {
        let (channel, peer) = self.it.wire();
        self.channels.push((channel, peer, self.restores));
    }

    fn wait_each(&mut self) {
        self.begin(Channel::wait_each);
    }

    fn wait(&mut self) {
        self.begin(Channel::wait);
    }

    /// A wait of the last channel. Once its end was noticed, it is refused.
    fn begin(&mut self, wait: impl Fn(&Channel) -> Result<(), Error>) {
        let Some((channel, _, restores)) = self.channels.last() else {
            return;
        };
        let begun = match *restores == self.restores {
            true => &mut self.waiting,
            false => &mut self.to_resume,
        };
        match wait(channel) {
            Ok(()) if !begun.contains(&channel.id()) => begun.push(channel.id()),
            other => expect_bound_or_not(&other),
        }
    }

    fn cancel(&mut self) {
        if let Some((channel, ..)) = self.channels.last()
            && channel.cancel().is_ok()
        {
            self.forget(channel.id());
        }
    }

    fn forget(&mut self, id: ChannelId) {
        self.waiting.retain(|waiting| *waiting != id);
        self.to_resume.retain(|waiting| *waiting != id);
    }

    /// The peers send. Those of before a restore have nothing to send to.
    fn fire(&mut self) {
        for (_, peer, _) in &self.channels {
            let _sent = self.it.peer.send(*peer);
        }
    }

    fn notify(&mut self) {
        for (channel, ..) in &self.channels {
            expect_bound_or_not(&channel.notify());
        }
    }

    fn turn(&mut self) {
        let wakes: Vec<_> = self.it.context.dispatch().unwrap().collect();
        for wake in wakes {
            assert_ne!(wake.cause, Cause::Gone, "no device failed");
            if wake.cause == Cause::Resumed {
                assert!(
                    self.to_resume.contains(&wake.channel),
                    "nothing waited for {wake:?}"
                );
                assert!(!self.resumed.contains(&wake.channel), "twice: {wake:?}");
                self.resumed.push(wake.channel);
            }
            // A wait for each goes on; the first channel has one.
            if wake.cause == Cause::Resumed
                || self
                    .channels
                    .first()
                    .is_none_or(|(first, ..)| first.id() != wake.channel)
            {
                self.forget(wake.channel);
            }
        }
    }

    fn unbind(&mut self) {
        if let Some((mut channel, ..)) = self.channels.pop() {
            channel.unbind().unwrap();
            self.forget(channel.id());
        }
    }

    fn drop(&mut self) {
        for (channel, ..) in std::mem::take(&mut self.channels) {
            self.forget(channel.id());
        }
    }

    fn restore(&mut self, watch: Watch) {
        self.it.restore();
        self.restores += 1;
        self.to_resume.append(&mut self.waiting);
        if let Watch::AtOnce = watch {
            self.it.sim.advance(SECOND);
        }
    }
}

/// The answer of a call on a channel that may have ended.
#[track_caller]
fn expect_bound_or_not(answer: &Result<(), Error>) {
    assert!(
        matches!(answer, Ok(()) | Err(Error::NotBound(_))),
        "{answer:?}"
    );
}

/// Runs the script with a restore before each of these steps.
fn run(event_loop: SimLoop, points: &[usize], watch: Watch) {
    let mut run = Run {
        it: Restored::on(event_loop),
        channels: Vec::new(),
        restores: 0,
        waiting: Vec::new(),
        to_resume: Vec::new(),
        resumed: Vec::new(),
    };
    for (place, step) in STEPS.into_iter().enumerate() {
        for _ in points.iter().filter(|point| **point == place) {
            run.restore(watch);
        }
        step(&mut run);
    }
    run.it.sim.advance(SECOND);
    while run.it.context.registrar().ready() {
        run.turn();
    }
    assert_eq!(run.to_resume, [], "their waits did not end");
    run.it.expect_to_work();
    run.it.context.teardown().unwrap();
    run.it.expect_nothing_released();
}

#[test]
fn a_restore_at_each_point_of_a_script_ends_each_wait_and_loses_nothing_after() {
    let mut runs = 0;
    for watch in [Watch::AtOnce, Watch::Late] {
        for event_loop in [SimLoop::level, SimLoop::edge] {
            for first in 0..STEPS.len() {
                run(event_loop(), &[first], watch);
                for second in first..STEPS.len() {
                    run(event_loop(), &[first, second], watch);
                    runs += 1;
                }
            }
        }
    }
    assert_eq!(runs, 4 * 14 * 15 / 2);
}

#[test]
fn a_script_without_a_restore_ends_no_wait() {
    run(SimLoop::level(), &[], Watch::Late);
    run(SimLoop::edge(), &[], Watch::Late);
}
