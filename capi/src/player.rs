//! Calls of the C functions in any order, with any arguments that C allows, from bytes. Each call is made on the simulated machine of
//! the process, and as a plain call on a second machine; answers, errno, readiness and the digest at the end must be the same.
#![expect(unsafe_code, reason = "it calls as C does")]

use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evtchn_core::{DomId, Virq};
use evtchn_sim::abi::{
    BIND_INTERDOMAIN, BIND_UNBOUND_PORT, BIND_VIRQ, NOTIFY, RESTRICT_DOMID, UNBIND,
};
use evtchn_sim::{Delivery, FileId, Sim};

use crate::calls::{
    xenevtchn_bind_interdomain, xenevtchn_bind_unbound_port, xenevtchn_bind_virq, xenevtchn_close,
    xenevtchn_fd, xenevtchn_fdopen, xenevtchn_notify, xenevtchn_open, xenevtchn_pending,
    xenevtchn_restrict, xenevtchn_unbind, xenevtchn_unmask,
};
use crate::errno::{Errno, result};
use crate::handle::Handle;
use crate::sim::calls as sim;
use crate::system::{is_readable, set_nonblocking};

const SEED: u64 = 1;
/// How many handles can be open.
const HANDLES: usize = 4;
/// Only one player at a time has the machine of the process.
static TURN: Mutex<()> = Mutex::new(());

/// Makes the calls that `bytes` mean, six bytes a call.
///
/// # Errors
/// What differs.
pub fn play(bytes: &[u8]) -> Result<(), String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut player = Player::new();
    for (step, call) in bytes.as_chunks().0.iter().enumerate() {
        let made = player.call(*call).and_then(|()| player.look());
        made.map_err(|what| format!("call {step}, {call:?}: {what}\n{}", player.twin.dump()))?;
    }
    player.end()
}

type Checked = Result<(), String>;
/// What C got, and what the machine answers.
type Answer = Result<c_int, Errno>;

#[derive(Debug, Clone, Copy)]
struct Open {
    xce: *mut Handle,
    /// The file of the second machine; none if the handle has no descriptor.
    file: Option<FileId>,
}

#[derive(Debug)]
struct Player {
    twin: Sim,
    guest: DomId,
    handles: [Option<Open>; HANDLES],
}

impl Player {
    fn new() -> Player {
        let twin = Sim::new(SEED);
        sim::evtchn_sim_new(SEED);
        sim::evtchn_sim_own_time(1);
        sim::evtchn_sim_create_domain();
        let guest = twin.create_domain().unwrap_or(DomId::DOM0);
        Player {
            twin,
            guest,
            handles: [None; HANDLES],
        }
    }

    fn call(&mut self, [kind, place, a, b, c, d]: [u8; 6]) -> Checked {
        let place = usize::from(place) % HANDLES;
        // A port that may exist, or any number.
        let port = match d % 4 {
            0 => u32::from_le_bytes([a, b, c, d]),
            _ => u32::from(a) % 32,
        };
        let domid = match d % 8 {
            0 => u32::from_le_bytes([a, b, c, d]),
            1 => self.guest.as_raw().into(),
            _ => DomId::SELF.as_raw().into(),
        };
        match kind % 8 {
            0 => self.open_or_close(place, a),
            1 => self.bind(place, b, domid, port),
            2 => self.ioctl(place, NOTIFY, [port, 0]),
            3 => self.read(place, a.is_multiple_of(4)),
            4 => self.write(place, port),
            5 if b.is_multiple_of(4) => self.restrict(place, u16::from(a) % 4),
            5 => self.ioctl(place, UNBIND, [port, 0]),
            6 => self.guest(a, b, port),
            _ => self.machine(place, a, b),
        }
    }

    /// The handle of a place, which may be null.
    fn at(&self, place: usize) -> (*mut Handle, Option<FileId>) {
        match self.handles[place] {
            Some(Open { xce, file }) => (xce, file),
            None => (ptr::null_mut(), None),
        }
    }

    fn open_or_close(&mut self, place: usize, how: u8) -> Checked {
        if let Some(Open { xce, file }) = self.handles[place].take() {
            let answer = file.map_or(Ok(0), |file| {
                self.twin(|world| world.close(file).map(|()| 0))
            });
            // SAFETY: it is open, and no longer in its place.
            return same(unsafe { xenevtchn_close(xce) }, answer);
        }
        let other = self
            .handles
            .iter()
            .flatten()
            .find(|open| open.file.is_some());
        let (xce, file) = match (how % 6, other.copied()) {
            (2 | 3, _) => {
                let xce = xenevtchn_open(ptr::null_mut(), how.into());
                return match how > 1 && xce.is_null() {
                    true => Ok(()),
                    false => Err("an unknown flag is taken".to_owned()),
                };
            }
            (4, _) => (xenevtchn_fdopen(ptr::null_mut(), -1, 0), None),
            (
                5,
                Some(Open {
                    xce,
                    file: Some(file),
                }),
            ) => {
                // SAFETY: it is open.
                let fd = unsafe { xenevtchn_fd(xce) };
                // SAFETY: it takes an integer.
                let copy = unsafe { libc::dup(fd) };
                self.twin(|world| world.dup(file).map(|()| 0))
                    .map_err(|it| format!("{it:?}"))?;
                (xenevtchn_fdopen(ptr::null_mut(), copy, 0), Some(file))
            }
            (flags, _) => {
                let file = self.twin.with(|world| world.open(DomId::DOM0));
                let flags = u32::from(flags) % 2;
                (xenevtchn_open(ptr::null_mut(), flags), file.ok())
            }
        };
        if xce.is_null() {
            return Err(format!("no handle: {:?}", Errno::last()));
        }
        self.handles[place] = Some(Open { xce, file });
        Ok(())
    }

    fn bind(&self, place: usize, kind: u8, domid: u32, port: u32) -> Checked {
        match kind % 3 {
            0 => self.ioctl(place, BIND_UNBOUND_PORT, [domid, 0]),
            1 => self.ioctl(place, BIND_INTERDOMAIN, [domid, port]),
            _ => self.ioctl(place, BIND_VIRQ, [port, 0]),
        }
    }

    fn ioctl(&self, place: usize, request: u32, [one, two]: [u32; 2]) -> Checked {
        let (xce, file) = self.at(place);
        let call: unsafe extern "C" fn(*mut Handle, u32) -> c_int = match request {
            NOTIFY => xenevtchn_notify,
            UNBIND => xenevtchn_unbind,
            BIND_VIRQ => xenevtchn_bind_virq,
            _ => xenevtchn_bind_unbound_port,
        };
        let got = match request {
            // SAFETY: the handle is null or open.
            BIND_INTERDOMAIN => unsafe { xenevtchn_bind_interdomain(xce, one, two) },
            // SAFETY: the handle is null or open.
            _ => unsafe { call(xce, one) },
        };
        self.compare(got, xce, file, |sim, file| {
            sim.with(|world| world.ioctl(file, request, [one, two]))
        })
    }

    fn restrict(&self, place: usize, domid: u16) -> Checked {
        let (xce, file) = self.at(place);
        // SAFETY: the handle is null or open.
        let got = unsafe { xenevtchn_restrict(xce, domid) };
        self.compare(got, xce, file, |sim, file| {
            sim.with(|world| world.ioctl(file, RESTRICT_DOMID, [domid.into(), 0]))
        })
    }

    fn read(&self, place: usize, sleeps: bool) -> Checked {
        let (xce, file) = self.at(place);
        if file.is_some() {
            // SAFETY: the handle is open.
            let fd = unsafe { xenevtchn_fd(xce) };
            set_nonblocking(fd, !sleeps).map_err(|errno| format!("{errno:?}"))?;
        }
        // SAFETY: the handle is null or open.
        let got = unsafe { xenevtchn_pending(xce) };
        self.compare(got, xce, file, |sim, file| {
            loop {
                let mut port = [0; 4];
                match sim.with(|world| world.read(file, &mut port)) {
                    Err(evtchn_sim::Errno::EAGAIN) if sleeps => {}
                    Err(errno) => return Err(errno),
                    Ok(_) => return Ok(u32::from_ne_bytes(port)),
                }
                if !sim.step() {
                    let deadline = sim.next_deadline().ok_or(evtchn_sim::Errno::EDEADLK)?;
                    sim.advance(deadline.saturating_sub(sim.now()));
                }
            }
        })
    }

    fn write(&self, place: usize, port: u32) -> Checked {
        let (xce, file) = self.at(place);
        // SAFETY: the handle is null or open.
        let got = unsafe { xenevtchn_unmask(xce, port) };
        self.compare(got, xce, file, |sim, file| {
            let bytes = port.to_ne_bytes();
            sim.with(|world| world.write(file, &bytes)).map(|_| 0)
        })
    }

    /// What the kernel of the guest does, and Xen.
    fn guest(&self, how: u8, what: u8, port: u32) -> Checked {
        let domid = self.guest;
        let raw = domid.as_raw().into();
        match how % 5 {
            0 => same(
                sim::evtchn_sim_bind_interdomain(raw, 0, port),
                self.twin(|world| world.kernel_bind_interdomain(domid, DomId::DOM0, port)),
            ),
            1 => same(
                sim::evtchn_sim_alloc_unbound(raw, 0),
                self.twin(|world| world.kernel_alloc_unbound(domid, DomId::DOM0)),
            ),
            2 => same(
                sim::evtchn_sim_close(raw, port),
                self.twin(|world| world.kernel_close(domid, port).map(|()| 0)),
            ),
            3 => {
                let virq = Virq::new(u32::from(what) % 32);
                same(
                    sim::evtchn_sim_raise_virq(0, virq.as_raw()),
                    self.twin(|world| world.raise_virq(DomId::DOM0, virq).map(|()| 0)),
                )
            }
            _ => same(
                sim::evtchn_sim_send(raw, port),
                self.twin(|world| world.kernel_send(domid, port).map(|()| 0)),
            ),
        }
    }

    fn machine(&self, place: usize, how: u8, what: u8) -> Checked {
        let some = Duration::from_nanos(u64::from(what) * 100);
        match how % 5 {
            0 => {
                let delivery = match what % 3 {
                    0 => Delivery::Immediate,
                    1 => Delivery::Held,
                    _ => Delivery::Delayed(Duration::from_nanos(1000)),
                };
                self.twin.set_delivery(delivery);
                same(sim::evtchn_sim_set_delivery((what % 3).into(), 1000), Ok(0))
            }
            1 => same(sim::evtchn_sim_step(), Ok(self.twin.step().into())),
            2 => {
                self.twin.advance(some);
                sim::evtchn_sim_advance(u64::from(what) * 100);
                Ok(())
            }
            3 => {
                let (xce, file) = self.at(place);
                let answer = match file {
                    Some(file) => self.twin(|world| world.overflow(file).map(|()| 0)),
                    None => Err(Errno::EINVAL),
                };
                // SAFETY: the handle is null or open.
                same(unsafe { sim::evtchn_sim_overflow(xce) }, answer)
            }
            _ => self.print(what),
        }
    }

    /// Texts into a buffer that may be too small.
    fn print(&self, size: u8) -> Checked {
        let mut buffer = [1; 256];
        let size = usize::from(size);
        let (length, dump) = (buffer.as_mut_ptr(), self.twin.dump());
        // SAFETY: there is room for 256 bytes.
        let length = unsafe { sim::evtchn_sim_dump(length.cast::<c_char>(), size) };
        let written = length.min(size.saturating_sub(1));
        let is_right = length == dump.len()
            && buffer[..written] == dump.as_bytes()[..written]
            && buffer[size.max(1)..].iter().all(|byte| *byte == 1);
        match is_right {
            true => Ok(()),
            false => Err(format!("{size} bytes of a dump of {length}: {buffer:?}")),
        }
    }

    fn twin(
        &self,
        act: impl FnOnce(&mut evtchn_sim::World) -> Result<u32, evtchn_sim::Errno>,
    ) -> Answer {
        answer(self.twin.with(act))
    }

    /// Compares what C got with the answer of the second machine, or with that of a handle that has none.
    fn compare(
        &self,
        got: c_int,
        xce: *mut Handle,
        file: Option<FileId>,
        act: impl FnOnce(&Sim, FileId) -> Result<u32, evtchn_sim::Errno>,
    ) -> Checked {
        // Errno first: the second machine may make calls of its own.
        let got = result(got);
        let expected = match file {
            Some(file) => answer(act(&self.twin, file)),
            None if xce.is_null() => Err(Errno::EINVAL),
            None => Err(Errno::EBADF),
        };
        match got == expected {
            true => Ok(()),
            false => Err(format!("{got:?} in place of {expected:?}")),
        }
    }

    /// Whether each descriptor shows what the second machine would.
    fn look(&self) -> Checked {
        for open in self.handles.iter().flatten() {
            let Some(file) = open.file else { continue };
            let bits = self.twin.with(|world| world.poll(file));
            let expected = bits.map_err(|errno| errno.to_string())?.wakes_reader();
            // SAFETY: the handle is open.
            let shown = is_readable(unsafe { xenevtchn_fd(open.xce) });
            if shown != Ok(expected) {
                return Err(format!("{file:?} shows {shown:?}"));
            }
        }
        Ok(())
    }

    fn end(mut self) -> Checked {
        for place in 0..HANDLES {
            if self.handles[place].is_some() {
                self.open_or_close(place, 0)?;
            }
        }
        let got = (sim::evtchn_sim_open_files(), sim::evtchn_sim_digest());
        let expected = (0, self.twin.digest());
        match got == expected {
            true => Ok(()),
            false => Err(format!(
                "open files and digest are {got:?} in place of {expected:?}"
            )),
        }
    }
}

fn answer(answer: Result<u32, evtchn_sim::Errno>) -> Answer {
    let number = answer.map_err(|errno| Errno::new(errno.raw()))?;
    c_int::try_from(number).map_err(|_| Errno::new(libc::EOVERFLOW))
}

fn same(got: c_int, expected: Answer) -> Checked {
    let got = match got {
        -1 => Err(expected.err().filter(|errno| *errno == Errno::last())),
        got => Ok(got),
    };
    match got == expected.map_err(Some) {
        true => Ok(()),
        false => Err(format!("{got:?} in place of {expected:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look like chance, from a seed.
    fn bytes(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..600).map(|_| next()).collect()
    }

    #[test]
    fn a_hundred_calls_in_any_order_answer_as_the_machine_does() {
        for seed in 0..200 {
            play(&bytes(seed)).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        }
    }
}
