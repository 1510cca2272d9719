//! The list of handles that `xentoolcore_restrict_all` goes through, in libxentoolcore.so.1 if the program has loaded it.
//!
//! It is found when a handle is opened, because this library must also work where there is no such library. The struct and the two
//! functions are those of Xen's tools/include/xentoolcore_internal.h.
#![expect(
    unsafe_code,
    reason = "functions of another C library, found by their names"
)]

use std::alloc::{Layout, alloc};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};

use crate::calls::answer;
use crate::errno::Errno;
use crate::handle::Handle;

const LIBRARY: &CStr = c"libxentoolcore.so.1";
const REGISTER: &CStr = c"xentoolcore__register_active_handle";
const DEREGISTER: &CStr = c"xentoolcore__deregister_active_handle";

/// `Xentoolcore__Active_Handle`, and how to take it out of the list.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Active {
    restrict: unsafe extern "C" fn(*mut Active, u16) -> c_int,
    /// The links of the list, which the library writes under a lock of its own.
    links: UnsafeCell<[*mut c_void; 2]>,
    /// Ours, after what the library knows. Set before another thread has the handle.
    toolcore: Cell<Option<Toolcore>>,
}

/// The library while a handle is in its list.
#[derive(Debug, Clone, Copy)]
struct Toolcore {
    library: *mut c_void,
    deregister: unsafe extern "C" fn(*mut Active),
}

impl Active {
    pub(crate) const fn new() -> Active {
        Active {
            restrict: restrict_callback,
            links: UnsafeCell::new([std::ptr::null_mut(); 2]),
            toolcore: Cell::new(None),
        }
    }
}

/// Takes a handle out of the list. Only its owner calls this, once.
pub(crate) fn deregister(handle: &Handle) {
    let active = handle.active();
    let Some(toolcore) = active.toolcore.take() else {
        return;
    };
    // SAFETY: `registered` has entered this handle, at this address, with the same library.
    unsafe { (toolcore.deregister)(std::ptr::from_ref(active).cast_mut()) };
    // SAFETY: `find` has opened it, and nothing of it is used after this.
    unsafe { libc::dlclose(toolcore.library) };
}

/// Puts a handle where it stays, and enters it into the list, if there is one.
pub(crate) fn registered(handle: Handle) -> Result<Box<Handle>, Errno> {
    let layout = Layout::new::<Handle>();
    // SAFETY: a handle takes some bytes.
    let place: *mut Handle = unsafe { alloc(layout) }.cast();
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: it is memory for a handle, which nothing else has.
    unsafe { place.write(handle) };
    // SAFETY: it holds a handle, in memory of the allocator that a box uses.
    let handle = unsafe { Box::from_raw(place) };
    if let Some((register, toolcore)) = find() {
        let active = handle.active();
        active.toolcore.set(Some(toolcore));
        // SAFETY: the handle stays at this address until `deregister` is called.
        unsafe { register(std::ptr::from_ref(active).cast_mut()) };
    }
    Ok(handle)
}

type Register = unsafe extern "C" fn(*mut Active);

/// The library, if the program has loaded it, and its function that enters a handle.
fn find() -> Option<(Register, Toolcore)> {
    // SAFETY: RTLD_NOLOAD runs no code of the library.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if library.is_null() {
        return None;
    }
    let found = (function(library, REGISTER), function(library, DEREGISTER));
    let (Some(register), Some(deregister)) = found else {
        // SAFETY: it was opened above, and nothing of it is used.
        unsafe { libc::dlclose(library) };
        return None;
    };
    let toolcore = Toolcore {
        library,
        deregister,
    };
    Some((register, toolcore))
}

fn function(library: *mut c_void, name: &CStr) -> Option<Register> {
    // SAFETY: the library is open, and the name ends with a zero.
    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
    // SAFETY: null becomes `None`. Else it is one of the two functions, which take a pointer and return nothing.
    unsafe { std::mem::transmute::<*mut c_void, Option<Register>>(symbol) }
}

/// # Safety
/// `active` is the first field of a handle that is not closed.
unsafe extern "C" fn restrict_callback(active: *mut Active, domid: u16) -> c_int {
    // SAFETY: as the caller promises; a handle is only ever borrowed shared.
    let handle = unsafe { &*active.cast::<Handle>() };
    answer(handle.restrict_all(domid))
}
