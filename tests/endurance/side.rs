//! The sides that the loads run on, and how much of each a side gets.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use evtchn_core::{DomId, EventChannel, Open};
use evtchn_sim::{SimDevice, SimOpen};
use evtchn_xen::{DEVICE_PATH, Device, XenOpen};

/// By how much the usual doses are multiplied. Ten of them are a million wakes on the real device.
const LOAD: &str = "EVTCHN_LOAD";

/// How much load a side gets.
pub(crate) struct Dose {
    /// Wakes of a ping-pong on one channel.
    pub(crate) ping_pong: usize,
    /// Wakes of bursts over many channels.
    pub(crate) bursts: usize,
    /// Overflows of the ring.
    pub(crate) overflows: usize,
    /// Channels unbound and rebound.
    pub(crate) rebinds: usize,
}

impl Dose {
    fn times(self, factor: usize) -> Dose {
        Dose {
            ping_pong: self.ping_pong * factor,
            bursts: self.bursts * factor,
            overflows: self.overflows * factor,
            rebinds: self.rebinds * factor,
        }
    }
}

/// One of the two sides: the simulator, or the real device.
pub(crate) trait Side: 'static {
    type Device: EventChannel + AsFd;
    type Open: Open<Device = Self::Device>;

    /// The usual dose.
    const DOSE: Dose;
    /// How long a device may take until it is ready. Only a failing test waits so long.
    const PATIENCE: Duration;

    /// The dose of this side.
    fn dose(&self) -> Dose {
        let factor = env::var(LOAD).map_or(1, |factor| factor.parse().unwrap());
        let mut dose = Self::DOSE.times(factor);
        if !self.is_prompt() {
            // Each of its wakes ends the sleep of a vCPU, which is slow under emulation.
            dose.ping_pong /= 10;
        }
        dose
    }

    fn opener(&self) -> Self::Open;

    /// A second descriptor of the same open file, for another holder.
    fn second(device: &Self::Device) -> Self::Device;

    /// Whether an event is in the ring when the call that sent it returns.
    fn is_prompt(&self) -> bool;
}

/// The simulated machine.
pub(crate) struct Sim(evtchn_sim::Sim);

impl Sim {
    pub(crate) fn new() -> Sim {
        Sim(evtchn_sim::Sim::new(1))
    }

    /// It is always there.
    pub(crate) fn excuse() -> Result<Option<String>, String> {
        Ok(None)
    }
}

impl Side for Sim {
    type Device = SimDevice;
    type Open = SimOpen;

    const DOSE: Dose = Dose {
        ping_pong: 2_000,
        bursts: 20_000,
        overflows: 20,
        rebinds: 2_000,
    };
    const PATIENCE: Duration = Duration::ZERO;

    fn opener(&self) -> SimOpen {
        self.0.open(DomId::DOM0)
    }

    fn second(device: &SimDevice) -> SimDevice {
        device.dup().unwrap()
    }

    fn is_prompt(&self) -> bool {
        true
    }
}

/// The real device.
pub(crate) struct Xen {
    cpus: String,
}

impl Xen {
    pub(crate) fn new() -> Xen {
        let cpus = fs::read_to_string("/sys/devices/system/cpu/online");
        Xen {
            cpus: cpus.unwrap(),
        }
    }

    /// Why this side is left out here, if so.
    ///
    /// # Errors
    /// No device, where there has to be one.
    pub(crate) fn excuse() -> Result<Option<String>, String> {
        if fs::exists(DEVICE_PATH).unwrap_or(true) {
            return Ok(None);
        }
        let reason = format!("no {DEVICE_PATH}");
        match env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1") {
            true => Err(reason),
            false => Ok(Some(reason)),
        }
    }
}

impl Side for Xen {
    type Device = Device;
    type Open = XenOpen;

    const DOSE: Dose = Dose {
        ping_pong: 10_000,
        bursts: 90_000,
        overflows: 100,
        rebinds: 4_000,
    };
    const PATIENCE: Duration = Duration::from_secs(10);

    fn opener(&self) -> XenOpen {
        XenOpen::default()
    }

    fn second(device: &Device) -> Device {
        Device::from_fd(device.as_fd().try_clone_to_owned().unwrap()).unwrap()
    }

    /// On one vCPU. With several, events arrive some time after the call that sends them.
    fn is_prompt(&self) -> bool {
        self.cpus.trim() == "0"
    }
}
