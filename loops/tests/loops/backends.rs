//! The two sides that the suite runs on.

use std::env;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::DomId;
use evtchn_sim::{SimDevice, SimOpen};
use evtchn_xen::{DEVICE_PATH, Device, XenOpen};

use super::device::Backend;

/// A machine of its own for each case, where events arrive at once.
pub(crate) struct Sim(evtchn_sim::Sim);

impl Backend for Sim {
    type Device = SimDevice;
    type Open = SimOpen;

    const NAME: &'static str = "sim";
    const PATIENCE: Duration = Duration::ZERO;

    fn excuse() -> Result<Option<String>, String> {
        Ok(None)
    }

    fn start() -> Sim {
        Sim(evtchn_sim::Sim::new(1))
    }

    fn opener(&self) -> SimOpen {
        self.0.open(DomId::DOM0)
    }
}

/// Port numbers belong to the whole domain, so cases take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The real device.
pub(crate) struct Xen {
    _turn: MutexGuard<'static, ()>,
}

impl Backend for Xen {
    type Device = Device;
    type Open = XenOpen;

    const NAME: &'static str = "xen";
    const PATIENCE: Duration = Duration::from_secs(10);

    fn excuse() -> Result<Option<String>, String> {
        if !fs::exists(DEVICE_PATH).unwrap_or(true) {
            let reason = format!("no {DEVICE_PATH}");
            let is_required = env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|it| it == "1");
            return if is_required {
                Err(reason)
            } else {
                Ok(Some(reason))
            };
        }
        // With several, events arrive some time after the call that sends them.
        let cpus = fs::read_to_string("/sys/devices/system/cpu/online");
        let has_one = cpus.is_ok_and(|cpus| cpus.trim() == "0");
        Ok((!has_one).then(|| "not a domain with one vCPU".to_owned()))
    }

    fn start() -> Xen {
        Xen {
            // A case that failed says nothing against the next one.
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn opener(&self) -> XenOpen {
        XenOpen::default()
    }
}
