//! Any backend behind one type.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use super::fork::{ForkMark, Process};
use super::{Device, DeviceError, Open, PortStatuses};
#[cfg(feature = "std")]
use crate::observe::Observe;

/// Opens the device of a context: the device of this domain, a simulated device, or that of a third
/// party. The program decides which while it runs.
///
/// Anything that implements [`Open`] converts into it. Clones are the same backend.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Backend, Context, DomId};
///
/// /// The backend of this name. On a host another one is `evtchn::xen::backend()`.
/// fn backend(name: &str) -> Option<Backend> {
///     match name {
///         "sim" => Some(Sim::new(1).open(DomId::DOM0).into()),
///         _ => None,
///     }
/// }
///
/// let backend = backend("sim").ok_or("no such backend")?;
/// let ctx = Context::with_registrar(backend.clone(), SimLoop::level());
/// let other = Context::with_registrar(backend, SimLoop::level()); // with a device of its own
/// let (one, two) = (ctx.bind_unbound_port(DomId::SELF)?, other.bind_unbound_port(DomId::SELF)?);
/// assert_ne!(one.port(), two.port()); // two ports of the same domain
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Backend {
    opener: Arc<dyn AnyOpen>,
    mark: Option<ForkMark>,
    /// Records its devices and contexts.
    #[cfg(feature = "std")]
    observer: Option<Arc<dyn Observe>>,
}

/// [`Open`], whatever device it opens.
trait AnyOpen: Send + Sync {
    fn open(&self, process: Option<Process>) -> Result<Device, DeviceError>;
    fn process(&self) -> u64;
    fn is_current(&self, process: u64) -> bool;
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError>;
}

impl<O: Open> AnyOpen for O {
    fn open(&self, process: Option<Process>) -> Result<Device, DeviceError> {
        Open::open(self).map(|device| Device::opened_by(device, process))
    }

    fn process(&self) -> u64 {
        Open::process(self)
    }

    #[inline]
    fn is_current(&self, process: u64) -> bool {
        Open::is_current(self, process)
    }

    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Open::statuses(self)
    }
}

impl Backend {
    /// Opens the device.
    ///
    /// # Errors
    /// Those of the backend's [`open`](Open::open).
    pub fn open(&self) -> Result<Device, DeviceError> {
        let mark = self.mark.clone();
        let process = mark.map(|mark| Process::new(Some(mark), self.opener.process()));
        let opened = self.opener.open(process);
        #[cfg(feature = "std")]
        if let Some(observer) = &self.observer {
            return observer.open(opened);
        }
        opened
    }

    /// Opens what reports the states of ports: [`Open::statuses`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](super::ErrorKind::Unsupported) if the backend does not supply it;
    /// otherwise the backend's.
    pub fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        self.opener.statuses()
    }

    /// The same backend with its devices and contexts observed. evtchn-trace calls this; a program
    /// calls its `Tape::record`.
    #[cfg(feature = "std")]
    #[doc(hidden)]
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observe>) -> Backend {
        Backend {
            observer: Some(observer),
            ..self
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn observer(&self) -> Option<&dyn Observe> {
        self.observer.as_deref()
    }

    /// The calling process.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.mark.clone(), self.opener.process())
    }

    /// [`Open::is_current`].
    pub(crate) fn is_current(&self, process: u64) -> bool {
        self.opener.is_current(process)
    }
}

impl<O: Open> From<O> for Backend {
    fn from(opener: O) -> Backend {
        Backend {
            mark: opener.mark(),
            opener: Arc::new(opener),
            #[cfg(feature = "std")]
            observer: None,
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}
