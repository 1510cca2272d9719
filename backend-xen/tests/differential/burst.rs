//! A channel that fires over and over unread, so that the ring of its file overflows.

use evtchn_sim::Choice;
use evtchn_sim::abi::PollBits;

use crate::op::{Bind, Fd, Memory, Op, Request, Slot, Word, Words};
use crate::scene::Scene;

#[derive(Debug)]
pub(crate) struct Burst {
    /// The port that fires, and the file that it is of.
    fires: Slot,
    file: usize,
    from: Slot,
    how: How,
    /// How many steps are left.
    left: usize,
}

/// How the same port comes to fire again unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is written, though it was not read.
    Write,
    /// It is unbound and bound again, and its entries go stale.
    Rebind,
}

impl Burst {
    /// A burst on a channel that is connected, where one is found.
    pub(crate) fn new(choice: &mut Choice, scene: &Scene) -> Option<Burst> {
        let any = (0..8).filter_map(|_| scene.bound.get(choice.of(scene.bound.len())).copied());
        let is_connected = |slot: &Slot| scene.port(*slot).is_some_and(|port| port.peer.is_some());
        let fires = any.into_iter().find(is_connected)?;
        let port = scene.port(fires)?;
        if scene.files[port.file].as_ref()?.polled == PollBits::ERROR.raw() {
            return None;
        }
        Some(Burst {
            fires,
            file: port.file,
            from: port.peer?,
            // A static port is bound to no other.
            how: if choice.flip() || port.remote.is_none() {
                How::Write
            } else {
                How::Rebind
            },
            // Enough for the first ring.
            left: 132 + choice.of(40),
        })
    }

    /// The next step, where the channel is still there.
    pub(crate) fn draw(&mut self, scene: &Scene) -> Option<Op> {
        self.left = self.left.checked_sub(1)?;
        let fd = Fd(self.file, 0);
        let [from, fires] = [self.from, self.fires].map(Word::Port);
        let is_bound = |slot| scene.port(slot).is_some_and(|port| port.bound);
        let there = Memory::There;
        let op = match (self.how, self.left % 2) {
            (How::Write, 0) => {
                let file = scene.port(self.from).filter(|port| port.bound)?.file;
                Op::Ioctl(Fd(file, 0), Request::Notify, [from, Word::Raw(0)], there)
            }
            (How::Write, _) => Op::Write(fd, Words(vec![fires]), 0, there),
            (How::Rebind, _) if is_bound(self.fires) => {
                Op::Ioctl(fd, Request::Unbind, [fires, Word::Raw(0)], there)
            }
            (How::Rebind, _) => {
                self.fires = Slot(scene.slots());
                Op::Bind(
                    self.fires,
                    fd,
                    Bind::Interdomain,
                    [Word::Raw(0), from],
                    there,
                )
            }
        };
        scene.can(&op).then_some(op)
    }
}
