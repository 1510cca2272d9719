//! Reading the device and writing back to it, under the state lock.

use super::State;
use super::error::WaitError;
use crate::hal::{Error, ErrorKind, EventChannel};
use crate::machine::ChannelId;
use crate::machine::port::PortState;

/// What one read came to.
#[derive(Debug)]
pub(super) enum Read<E> {
    /// The device has nothing.
    Empty,
    /// Ports, and room for more: the device had no more.
    Short,
    /// As many ports as there was room for.
    Full,
    /// A signal came first.
    Interrupted,
    /// The ring had overflowed and is empty now. Every waiter is told.
    Overflow,
    /// The device failed. Every channel is dead and every waiter is told.
    Failed(E),
}

/// A write-back that did not get all ports through. The rest is tried again.
#[derive(Debug)]
pub(super) struct Unwritten<E> {
    pub(super) ports: usize,
    /// `None` where the device just took none.
    pub(super) source: Option<E>,
}

/// How many full reads may follow one another: more ports than exist.
const MANY_READS: usize = 256;

impl<D: EventChannel> State<D> {
    /// Reads once into the inbox, which must be used up.
    pub(super) fn read(&mut self) -> Read<D::Error> {
        let Some(device) = &self.device else {
            return Read::Empty;
        };
        let error = match device.pending(self.machine.inbox()) {
            Ok(()) => return self.count_read(),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Read::Interrupted,
            Err(error) if error.kind() == ErrorKind::Overflow => match device.reset() {
                Ok(()) => {
                    self.machine.overflow();
                    return Read::Overflow;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        self.machine.fault();
        Read::Failed(error)
    }

    fn count_read(&mut self) -> Read<D::Error> {
        match self.machine.last_read() {
            (0, _) => {
                self.machine.stats.empty_reads += 1;
                Read::Empty
            }
            (_, has_room) => {
                self.machine.stats.reads += 1;
                if has_room { Read::Short } else { Read::Full }
            }
        }
    }

    /// Reads away what an unbind may have left in the driver's ring, so that it is not taken for
    /// an event of the next owner of the number. What else is there goes to its waiters.
    ///
    /// After the unbind returned, no entry of that port can be added, and a read that is not full
    /// took all there was.
    pub(super) fn drain(&mut self) -> Result<(), D::Error> {
        self.machine.absorb();
        for _ in 0..MANY_READS {
            match self.read() {
                Read::Full | Read::Interrupted => self.machine.absorb(),
                Read::Short => {
                    self.machine.absorb();
                    break;
                }
                Read::Empty | Read::Overflow => break,
                Read::Failed(error) => return Err(error),
            }
        }
        self.machine.set_clean();
        Ok(())
    }

    /// Writes the gathered ports back, each once.
    pub(super) fn flush(&mut self) -> Result<(), Unwritten<D::Error>> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let ports = self.machine.take_rearms();
        let mut written = 0;
        let mut source = None;
        while written < ports.len() {
            self.machine.stats.writes += 1;
            match device.unmask(&ports[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) => {
                    source = Some(error);
                    break;
                }
            }
        }
        let left = ports.len().saturating_sub(written);
        self.machine.unwritten(ports, written);
        if left == 0 {
            return Ok(());
        }
        Err(Unwritten {
            ports: left,
            source,
        })
    }

    /// Enables one port again, whose waiter is not in a round.
    pub(super) fn write_back<R: std::error::Error>(
        &mut self,
        id: ChannelId,
    ) -> Result<(), WaitError<D::Error, R>> {
        let still_due = self.machine.state(id)? == PortState::Rearming;
        let Some(device) = self.device.as_ref().filter(|_| still_due) else {
            return Ok(());
        };
        let port = id.port();
        self.machine.stats.writes += 1;
        match device.unmask(&[port]) {
            Ok(0) => Err(WaitError::NotWritten { port }),
            Ok(_) => {
                self.machine.written(port);
                Ok(())
            }
            Err(source) => Err(WaitError::Unmask { port, source }),
        }
    }
}
