//! What every backend can say of a failure.

/// A device error that generic code can branch on.
///
/// ```
/// use evtchn_core::{DomId, Error, ErrorKind, EventChannel, Open, Port, RemotePort};
/// use evtchn_sim::Sim;
///
/// /// Whether the guest is gone, whichever device says so.
/// fn is_gone(error: &impl Error) -> bool {
///     error.kind() == ErrorKind::NoSuchDomain
/// }
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let nobody = RemotePort { domid: DomId::new(77), port: Port::MAX };
/// assert!(is_gone(&device.bind_interdomain(nobody).unwrap_err()));
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
pub trait Error: core::error::Error + Send + Sync + 'static {
    /// What kind of failure it is.
    fn kind(&self) -> ErrorKind;
}

/// Kinds of device failures.
///
/// ```
/// use evtchn_core::{DomId, Error, ErrorKind, EventChannel, Open, Virq};
/// use evtchn_sim::Sim;
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// device.bind_virq(Virq::DOM_EXC)?;
/// let twice = device.bind_virq(Virq::DOM_EXC).unwrap_err();
/// assert_eq!(twice.kind(), ErrorKind::InUse);
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no device: not a Xen domain, or its driver is not loaded.
    NoDevice,
    /// Not allowed: no permission on the device, or the device is restricted.
    NotPermitted,
    /// The named domain does not exist.
    NoSuchDomain,
    /// An argument was refused; what is wrong with it depends on the call.
    Invalid,
    /// The port is not bound by this device.
    NotBound,
    /// Somebody else holds the virtual interrupt or the port.
    InUse,
    /// No port number is left in this domain.
    NoSpace,
    /// Out of memory.
    NoMemory,
    /// The driver's ring overflowed: `reset` and enable every port again.
    Overflow,
    /// A signal interrupted the call; try again.
    Interrupted,
    /// Xen keeps the port for itself and says no more of it (Xen 4.15 to 4.18).
    Hidden,
    /// The kernel or the backend does not know this call.
    Unsupported,
    /// The device itself is gone or broken; close it.
    Gone,
    /// Anything else.
    Other,
}
