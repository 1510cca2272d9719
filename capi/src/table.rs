//! Which ports a file has bound, and which of them its reader is still to see, in memory that survives an exec and a fork like the
//! file itself.
#![expect(unsafe_code, reason = "the memory is a mapping")]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::errno::Errno;
use crate::system;

/// A port number is below this (`EVTCHN_FIFO_NR_CHANNELS`).
const PORTS: usize = 1 << 17;

const FREE: u8 = 0;
const BOUND: u8 = 1;
/// Bound, and to be handed out although no read returned it.
const OWED: u8 = 2;

/// A byte for each port, in a memory file.
#[derive(Debug)]
pub(crate) struct Table {
    file: c_int,
    bytes: *mut c_void,
    /// Every port from this one on is free.
    end: AtomicUsize,
}

// SAFETY: the mapping belongs to the table, and its bytes are only accessed as atomics.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// A table without ports.
    pub(crate) fn new(closes_on_exec: bool) -> Result<Table, Errno> {
        let file = system::memory_file(c"evtchn ports", PORTS, closes_on_exec)?;
        match system::map(file, PORTS) {
            Ok(bytes) => Ok(Table::with(file, bytes, 0)),
            Err(errno) => {
                system::close(file)?;
                Err(errno)
            }
        }
    }

    /// Owns the table that an inherited descriptor is. `None`, and owns nothing, if it is something else.
    pub(crate) fn adopt(file: c_int) -> Result<Option<Table>, Errno> {
        if !system::is_memory_file(file, PORTS) {
            return Ok(None);
        }
        let bytes = system::map(file, PORTS)?;
        Ok(Some(Table::with(file, bytes, PORTS)))
    }

    const fn with(file: c_int, bytes: *mut c_void, end: usize) -> Table {
        Table {
            file,
            bytes,
            end: AtomicUsize::new(end),
        }
    }

    pub(crate) const fn fd(&self) -> c_int {
        self.file
    }

    fn marks(&self) -> &[AtomicU8] {
        // SAFETY: the mapping has that many bytes, which are all there because the file is sealed. It lives as long as
        // `self`, and is accessed as atomics only.
        unsafe { std::slice::from_raw_parts(self.bytes.cast::<AtomicU8>(), PORTS) }
    }

    fn mark(&self, port: u32) -> Option<&AtomicU8> {
        self.marks().get(port as usize)
    }

    /// The port was bound just now.
    pub(crate) fn bind(&self, port: u32) {
        if let Some(mark) = self.mark(port) {
            mark.store(BOUND, Ordering::SeqCst);
            self.end.fetch_max(port as usize + 1, Ordering::SeqCst);
        }
    }

    pub(crate) fn unbind(&self, port: u32) {
        if let Some(mark) = self.mark(port) {
            mark.store(FREE, Ordering::SeqCst);
        }
    }

    /// The port is bound, which may not have been known. If it is owed, it stays so.
    pub(crate) fn learn(&self, port: u32) {
        if let Some(mark) = self.mark(port)
            && changes(mark, FREE, BOUND)
        {
            self.end.fetch_max(port as usize + 1, Ordering::SeqCst);
        }
    }

    /// The port was read, so it is not owed any longer.
    pub(crate) fn settle(&self, port: u32) {
        if let Some(mark) = self.mark(port) {
            changes(mark, OWED, BOUND);
        }
    }

    /// From now on every bound port is owed.
    pub(crate) fn owe_all(&self) {
        for mark in self.used() {
            changes(mark, BOUND, OWED);
        }
    }

    pub(crate) fn owes(&self) -> bool {
        self.used().any(|mark| mark.load(Ordering::SeqCst) == OWED)
    }

    /// The lowest port that is owed, which is owed no longer.
    pub(crate) fn take_owed(&self) -> Option<u32> {
        let port = self.used().position(|mark| changes(mark, OWED, BOUND))?;
        u32::try_from(port).ok()
    }

    fn used(&self) -> impl Iterator<Item = &AtomicU8> {
        self.marks().iter().take(self.end.load(Ordering::SeqCst))
    }
}

/// Changes a mark, if it is `from`, and says whether it was.
fn changes(mark: &AtomicU8, from: u8, to: u8) -> bool {
    mark.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: it is the mapping of this table, and nothing refers to it any more. It cannot fail.
        let _ = unsafe { libc::munmap(self.bytes, PORTS) };
        // It fails only where C has closed it.
        let _ = system::close(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_port_is_owed_once_in_order() {
        let table = Table::new(true).unwrap();
        for port in [9, 4, 131_071, 20] {
            table.bind(port);
        }
        table.unbind(20);
        table.learn(7);
        assert_eq!(table.take_owed(), None);
        table.owe_all();
        table.learn(9);
        table.settle(4);
        table.settle(20);
        assert!(table.owes());
        let owed: Vec<u32> = std::iter::from_fn(|| table.take_owed()).collect();
        assert_eq!(owed, [7, 9, 131_071]);
        assert!(!table.owes());
    }

    #[test]
    fn a_port_that_cannot_be_has_no_place() {
        let table = Table::new(true).unwrap();
        for port in [1 << 17, u32::MAX] {
            table.bind(port);
            table.learn(port);
            table.unbind(port);
        }
        table.owe_all();
        assert!(!table.owes());
    }

    #[test]
    fn a_table_is_adopted_with_its_ports_and_another_file_is_not() {
        let table = Table::new(true).unwrap();
        table.bind(5);
        table.owe_all();
        // SAFETY: it takes an integer.
        let inherited = unsafe { libc::dup(table.fd()) };
        let again = Table::adopt(inherited).unwrap().unwrap();
        assert_eq!(again.take_owed(), Some(5));
        assert!(!table.owes());
        for other in [-1, 0] {
            assert!(Table::adopt(other).unwrap().is_none());
        }
    }
}
