//! A function of the program that is called later.
#![expect(unsafe_code, reason = "a function of C, with a pointer")]

use std::ffi::c_void;

/// The function and its argument.
#[derive(Debug)]
pub(crate) struct Later {
    act: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
}

// SAFETY: whoever makes it promises that the function may be called from any thread.
unsafe impl Send for Later {}

impl Later {
    /// # Safety
    /// `act` may be called with `data` once, from any thread, at any time.
    pub(crate) const unsafe fn new(
        act: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) -> Later {
        Later { act, data }
    }

    pub(crate) fn call(self) {
        // SAFETY: as `new` demands, and it is called once, because this takes it.
        unsafe { (self.act)(self.data) }
    }
}
