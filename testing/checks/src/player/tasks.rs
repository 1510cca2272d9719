//! A step in which a task waits: it is polled, a reactor reads, it is polled again and dropped.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Cx, Poll, Waker};

use super::table::Slot;
use super::{Player, READS, Step, ensure, text};
use evtchn_core::{Cause, Error};

impl Player<'_> {
    /// Waits with the id of the last channel of a slot, which may have been dropped.
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
                "a task sleeps although its wake was there".into()
            }),
            Poll::Ready(Ok(Cause::Gone)) => ensure(!is_bound, || {
                "a task got a wake `Gone` for a channel that is bound".into()
            }),
            Poll::Ready(Ok(cause)) => {
                self.played.wakes += 1;
                let taken = |slot: &mut Slot| slot.model.taken(cause);
                self.table.edit(slot, taken).map_err(text)
            }
            Poll::Ready(Err(Error::AlreadyWaited(_))) if after.model.waiting => Ok(()),
            Poll::Ready(Err(Error::NotBound(_))) if !is_bound => Ok(()),
            Poll::Ready(Err(error)) => self
                .wait_failed(&error)
                .map_err(|what| format!("task: {what}")),
        }
    }

    /// What the reactor of a runtime does.
    fn drive(&mut self) -> Step {
        let driven = self.ctx.drive();
        self.note_fault()?;
        match driven {
            Ok(_) => Ok(()),
            Err(Error::Device(error)) => self.device_failed(READS, &error),
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("drive: {what}")),
        }
    }
}
