//! Steps that would have nothing to do.

use evtchn_core::{Registrar, Trigger};
use evtchn_sim::Call;
use evtchn_sim::abi::PollBits;

use super::Player;
use super::table::Signal;
use crate::op::{Failing, Op};

impl Player<'_> {
    /// Whether this step has nothing to do now, for example an unbind of an empty slot. Then it is
    /// skipped: nothing is called and nothing changes, so the script is the same without it.
    #[must_use]
    pub fn is_idle(&self, op: Op) -> bool {
        let slot = |slot| self.table.get(self.place(slot));
        match op {
            Op::Bind(place, _) => slot(place).channel.is_some(),
            Op::Unbind(place) | Op::Drop(place) | Op::Block(place) | Op::Callback(place) => {
                slot(place).channel.is_none()
            }
            Op::Wait(place) | Op::WaitEach(place) | Op::Cancel(place) | Op::Await(place) => {
                slot(place).id.is_none()
            }
            Op::Signal(place) | Op::Storm(place, _) => slot(place).signal.is_none(),
            Op::Notify(place) => {
                let to_peer = matches!(slot(place).signal, Some(Signal::Send(_)));
                slot(place).channel.is_none() || !to_peer
            }
            Op::Next | Op::NextMany(_) | Op::Finish | Op::Leave => self.round.is_none(),
            Op::Turn | Op::Serve | Op::Calls | Op::HandOver => self.round.is_some(),
            Op::Overflow => !self.can_overflow(),
            Op::Fail(failing) | Op::FailNth(failing, _) => self.teaches_nothing(failing),
            Op::Many(..) | Op::Begin(_) | Op::Spurious | Op::Short(_) | Op::Teardown => false,
        }
    }

    /// An edge-triggered loop does not report an overflow, and need not: the ring was full, so readiness
    /// was reported before, and the reader reads until nothing is left.
    fn can_overflow(&self) -> bool {
        let file = self.opener.last();
        let shown = file.and_then(|file| self.sim.with(|world| world.poll(file)).ok());
        let needs_entries = self.looper.trigger() == Trigger::Edge;
        shown.is_some_and(|bits| !needs_entries || PollBits::wakes_reader(bits))
    }

    /// A failure that another one hides. A device that failed is closed even if it cannot be
    /// deregistered.
    fn teaches_nothing(&self, failing: Failing) -> bool {
        match failing {
            Failing::Reading | Failing::Resetting => self.may_fail([Call::Deregister]),
            Failing::Deregistering => self.may_fail([Call::Pending, Call::Reset]),
            Failing::Opening
            | Failing::Binding
            | Failing::Unbinding
            | Failing::Unmasking
            | Failing::ShortUnmask
            | Failing::Interrupted
            | Failing::Registering
            | Failing::Notifying
            | Failing::Sleeping => false,
        }
    }
}
