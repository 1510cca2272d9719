//! When several operations on ports are made in one hypercall, and the notifies of a device in one.

use std::fmt;
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use evtchn_core::{DeviceError, Port};
use evtchn_fork::Process;
use rustix::io::Errno;

use crate::error::{Call, Error};
use crate::privcmd;
use crate::privcmd::batch::{Batch, EvtchnSend, MakeHypercall};

/// Whether many operations on ports are made by one hypercall, `multicall` through
/// `/dev/xen/privcmd`, instead of a system call for each.
///
/// Privcmd makes hypercalls for root in a control domain. In any other domain its driver refuses
/// them, unless it is loaded with `unrestricted=1`. Where a device cannot be opened, or a hypercall
/// is refused, the ioctl of each port is used from then on, and no error is returned.
///
/// A program that holds an open privcmd can make any hypercall that its domain may make. In a
/// control domain that is nearly everything: create, pause and destroy domains, and map their
/// memory. It keeps that when it gives up root. So choose this only for a program that may hold it.
/// [Restricting](evtchn_core::EventChannel::restrict) a device closes its privcmd.
///
/// ```
/// use evtchn::xen::{Multicall, XenOpen};
///
/// let opener = XenOpen::default().multicall(Multicall::WherePv);
/// assert_ne!(opener, XenOpen::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Multicall {
    /// Never. Privcmd is not opened.
    #[default]
    Never,
    /// In a PV domain, where it costs a quarter of the single calls. In PVH and HVM domains, each
    /// access of Xen to the memory of a program is dear, and it costs more than they do. Linux says
    /// in `/sys/hypervisor/guest_type` what this domain is, and is asked once.
    WherePv,
    /// In every domain.
    Always,
}

impl Multicall {
    /// The fewest operations that are made in one hypercall. A single one is cheaper by itself; two
    /// cost two thirds of two ioctls.
    pub(crate) const FEWEST: usize = 2;

    pub(crate) fn is_wanted(self) -> bool {
        static IS_PV: OnceLock<bool> = OnceLock::new();
        let guest_type = || fs::read_to_string("/sys/hypervisor/guest_type").ok();
        self.is_wanted_in(|| *IS_PV.get_or_init(|| guest_type().is_some_and(|it| is_pv(&it))))
    }

    fn is_wanted_in(self, pv: impl FnOnce() -> bool) -> bool {
        match self {
            Multicall::Never => false,
            Multicall::WherePv => pv(),
            Multicall::Always => true,
        }
    }
}

/// Whether Linux says so in `/sys/hypervisor/guest_type`.
fn is_pv(guest_type: &str) -> bool {
    guest_type.trim_end() == "PV"
}

/// Sends the notifies of a device, many in one hypercall.
pub(crate) struct Sender {
    /// The process that opened it. A forked child shares the memory.
    process: Process,
    /// `None` once a hypercall was refused.
    open: Mutex<Option<Open>>,
}

struct Open {
    privcmd: Box<dyn MakeHypercall>,
    batch: Batch<EvtchnSend>,
}

impl Sender {
    /// Opens privcmd if multicall is wanted here.
    pub(crate) fn open(when: Multicall) -> Option<Sender> {
        if !when.is_wanted() {
            return None;
        }
        let (fd, memory) = privcmd::open().ok()?;
        let batch = Batch::map(&memory).ok()?;
        Sender::with(Box::new(fd), batch)
    }

    fn with(privcmd: Box<dyn MakeHypercall>, batch: Batch<EvtchnSend>) -> Option<Sender> {
        Some(Sender {
            process: Process::current().ok()?,
            open: Mutex::new(Some(Open { privcmd, batch })),
        })
    }

    /// Whether it still sends by hypercall.
    pub(crate) fn is_open(&self) -> bool {
        self.process.is_current() && self.lock().is_some()
    }

    /// From now on it sends nothing.
    pub(crate) fn close(&self) {
        if self.process.is_current() {
            *self.lock() = None;
        }
    }

    /// Notifies the first of these ports, and returns how many: all of them, or fewer if a hypercall
    /// is refused or the rest is too small. For a port that Xen refuses, it calls `failed`.
    pub(crate) fn send(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) -> usize {
        // In a forked child the lock may be held for ever.
        if ports.len() < Multicall::FEWEST || !self.process.is_current() {
            return 0;
        }
        let mut open = self.lock();
        let mut sent = 0;
        for chunk in ports.chunks(Batch::<EvtchnSend>::MOST) {
            let Some(sending) = open.as_mut().filter(|_| chunk.len() >= Multicall::FEWEST) else {
                break;
            };
            if sending.send(chunk).is_err() {
                *open = None;
                break;
            }
            for (index, port) in chunk.iter().enumerate() {
                if let Err(errno) = sending.batch.answer(index) {
                    failed(sent + index, Error::new(Call::Notify(*port), errno).into());
                }
            }
            sent += chunk.len();
        }
        sent
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        // A panic leaves old arguments there, and the next call overwrites them.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn send(&mut self, ports: &[Port]) -> Result<usize, Errno> {
        let sends = ports.iter().map(|port| EvtchnSend {
            port: port.as_raw(),
        });
        self.batch.make(sends, &*self.privcmd)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sender");
        shown.field("is_open", &self.is_open()).finish()
    }
}

#[cfg(test)]
mod tests;
