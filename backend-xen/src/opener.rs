//! Opens devices for a context.

use std::path::{Path, PathBuf};

#[cfg(feature = "status")]
use evtchn_core::PortStatuses;
use evtchn_core::{Backend, DeviceError, ForkMark, Open};

use crate::Device;
#[cfg(feature = "multicall")]
use crate::multicall::Multicall;

/// Where Linux puts the device.
pub const DEVICE_PATH: &str = "/dev/xen/evtchn";

/// Opens the device, by default at [`DEVICE_PATH`].
///
/// ```
/// use evtchn::xen::{DEVICE_PATH, XenOpen};
/// use evtchn::{ErrorKind, Open};
///
/// assert_eq!(XenOpen::default().path().to_str(), Some(DEVICE_PATH));
/// let elsewhere = XenOpen::at("/nowhere/evtchn");
/// assert_eq!(elsewhere.open().unwrap_err().kind(), ErrorKind::NoDevice);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XenOpen {
    path: PathBuf,
    #[cfg(feature = "multicall")]
    multicall: Multicall,
}

impl XenOpen {
    /// Opens the device at `path`.
    pub fn at(path: impl Into<PathBuf>) -> XenOpen {
        XenOpen {
            path: path.into(),
            #[cfg(feature = "multicall")]
            multicall: Multicall::Never,
        }
    }

    /// Says whether its devices notify many ports in one hypercall, and whether the states of many
    /// ports are asked for in one.
    ///
    /// ```
    /// use evtchn::poll::PollLoop;
    /// use evtchn::xen::{Multicall, XenOpen};
    /// use evtchn::{Context, DomId};
    ///
    /// let backend = XenOpen::default().multicall(Multicall::WherePv);
    /// let ctx: Context<PollLoop> = Context::new(backend)?;
    /// # Ok::<_, evtchn::Error>(())
    /// ```
    #[cfg(feature = "multicall")]
    #[must_use]
    pub fn multicall(self, when: Multicall) -> XenOpen {
        XenOpen {
            multicall: when,
            ..self
        }
    }

    /// The path at which the device is opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The device of this domain, at [`DEVICE_PATH`]. Nothing is opened yet.
///
/// ```
/// use evtchn::poll::PollLoop;
/// use evtchn::{Context, DomId, Error, ErrorKind};
///
/// let ctx: Context<PollLoop> = Context::new(evtchn::xen::backend())?;
/// match ctx.bind_unbound_port(DomId::SELF) {
///     Ok(channel) => println!("{} is bound", channel.port()),
///     Err(Error::Device(error)) if error.kind() == ErrorKind::NoDevice => println!("{error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<_, Error>(())
/// ```
#[must_use]
pub fn backend() -> Backend {
    XenOpen::default().into()
}

impl Default for XenOpen {
    fn default() -> XenOpen {
        XenOpen::at(DEVICE_PATH)
    }
}

impl Open for XenOpen {
    type Device = Device;

    fn open(&self) -> Result<Device, DeviceError> {
        let device = Device::open_at(&self.path)?;
        #[cfg(feature = "multicall")]
        let device = device.with_multicall(self.multicall);
        Ok(device)
    }

    #[inline]
    fn process(&self) -> u64 {
        evtchn_fork::number()
    }

    #[inline]
    fn is_current(&self, process: u64) -> bool {
        evtchn_fork::is_current(process)
    }

    fn mark(&self) -> Option<ForkMark> {
        Some(ForkMark::new(evtchn_fork::mark()))
    }

    /// Opens `/dev/xen/privcmd`.
    #[cfg(feature = "status")]
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        let privcmd = crate::Privcmd::open()?;
        #[cfg(feature = "multicall")]
        let privcmd = privcmd.with_multicall(self.multicall);
        Ok(Box::new(privcmd))
    }
}
