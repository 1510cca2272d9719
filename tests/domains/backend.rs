//! What a program needs, in whatever domain it runs: the device, and the errno of what it refuses.

use std::error::Error as _;
use std::os::fd::AsFd;
use std::time::Duration;

use evtchn_core::{DeviceError, Open};
use evtchn_sim::SimOpen;
use evtchn_xen::{Errno, Error, XenOpen};

/// How long an expected event may take. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Opens devices of one of the two kinds.
pub(crate) trait Backend: Open<Device: AsFd> + Clone {
    /// The errno that the backend's own error has, which is the source of this one.
    fn errno(error: &DeviceError) -> Errno;
}

impl Backend for XenOpen {
    fn errno(error: &DeviceError) -> Errno {
        let own = error.source().and_then(|own| own.downcast_ref::<Error>());
        own.unwrap().errno()
    }
}

impl Backend for SimOpen {
    fn errno(error: &DeviceError) -> Errno {
        Errno::from_raw_os_error(evtchn_sim::Errno::of(error).unwrap().raw())
    }
}
