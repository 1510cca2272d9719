//! Reading the device and unmasking its ports, under the state lock.

use super::State;
use crate::error::Error;
use crate::hal::{DeviceError, ErrorKind, Trigger};
use crate::ids::Port;
use crate::machine::ChannelId;
use crate::machine::port::PortState;

/// The result of one read.
#[derive(Debug)]
pub(super) enum Read {
    /// The device has nothing.
    Empty,
    /// Ports, and room for more: the device had no more.
    Short,
    /// As many ports as there was room for.
    Full,
    /// A signal came first.
    Interrupted,
    /// The ring had overflowed and is empty now. Every waiter is woken.
    Overflow,
    /// The device is from before a restore of this domain. Every channel is dead and every waiter is
    /// woken.
    Resumed,
    /// The device failed. Every channel is dead and every waiter is woken.
    Failed(DeviceError),
}

impl Read {
    /// Whether there may be more that the event loop will not report.
    pub(super) fn may_leave_more(&self, trigger: Trigger) -> bool {
        match self {
            Read::Full | Read::Interrupted => true,
            // An entry that comes during a read gives no edge, so only an empty read is the end.
            Read::Short | Read::Overflow => trigger == Trigger::Edge,
            Read::Empty | Read::Resumed | Read::Failed(_) => false,
        }
    }
}

/// How many full reads may be made in a row: enough for more ports than exist.
const MANY_READS: usize = 256;

impl State {
    /// Reads once into the inbox. All ports of the last read must have been taken out before.
    #[inline]
    pub(super) fn read(&mut self) -> Read {
        let Some(device) = self.device.as_ref().filter(|_| !self.machine.is_broken()) else {
            return Read::Empty;
        };
        match device.pending(self.machine.inbox()) {
            Ok(()) => self.count_read(),
            Err(error) => self.failed_read(error),
        }
    }

    #[cold]
    fn failed_read(&mut self, error: DeviceError) -> Read {
        let error = match (error.kind(), &self.device) {
            (ErrorKind::Interrupted, _) => return Read::Interrupted,
            (ErrorKind::Resumed, _) => {
                self.resumed(error);
                return Read::Resumed;
            }
            (ErrorKind::Overflow, Some(device)) => match device.reset() {
                Ok(()) => {
                    self.machine.overflow();
                    self.news.overflow();
                    return Read::Overflow;
                }
                Err(error) => error,
            },
            _ => error,
        };
        if let Some(device) = &self.device {
            device.fail();
        }
        self.machine.fault();
        self.news.fault(&error);
        self.failure = Some(error.clone());
        Read::Failed(error)
    }

    /// The device answered that it is from before a restore of this domain: every channel ends. The
    /// link is settled later.
    #[cold]
    pub(super) fn resumed(&mut self, error: DeviceError) {
        let Some(device) = self.device.as_ref().filter(|_| !self.machine.is_broken()) else {
            return;
        };
        device.fail();
        self.machine.resumed();
        self.news.resumed();
        self.failure = Some(error);
    }

    #[inline]
    fn count_read(&mut self) -> Read {
        match self.machine.received() {
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

    /// Reads the device until it is empty and queues the wakes, outside a round.
    ///
    /// The driver adds no entry of a port after its unbind returned. So after this no entry of an
    /// unbound port is left in the ring, and none is taken for an event of the next binding of its
    /// number.
    pub(super) fn drain(&mut self, trigger: Trigger) -> Result<(), DeviceError> {
        if self.read_all(trigger)? && trigger == Trigger::Edge {
            self.machine.set_may_have_more(true);
        }
        self.machine.set_clean();
        Ok(())
    }

    /// Reads the device until it is empty, or [`MANY_READS`] times, and queues the wakes. Returns
    /// whether there may be more.
    pub(super) fn read_all(&mut self, trigger: Trigger) -> Result<bool, DeviceError> {
        self.machine.queue_unread();
        for _ in 0..MANY_READS {
            let read = self.read();
            self.machine.queue_unread();
            let goes_on = read.may_leave_more(trigger);
            if let Read::Failed(error) = read {
                return Err(error);
            }
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Unmasks the queued ports, each once.
    #[inline(always)]
    pub(super) fn unmask_queued(&mut self) -> Result<(), Error> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let mut left = self.machine.ports_to_unmask();
        let mut writes = 0;
        let mut failed = None;
        while !left.is_empty() {
            writes += 1;
            match device.unmask(left) {
                Ok(0) => break,
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let ports = left.len();
        let unwritten = left.first().map(|first| not_written(*first, ports, failed));
        self.machine.stats.writes += writes;
        self.machine.unmasked(ports);
        unwritten.map_or(Ok(()), Err)
    }

    /// Unmasks one port, for a wait outside a round.
    pub(super) fn unmask(&mut self, id: ChannelId) -> Result<(), Error> {
        let still_due = self.machine.state(id)? == PortState::Unmasking;
        let Some(device) = self.device.as_ref().filter(|_| still_due) else {
            return Ok(());
        };
        let port = id.port();
        self.machine.stats.writes += 1;
        match device.unmask(&[port]) {
            Ok(0) => Err(Error::NotUnmasked {
                first: port,
                ports: 1,
            }),
            Ok(_) => {
                self.machine.unmasked_one(port);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The error of an unmask that did not unmask all ports. The next one tries the rest again.
#[cold]
fn not_written(first: Port, ports: usize, failed: Option<DeviceError>) -> Error {
    match failed {
        Some(error) => error.into(),
        None => Error::NotUnmasked { first, ports },
    }
}
