//! A step in which a task waits: polled, beside a reactor that reads, polled again and dropped.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Cx, Poll, Waker};

use evtchn_core::{Cause, DispatchError, TaskError, WaitError};
use evtchn_sim::Call;

use super::table::Slot;
use super::{Player, SimTaskError, Step, ensure, text};

impl Player<'_> {
    /// Waits by the id of the last channel of a slot, which may be gone.
    pub(super) fn task(&mut self, slot: usize) -> Step {
        let Some(id) = self.table.get(slot).id else {
            return Ok(());
        };
        let mut cx = Cx::from_waker(Waker::noop());
        let ctx = self.ctx;
        let mut woken = pin!(ctx.woken(id));
        let mut polled = woken.as_mut().poll(&mut cx);
        if polled.is_pending() {
            self.drive()?;
            polled = woken.as_mut().poll(&mut cx);
        }
        let after = self.table.get(slot);
        let (is_bound, must) = (after.is_bound(), after.model.must);
        match polled {
            Poll::Pending => ensure(is_bound && !must, || {
                "a task sleeps though its wake was there".into()
            }),
            Poll::Ready(Ok(Cause::Gone)) => ensure(!is_bound, || {
                "a task was told that its channel is gone, which is bound".into()
            }),
            Poll::Ready(Ok(cause)) => {
                self.played.wakes += 1;
                let woken = |slot: &mut Slot| slot.model.waited(Some(cause));
                self.table.edit(slot, woken).map_err(text)
            }
            Poll::Ready(Err(error)) => self.task_failed(slot, error),
        }
    }

    /// What the reactor of a runtime does.
    fn drive(&mut self) -> Step {
        let driven = self.ctx.drive();
        self.note_fault()?;
        match driven {
            Ok(_) => Ok(()),
            Err(DispatchError::Device(error)) => self.told(error),
            Err(DispatchError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("drive: {error:?}")),
        }
    }

    fn task_failed(&mut self, slot: usize, error: SimTaskError) -> Step {
        let slot = self.table.get(slot);
        let (is_bound, waited) = (slot.is_bound(), slot.model.waiting);
        match error {
            TaskError::Wait(WaitError::AlreadyWaited(_)) if waited => Ok(()),
            TaskError::Wait(WaitError::NotBound(_)) if !is_bound => Ok(()),
            TaskError::Wait(WaitError::Link(error)) => self.link_failed(error),
            TaskError::Wait(WaitError::Unmask { source, .. }) => self.told(source),
            TaskError::Wait(error @ WaitError::NotWritten { .. }) => {
                self.failed(Call::Unmask, || text(error))
            }
            error @ (TaskError::Wait(_) | TaskError::Cancelled | _) => {
                Err(format!("task: {error:?}"))
            }
        }
    }
}
