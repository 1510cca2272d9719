//! A place for one value, which is empty at first. It is what `std::sync::OnceLock` is, without the code that panics there: with it the
//! library would be twenty times as large.
#![expect(unsafe_code, reason = "a place that is written once while others look")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(crate) struct Slot<T> {
    value: UnsafeCell<Option<T>>,
    is_set: AtomicBool,
}

// SAFETY: the value is written by the one call of `set`, and after that only borrowed shared.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(crate) const fn new() -> Slot<T> {
        Slot {
            value: UnsafeCell::new(None),
            is_set: AtomicBool::new(false),
        }
    }

    /// Sets the value.
    ///
    /// # Safety
    /// This is called once.
    pub(crate) unsafe fn set(&self, value: T) {
        // SAFETY: `get` looks at the value only once `is_set` is true, and this is the only call that writes.
        unsafe { *self.value.get() = Some(value) };
        self.is_set.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the value is set, and nothing writes it again while this is borrowed.
        unsafe { &*self.value.get() }.as_ref()
    }

    pub(crate) fn take(self) -> Option<T> {
        self.value.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_empty_until_it_is_set() {
        let slot = Slot::new();
        assert_eq!(slot.get(), None);
        // SAFETY: it is called once.
        unsafe { slot.set(5) };
        assert_eq!(slot.get(), Some(&5));
        assert_eq!(slot.take(), Some(5));
        assert_eq!(Slot::<u8>::new().take(), None);
    }
}
