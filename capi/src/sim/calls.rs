//! The functions of `evtchn-sim.h`: what a test does to the machine around the program.
#![expect(unsafe_code, reason = "C passes pointers, and C names are global")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use evtchn_core::DomId;
use evtchn_sim::remote::Act;
use evtchn_sim::{Call, Delivery};

use super::Machine;
use super::later::Later;
use crate::calls::{answer, get, status};
use crate::errno::Errno;
use crate::handle::Handle;

/// A domain as C has it.
fn domid(raw: u32) -> Result<u16, Errno> {
    u16::try_from(raw).map_err(|_| Errno::EINVAL)
}

/// Does something to the machine, which answers with a port or another small number.
fn act(act: Act) -> Result<c_int, Errno> {
    let number = Machine::current().act(act)?;
    c_int::try_from(number).map_err(|_| Errno::new(libc::EOVERFLOW))
}

/// Does something to a domain.
fn on_domain(raw: u32, to: impl FnOnce(u16) -> Act) -> c_int {
    answer(domid(raw).and_then(|domid| act(to(domid))))
}

/// A number of 64 bits, for which C has no -1.
fn large(act: Act) -> u64 {
    Machine::current().act(act).unwrap_or_else(|errno| {
        errno.set();
        0
    })
}

/// A new machine, on which devices are opened from now on, in domain 0. The same seed gives the same run.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_new(seed: u64) {
    Machine::renew(seed);
}

/// Creates a guest, and returns its domid.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_create_domain() -> c_int {
    answer(act(Act::CreateDomain))
}

/// Destroys a domain, which sends no event to its peers.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_destroy_domain(raw: u32) -> c_int {
    on_domain(raw, |domid| Act::DestroyDomain { domid })
}

/// Saves a domain and restores it at once, as when it is migrated: every port that a handle had bound there is dead.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_save_restore(raw: u32) -> c_int {
    on_domain(raw, |domid| Act::SaveRestore { domid })
}

/// Saves a domain that goes on afterwards, with its ports.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_checkpoint(raw: u32) -> c_int {
    on_domain(raw, |domid| Act::Checkpoint { domid })
}

/// From now on `xenevtchn_open` opens devices in this domain.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_enter(raw: u32) -> c_int {
    status(domid(raw).map(|domid| Machine::current().enter(DomId::new(domid))))
}

/// The kernel of a domain allocates a port that `remote` may bind to, and returns it.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_alloc_unbound(raw: u32, remote: u32) -> c_int {
    let remote = domid(remote);
    answer(domid(raw).and_then(|domid| {
        let remote = remote?;
        act(Act::AllocUnbound { domid, remote })
    }))
}

/// The kernel of a domain binds to a port of `remote`, and returns its own port.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_bind_interdomain(raw: u32, remote: u32, port: u32) -> c_int {
    let remote = domid(remote);
    answer(domid(raw).and_then(|domid| {
        let remote = remote?;
        act(Act::BindInterdomain {
            domid,
            remote,
            port,
        })
    }))
}

/// The kernel of a domain sends through a port.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_send(raw: u32, port: u32) -> c_int {
    on_domain(raw, |domid| Act::Send { domid, port })
}

/// The kernel of a domain closes a port of its own.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_close(raw: u32, port: u32) -> c_int {
    on_domain(raw, |domid| Act::Close { domid, port })
}

/// How many events the kernel of a domain has handled on a port of its own.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_events(raw: u32, port: u32) -> c_int {
    on_domain(raw, |domid| Act::Events { domid, port })
}

/// Raises a virtual interrupt for a domain.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_raise_virq(raw: u32, virq: c_uint) -> c_int {
    on_domain(raw, |domid| Act::RaiseVirq { domid, virq })
}

/// When events arrive: 0 at once, 1 when `evtchn_sim_step` is called, 2 within `most` nanoseconds of virtual time.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_set_delivery(kind: c_int, most: u64) -> c_int {
    let delivery = match kind {
        0 => Delivery::Immediate,
        1 => Delivery::Held,
        2 => Delivery::Delayed(Duration::from_nanos(most)),
        _ => return status(Err(Errno::EINVAL)),
    };
    answer(act(Act::SetDelivery { delivery }))
}

/// Lets one event arrive that is under way. Returns 1, or 0 if none is.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_step() -> c_int {
    answer(act(Act::Step))
}

/// How many ports have an event under way.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_held() -> c_int {
    answer(act(Act::Held))
}

/// The calls that can fail, in the order of `enum evtchn_sim_call`.
const CALLS: [Call; 10] = [
    Call::Open,
    Call::BindUnboundPort,
    Call::BindInterdomain,
    Call::BindVirq,
    Call::Unbind,
    Call::Notify,
    Call::Pending,
    Call::Unmask,
    Call::Restrict,
    Call::Reset,
];

/// Makes the `nth` such call from now on fail with an errno; 1 is the next one, and 0 means every one.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_fail(call: c_int, errno: c_int, nth: u64) -> c_int {
    let call = usize::try_from(call).ok().and_then(|call| CALLS.get(call));
    let (Some(&call), 1..=4095) = (call, errno) else {
        return status(Err(Errno::EINVAL));
    };
    answer(act(Act::Fail { call, errno, nth }))
}

/// From now on no call fails by `evtchn_sim_fail`.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_clear_faults() {
    large(Act::ClearFaults);
}

/// The ring of a handle overflows.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evtchn_sim_overflow(xce: *mut Handle) -> c_int {
    // SAFETY: as the caller promises.
    let handle = unsafe { get(xce) };
    let overflowed = handle.and_then(Handle::file).and_then(|file| {
        let file = file.simulated().ok_or(Errno::EINVAL)?;
        file.overflow()
    });
    status(overflowed)
}

/// If on, a read that sleeps lets the machine's time pass instead: what is due next happens at once, and a sleep that nothing
/// would end is `EDEADLK`.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_own_time(is_on: c_int) {
    Machine::current().set_own_time(is_on != 0);
}

/// The virtual time, in nanoseconds.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_now() -> u64 {
    large(Act::Now)
}

/// Lets virtual time pass, in nanoseconds. What is due happens in order.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_advance(by: u64) {
    let advanced = Machine::current().advance(Duration::from_nanos(by));
    advanced.unwrap_or_else(Errno::set);
}

/// Calls `act(data)` once this much virtual time has passed. It may use the machine and the handles.
///
/// # Safety
/// `act` may be called with `data` until the machine is replaced, from the thread that lets time pass.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evtchn_sim_after(
    delay: u64,
    act: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> c_int {
    let Some(act) = act else {
        return status(Err(Errno::EINVAL));
    };
    // SAFETY: as the caller promises.
    let later = unsafe { Later::new(act, data) };
    status(Machine::current().after(Duration::from_nanos(delay), later))
}

/// How many devices are open in all domains.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_open_files() -> c_int {
    answer(act(Act::OpenFiles))
}

/// A hash over all that happened: two runs with the same one were the same.
#[unsafe(no_mangle)]
pub extern "C" fn evtchn_sim_digest() -> u64 {
    large(Act::Digest)
}

/// Writes each port that is not free and each open device, a line each. Returns how many bytes there are, like snprintf.
///
/// # Safety
/// There is room for `size` bytes at `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evtchn_sim_dump(buffer: *mut c_char, size: usize) -> usize {
    let dump = Machine::current().dump().unwrap_or_else(|errno| {
        errno.set();
        String::new()
    });
    // SAFETY: as the caller promises.
    unsafe { print(&dump, buffer, size) }
}

/// Writes what the program did that the contract forbids, a line each. Returns how many bytes there are, like snprintf.
///
/// # Safety
/// There is room for `size` bytes at `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evtchn_sim_violations(buffer: *mut c_char, size: usize) -> usize {
    let lines = Machine::current().violations().into_iter();
    let text: String = lines.map(|line| line + "\n").collect();
    // SAFETY: as the caller promises.
    unsafe { print(&text, buffer, size) }
}

/// # Safety
/// There is room for `size` bytes at `buffer`.
unsafe fn print(text: &str, buffer: *mut c_char, size: usize) -> usize {
    if size > 0 && !buffer.is_null() {
        let count = text.len().min(size - 1);
        let room = buffer.cast::<MaybeUninit<u8>>();
        // SAFETY: as the caller promises.
        let room = unsafe { std::slice::from_raw_parts_mut(room, count + 1) };
        room[..count].write_copy_of_slice(&text.as_bytes()[..count]);
        room[count].write(0);
    }
    text.len()
}
