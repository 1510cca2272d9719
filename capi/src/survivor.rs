//! A handle that goes on after an overflow.
//!
//! The program polls an epoll instance in place of the device. So what is readable can be decided here: the instance watches the
//! device for reading, and while ports are owed also for writing, which the device always allows. It also keeps two numbers over an
//! exec, which the kernel shows in /proc/self/fdinfo: the descriptor of the device, and, as the data of its entry, that of the
//! [`Table`] of bound ports.
//!
//! After an overflow the ring is reset, and every bound port is owed to the program: its event may have been dropped. What is in
//! the ring by then is read first, so no port is unmasked while an entry of it is unread.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT};

use crate::errno::Errno;
use crate::file::{Base, Request};
use crate::system::{self, is_nonblocking, set_nonblocking};
use crate::table::Table;

const SWITCH: &CStr = c"EVTCHN_SURVIVE_OVERFLOW";

#[derive(Debug)]
pub(crate) struct Survivor {
    /// What the program polls, and may close by mistake.
    shown: c_int,
    table: Table,
    /// The table has owed ports.
    owes: AtomicBool,
    /// The device may have ports that the table lacks.
    is_incomplete: bool,
}

impl Survivor {
    /// Whether the environment asks for it.
    pub(crate) fn is_wanted() -> bool {
        system::has_variable(SWITCH, c"1")
    }

    /// Watches a device. One that was inherited may have ports, of which none is known.
    pub(crate) fn new(
        base: &Base,
        closes_on_exec: bool,
        is_inherited: bool,
    ) -> Result<Survivor, Errno> {
        let table = Table::new(closes_on_exec)?;
        let mut survivor = Survivor::with(system::epoll(closes_on_exec)?, table);
        survivor.is_incomplete = is_inherited;
        survivor.watch(base, EPOLL_CTL_ADD, EPOLLIN)?;
        Ok(survivor)
    }

    /// The device and the survivor whose epoll instance was inherited, or `None` if `fd` is something else.
    pub(crate) fn adopt(fd: c_int) -> Result<Option<(Base, Survivor)>, Errno> {
        let Ok((text, length)) = system::shown(fd) else {
            return Ok(None);
        };
        let Some((device, table)) = text.get(..length).and_then(watched) else {
            return Ok(None);
        };
        let Some(table) = Table::adopt(table)? else {
            return Ok(None);
        };
        Ok(Some((Base::adopt(device), Survivor::with(fd, table))))
    }

    fn with(shown: c_int, table: Table) -> Survivor {
        Survivor {
            shown,
            owes: AtomicBool::new(table.owes()),
            table,
            is_incomplete: false,
        }
    }

    pub(crate) const fn fd(&self) -> c_int {
        self.shown
    }

    /// Keeps the table up to date after a call that succeeded.
    pub(crate) fn note(&self, request: Request, answer: c_int) {
        match request {
            Request::BindVirq(_) | Request::BindInterdomain(..) | Request::BindUnboundPort(_) => {
                self.table.bind(answer.cast_unsigned());
            }
            Request::Unbind(port) => self.table.unbind(port),
            // It succeeds only for a port of this device.
            Request::Notify(port) => self.table.learn(port),
            Request::Reset | Request::Restrict(_) => {}
        }
    }

    /// The next port that fired, or that is owed.
    pub(crate) fn pending(&self, base: &Base) -> Result<u32, Errno> {
        loop {
            if self.owes.load(Ordering::SeqCst)
                && let Some(port) = self.owed(base)?
            {
                return Ok(port);
            }
            // The program sets the mode of what it polls.
            let nonblocking = is_nonblocking(self.shown)?;
            if is_nonblocking(base.fd())? != nonblocking {
                set_nonblocking(base.fd(), nonblocking)?;
            }
            match base.read() {
                Ok(port) => {
                    self.read(port);
                    return Ok(port);
                }
                Err(Errno::EFBIG) => self.recover(base)?,
                // Another thread has changed the mode, to hand out what is owed.
                Err(Errno::EAGAIN) if !nonblocking => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// A read returned a port. It need not be bound: an entry of the ring outlives the unbind of its port.
    fn read(&self, port: u32) {
        self.table.settle(port);
        if self.is_incomplete {
            self.table.learn(port);
        }
    }

    /// Resets the ring, and then owes every bound port. Where two threads do this, the second reset may drop an event that came
    /// after the first one, but then its port is owed again.
    fn recover(&self, base: &Base) -> Result<(), Errno> {
        base.request(Request::Reset)?;
        self.table.owe_all();
        self.show(base, true)
    }

    /// A port of the ring, or if that is empty one that is owed. `None` if nothing is owed any more.
    fn owed(&self, base: &Base) -> Result<Option<u32>, Errno> {
        set_nonblocking(base.fd(), true)?;
        let port = match base.read() {
            Ok(port) => {
                self.read(port);
                Some(port)
            }
            Err(Errno::EAGAIN) => self.table.take_owed(),
            // Another overflow.
            Err(Errno::EFBIG) => None,
            Err(errno) => return Err(errno),
        };
        if !self.table.owes() {
            self.show(base, false)?;
            // Another thread may have found an overflow meanwhile.
            if self.table.owes() {
                self.show(base, true)?;
            }
        }
        Ok(port)
    }

    /// Shows the program, and remembers, whether ports are owed.
    fn show(&self, base: &Base, owes: bool) -> Result<(), Errno> {
        self.owes.store(owes, Ordering::SeqCst);
        let events = if owes { EPOLLIN | EPOLLOUT } else { EPOLLIN };
        self.watch(base, EPOLL_CTL_MOD, events)
    }

    fn watch(&self, base: &Base, change: c_int, events: c_int) -> Result<(), Errno> {
        system::watch(self.shown, change, base.fd(), events, self.table.fd())
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        // It fails only where C has closed it.
        let _ = system::close(self.shown);
    }
}

/// The one descriptor that an epoll instance watches, and its data, which is hexadecimal (Linux fs/eventpoll.c,
/// `ep_show_fdinfo`). `None` for another file, and for an instance that is not ours.
fn watched(info: &[u8]) -> Option<(c_int, c_int)> {
    let lines = info.split(|byte| *byte == b'\n');
    let mut entries = lines.filter(|line| line.starts_with(b"tfd:"));
    let entry = entries.next()?;
    if entries.next().is_some() {
        return None;
    }
    let words = || {
        let words = entry.split(u8::is_ascii_whitespace);
        words.filter(|word| !word.is_empty())
    };
    let after = |name: &[u8]| words().skip_while(|word| *word != name).nth(1);
    let device = number(after(b"tfd:")?, 10)?;
    let table = number(after(b"data:")?, 16)?;
    (table != device).then_some((device, table))
}

/// A descriptor, written to this base.
fn number(digits: &[u8], base: u32) -> Option<c_int> {
    let mut number: c_int = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(base)?;
        let shifted = number.checked_mul(base.cast_signed())?;
        number = shifted.checked_add(digit.cast_signed())?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_and_table_are_read_from_what_the_kernel_shows() {
        let info = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1055\n\
                    tfd:        5 events:       19 data:               1f  pos:0 ino:61af sdev:7\n";
        assert_eq!(watched(info.as_bytes()), Some((5, 31)));
        for other in [
            "pos:\t0\nflags:\t0100002\n".to_owned(),
            "tfd:\n".to_owned(),
            "tfd: 5 events: 19 data: ffffffffffffffff\n".to_owned(),
            "tfd: 5 events: 19 data: 5\n".to_owned(),
            "tfd: five events: 19 data: 6\n".to_owned(),
            info.repeat(2),
        ] {
            assert_eq!(watched(other.as_bytes()), None, "{other}");
        }
    }
}
