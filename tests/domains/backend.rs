//! What a program needs, in whatever domain it runs: the device, and the errno of what it refuses.

use std::os::fd::AsFd;
use std::time::Duration;

use evtchn_core::{DeviceError, EventChannel, Open};
use evtchn_sim::{SimDevice, SimOpen};
use evtchn_xen::{Device, Errno, XenOpen};

/// How long what must come may take. Only a failure ever waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Opens devices of one of the two kinds.
pub(crate) trait Backend:
    Open<Device: AsFd + 'static> + Clone + Send + Sync + 'static
{
    fn errno(error: &DeviceError<Self>) -> Errno;
}

impl Backend for XenOpen {
    fn errno(error: &<Device as EventChannel>::Error) -> Errno {
        error.errno()
    }
}

impl Backend for SimOpen {
    fn errno(error: &<SimDevice as EventChannel>::Error) -> Errno {
        Errno::from_raw_os_error(error.errno.raw())
    }
}
