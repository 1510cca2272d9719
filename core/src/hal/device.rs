//! An open device, whichever backend opened it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::EventChannel;
use super::fork::Process;
#[cfg(feature = "std")]
use super::notify_buf::NotifyBuf;
#[cfg(feature = "std")]
use crate::observe::Observer;
#[cfg(feature = "std")]
use crate::sync::{Mutex, MutexGuard};

/// An open device. A context hands it to its event loop.
///
/// An event loop keeps a clone for as long as it watches the device. That keeps the descriptor
/// open, so the loop may hold it as a number. Dropping the last handle closes the device.
///
/// ```
/// use evtchn::sim::{Sim, SimDevice};
/// use evtchn::{Device, DomId, Open};
///
/// let device = Device::new(Sim::new(1).open(DomId::DOM0).open()?);
/// let port = device.bind_unbound_port(DomId::SELF)?;
/// device.unbind(port)?;
/// assert!(device.downcast_ref::<SimDevice>().is_some());
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
pub struct Device(Opened);

impl Device {
    /// A handle of this device.
    pub fn new(device: impl EventChannel) -> Device {
        Device::opened_by(device, None)
    }

    /// A handle of a device that the calling process opened.
    pub(super) fn opened_by(device: impl EventChannel, process: Option<Process>) -> Device {
        let shared = Shared {
            process: process.unwrap_or_else(|| Process::new(None, 0)),
            device: Box::new(device),
            handles: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            #[cfg(feature = "std")]
            observer: std::sync::OnceLock::new(),
            #[cfg(feature = "std")]
            notifies: Mutex::default(),
        };
        Opened(Arc::new(shared)).handle()
    }

    pub(crate) fn opened(&self) -> Opened {
        self.0.clone()
    }

    /// The device as its own type, for an event loop that knows that type. It looks through devices
    /// that [wrap](EventChannel::inner) others.
    #[must_use]
    pub fn downcast_ref<D: EventChannel>(&self) -> Option<&D> {
        let mut device = &**self;
        loop {
            match device.as_any().downcast_ref() {
                Some(device) => return Some(device),
                None => device = device.inner()?,
            }
        }
    }

    /// Takes the device out of its only handle.
    ///
    /// # Errors
    /// Returns the handle if there are others or if the device has another type.
    pub fn into_inner<D: EventChannel>(self) -> Result<D, Device> {
        if !(*self).as_any().is::<D>() {
            return Err(self);
        }
        let opened = self.opened();
        drop(self);
        match Arc::try_unwrap(opened.0) {
            Ok(shared) => match shared.device.into_any().downcast() {
                Ok(device) => Ok(*device),
                Err(_) => unreachable!("its type was looked at"),
            },
            Err(shared) => Err(Opened(shared).handle()),
        }
    }
}

impl Deref for Device {
    type Target = dyn EventChannel;

    fn deref(&self) -> &dyn EventChannel {
        &*self.0
    }
}

impl Clone for Device {
    fn clone(&self) -> Device {
        self.0.handle()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.0.0.handles.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&&**self).finish()
    }
}

/// An open device as a context and its channels hold it.
#[derive(Clone)]
pub(crate) struct Opened(Arc<Shared>);

struct Shared {
    device: Box<dyn EventChannel>,
    /// The process that opened it, if that is known.
    process: Process,
    /// How many [`Device`]s hold it, as event loops do.
    handles: AtomicUsize,
    /// A read of it failed, so its context closes it.
    has_failed: AtomicBool,
    /// `has_failed` or `observer` was set, so a notify has to look at both.
    has_news: AtomicBool,
    /// Records the notifiers, which have no context.
    #[cfg(feature = "std")]
    observer: std::sync::OnceLock<Arc<dyn Observer>>,
    /// Locked while a batch of notifiers runs, and while a port is unbound.
    #[cfg(feature = "std")]
    notifies: Mutex<NotifyBuf>,
}

impl Opened {
    /// The device failed: from now on each notify fails.
    pub(crate) fn fail(&self) {
        self.0.has_failed.store(true, Ordering::Release);
        self.0.has_news.store(true, Ordering::Release);
    }

    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn observer(&self) -> Option<&dyn Observer> {
        self.0.observer.get().map(|observer| &**observer)
    }

    /// Records its notifiers with this observer, unless it has one already.
    #[cfg(feature = "std")]
    pub(crate) fn observe(&self, observer: impl FnOnce() -> Arc<dyn Observer>) {
        let _first = self.0.observer.get_or_init(observer);
        self.0.has_news.store(true, Ordering::Release);
    }

    /// Locks batches of notifiers and unbinds out. It is the last lock that a call takes.
    #[cfg(feature = "std")]
    pub(crate) fn notifies(&self) -> MutexGuard<'_, NotifyBuf> {
        self.0.notifies.lock()
    }

    /// [`EventChannel::is_inherited`]
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        let device = &self.0.device;
        !self.0.process.is_current(|_| !device.is_inherited())
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Acquire)
    }

    /// Whether it neither failed nor is recorded, as nearly always.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.0.has_news.load(Ordering::Acquire)
    }

    /// A handle for an event loop or a program.
    pub(crate) fn handle(&self) -> Device {
        self.0.handles.fetch_add(1, Ordering::AcqRel);
        Device(self.clone())
    }

    /// How many references to it there are, without the [`Device`]s.
    pub(crate) fn holders(&self) -> usize {
        let handles = self.0.handles.load(Ordering::Acquire);
        Arc::strong_count(&self.0).saturating_sub(handles)
    }

    /// Whether both are the same device.
    pub(crate) fn is(&self, other: &Opened) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Opened {
    type Target = dyn EventChannel;

    #[inline]
    fn deref(&self) -> &dyn EventChannel {
        &*self.0.device
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Converts a trait object back to its type. Every type implements it.
#[expect(
    unnameable_types,
    reason = "only this crate implements it and calls it"
)]
pub trait AsAny: 'static {
    /// The value as any type.
    fn as_any(&self) -> &dyn Any;
    /// The value as any type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: 'static> AsAny for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
