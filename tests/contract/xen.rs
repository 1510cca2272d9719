//! The real device, in a domain with one vCPU.

use std::env;
use std::error::Error as _;
use std::fs;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{DeviceError, DomId};
use evtchn_xen::{DEVICE_PATH, Device, Error, Multicall, PollLoop, Privcmd, XenOpen};
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::epoll::Epoll;
use super::platform::Platform;

/// How long a device that must be ready may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Port numbers and virtual interrupts belong to the whole domain, so cases take turns.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Xen {
    _turn: MutexGuard<'static, ()>,
}

fn poll(device: &Device, events: PollFlags, timeout: Duration) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(device.as_fd(), events)];
    let timeout = Timespec::try_from(timeout).unwrap();
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
    fds[0].revents()
}

/// The pair that `cargo xtask xen` booted, by its name in the simulator.
fn pair() -> evtchn_sim::Platform {
    let Some(name) = env::var_os("EVTCHN_PLATFORM") else {
        return evtchn_sim::Platform::LINUX_6_1_ON_XEN_4_17;
    };
    let known = name.to_str().and_then(evtchn_sim::Platform::named);
    *known.ok_or(name).unwrap()
}

fn is_required() -> bool {
    env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1")
}

impl Xen {
    /// Why this side is left out here, if so.
    ///
    /// # Errors
    /// No device, where there has to be one.
    pub(crate) fn excuse() -> Result<Option<String>, String> {
        if !fs::exists(DEVICE_PATH).unwrap_or(true) {
            let reason = format!("no {DEVICE_PATH}");
            return if is_required() {
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

    pub(crate) fn new() -> Xen {
        Xen {
            // A lock that a failed case poisoned does not fail the next one.
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Platform for Xen {
    type Device = Device;
    type Open = XenOpen;
    type Loop = PollLoop;
    type Privcmd = Privcmd;

    fn opener(&self) -> XenOpen {
        XenOpen::default()
    }

    fn batching(&self) -> XenOpen {
        XenOpen::default().multicall(Multicall::Always)
    }

    fn has_multicall(&self, device: &Device) -> bool {
        device.has_multicall()
    }

    fn batching_privcmd(&self) -> Privcmd {
        self.privcmd().with_multicall(Multicall::Always)
    }

    fn event_loop(&self) -> PollLoop {
        PollLoop::new().unwrap()
    }

    fn privcmd(&self) -> Privcmd {
        Privcmd::open().unwrap()
    }

    fn domid(&self) -> DomId {
        let Ok(domid) = env::var("EVTCHN_DOMID") else {
            return DomId::DOM0;
        };
        domid.parse().unwrap()
    }

    fn pair(&self) -> evtchn_sim::Platform {
        pair()
    }

    #[track_caller]
    fn expect_ready(&self, device: &Device) {
        let revents = poll(device, PollFlags::IN, PATIENCE);
        assert!(!revents.is_empty(), "no event in {PATIENCE:?}");
    }

    #[track_caller]
    fn expect_loop_ready(&self, event_loop: &PollLoop) {
        let readiness = event_loop.wait(Some(PATIENCE)).unwrap();
        assert!(readiness.ready, "no event in {PATIENCE:?}");
    }

    fn is_loop_ready(&self, event_loop: &PollLoop) -> bool {
        event_loop.wait(Some(Duration::ZERO)).unwrap().ready
    }

    fn poll(&self, device: &Device) -> PollFlags {
        poll(device, PollFlags::all(), Duration::ZERO)
    }

    fn errno(error: &DeviceError) -> Errno {
        let own = error.source().and_then(|own| own.downcast_ref::<Error>());
        own.unwrap().errno()
    }

    fn raw_read(&self, device: &Device, bytes: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(device, bytes)
    }

    fn raw_write(&self, device: &Device, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(device, bytes)
    }

    fn dup(&self, device: &Device) -> Device {
        Device::from_fd(device.as_fd().try_clone_to_owned().unwrap()).unwrap()
    }

    fn set_nonblocking(&self, device: &Device, is_on: bool) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(device, is_on)
    }

    fn seek(&self, device: &Device) -> Result<(), Errno> {
        rustix::fs::seek(device, SeekFrom::Start(0)).map(drop)
    }

    fn read_at(&self, device: &Device, bytes: &mut [u8]) -> Result<(), Errno> {
        rustix::io::pread(device, bytes, 0).map(drop)
    }

    fn write_at(&self, device: &Device, bytes: &[u8]) -> Result<(), Errno> {
        rustix::io::pwrite(device, bytes, 0).map(drop)
    }

    fn readable_bytes(&self, device: &Device) -> Result<(), Errno> {
        rustix::io::ioctl_fionread(device).map(drop)
    }

    fn edge_watch(&self, device: &Device) -> Box<dyn Fn() -> bool> {
        let epoll = Epoll::watching(device, EventFlags::ET);
        Box::new(move || !epoll.look().is_empty())
    }
}
