//! The typed numbers: ports, domain ids, virtual interrupts.
//!
//! The compiler refuses a local port in place of a remote one, because a remote port always comes
//! with its domain, and a domain id in place of a port.

use alloc::format;
use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

/// Why a number or a text is not a valid id.
///
/// ```
/// use evtchn::{BadId, DomId, Port, Virq};
///
/// assert_eq!(Port::try_from(0), Err(BadId::PortZero));
/// assert_eq!(DomId::try_from(0x1_0005), Err(BadId::DomIdTooLarge(0x1_0005)));
/// assert_eq!("BOGUS".parse::<Virq>(), Err(BadId::Unreadable));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Port 0 is reserved by Xen and never names a channel.
    #[error("port 0 is reserved and never names a channel")]
    PortZero,
    /// Event-channel ports fit in 31 bits (xenevtchn.h, `evtchn_port_or_error_t`).
    #[error("{0} is no event-channel port: ports fit in 31 bits")]
    PortTooLarge(u32),
    /// Domain ids are 16 bits wide. Linux silently cuts a larger one to its low 16 bits.
    #[error("{0} is no domain id: domain ids fit in 16 bits")]
    DomIdTooLarge(u32),
    /// The text is neither a number nor a known name.
    #[error("neither a number nor a known name")]
    Unreadable,
}

/// The local number of an event channel: 1 to 2³¹ − 1.
///
/// A number to print or to hand to a peer. Xen gives the lowest free number to the next binding, so
/// a port alone does not identify a binding: a [`ChannelId`](crate::ChannelId) does.
///
/// ```
/// use evtchn::Port;
///
/// let port: Port = "17".parse()?;
/// assert_eq!((port.as_raw(), port.to_string()), (17, "17".to_owned()));
/// assert_eq!(Port::new(0), None);
/// # Ok::<_, evtchn::BadId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Port(NonZeroU32);

impl Port {
    /// The largest port number that fits the interface, 2³¹ − 1.
    pub const MAX: Port = match Port::new(0x7fff_ffff) {
        Some(port) => port,
        None => unreachable!(),
    };

    /// The port with this number; `None` for 0 and for numbers over 31 bits.
    #[must_use]
    pub const fn new(raw: u32) -> Option<Port> {
        match NonZeroU32::new(raw) {
            Some(number) if raw >> 31 == 0 => Some(Port(number)),
            _ => None,
        }
    }

    /// The number, as the kernel has it.
    #[must_use]
    pub const fn as_raw(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = BadId;

    fn try_from(raw: u32) -> Result<Port, BadId> {
        match (Port::new(raw), raw) {
            (Some(port), _) => Ok(port),
            (None, 0) => Err(BadId::PortZero),
            (None, _) => Err(BadId::PortTooLarge(raw)),
        }
    }
}

impl From<Port> for u32 {
    fn from(port: Port) -> u32 {
        port.as_raw()
    }
}

impl FromStr for Port {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Port, BadId> {
        Port::try_from(text.parse::<u32>().map_err(|_| BadId::Unreadable)?)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.0)
    }
}

/// The id of a domain, 16 bits wide.
///
/// Allocating a port for a remote domain accepts the id of a domain that does not exist (yet),
/// because Xen does not check it.
///
/// ```
/// use evtchn::DomId;
///
/// let guest: DomId = "5".parse()?;
/// assert_eq!(guest, DomId::new(5));
/// assert!(guest < DomId::FIRST_RESERVED);
/// assert_eq!(DomId::SELF.to_string(), "self");
/// # Ok::<_, evtchn::BadId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DomId(u16);

impl DomId {
    /// Domain 0, usually the one that owns the hardware.
    pub const DOM0: DomId = DomId(0);
    /// The calling domain, whatever its id (`DOMID_SELF`, xen/include/public/xen.h).
    pub const SELF: DomId = DomId(0x7ff0);
    /// The first of the reserved ids; no real domain has this id or a larger one.
    pub const FIRST_RESERVED: DomId = DomId(0x7ff0);

    /// The domain with this id.
    #[must_use]
    pub const fn new(raw: u16) -> DomId {
        DomId(raw)
    }

    /// The id, as the kernel has it.
    #[must_use]
    pub const fn as_raw(self) -> u16 {
        self.0
    }
}

impl From<DomId> for u16 {
    fn from(domid: DomId) -> u16 {
        domid.as_raw()
    }
}

impl TryFrom<u32> for DomId {
    type Error = BadId;

    fn try_from(raw: u32) -> Result<DomId, BadId> {
        u16::try_from(raw)
            .map(DomId)
            .map_err(|_| BadId::DomIdTooLarge(raw))
    }
}

impl FromStr for DomId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<DomId, BadId> {
        DomId::try_from(text.parse::<u32>().map_err(|_| BadId::Unreadable)?)
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DomId::SELF => f.pad("self"),
            DomId(raw) => raw.fmt(f),
        }
    }
}

impl fmt::Debug for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomId({self})")
    }
}

/// A port, together with the domain that owns it.
///
/// ```
/// use evtchn::{DomId, RemotePort};
///
/// let remote: RemotePort = "5:17".parse()?;
/// assert_eq!(remote.domid, DomId::new(5));
/// assert_eq!(remote.to_string(), "5:17");
/// # Ok::<_, evtchn::BadId>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePort {
    /// The domain that owns the port.
    pub domid: DomId,
    /// The number there.
    pub port: Port,
}

impl From<(DomId, Port)> for RemotePort {
    fn from((domid, port): (DomId, Port)) -> RemotePort {
        RemotePort { domid, port }
    }
}

impl fmt::Display for RemotePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.domid, self.port))
    }
}

impl FromStr for RemotePort {
    type Err = BadId;

    /// Reads `DOMID:PORT`.
    fn from_str(text: &str) -> Result<RemotePort, BadId> {
        let (domid, port) = text.split_once(':').ok_or(BadId::Unreadable)?;
        Ok(RemotePort {
            domid: domid.parse()?,
            port: port.parse()?,
        })
    }
}

/// A virtual interrupt, by number (xen/include/public/xen.h, `VIRQ_*`).
///
/// Any number can be given; Xen refuses numbers from 24 on with `EINVAL`.
///
/// ```
/// use evtchn::Virq;
///
/// let virq: Virq = "VIRQ_DOM_EXC".parse()?;
/// assert_eq!(virq, Virq::DOM_EXC);
/// assert_eq!((virq.as_raw(), virq.name()), (3, Some("DOM_EXC")));
/// assert_eq!(Virq::new(17).name(), None);
/// # Ok::<_, evtchn::BadId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Virq(u32);

/// Numbers and names, in the order of the numbers.
const VIRQ_NAMES: [(Virq, &str); 13] = [
    (Virq::TIMER, "TIMER"),
    (Virq::DEBUG, "DEBUG"),
    (Virq::CONSOLE, "CONSOLE"),
    (Virq::DOM_EXC, "DOM_EXC"),
    (Virq::TBUF, "TBUF"),
    (Virq::DEBUGGER, "DEBUGGER"),
    (Virq::XENOPROF, "XENOPROF"),
    (Virq::CON_RING, "CON_RING"),
    (Virq::PCPU_STATE, "PCPU_STATE"),
    (Virq::MEM_EVENT, "MEM_EVENT"),
    (Virq::ARGO, "ARGO"),
    (Virq::ENOMEM, "ENOMEM"),
    (Virq::XENPMU, "XENPMU"),
];

impl Virq {
    /// Timebase update; bound by the kernel.
    pub const TIMER: Virq = Virq(0);
    /// Request to dump debug information.
    pub const DEBUG: Virq = Virq(1);
    /// Bytes arrived on the emergency console.
    pub const CONSOLE: Virq = Virq(2);
    /// A domain ended or changed state; xenstored binds it on an ordinary dom0.
    pub const DOM_EXC: Virq = Virq(3);
    /// Trace buffer has records available.
    pub const TBUF: Virq = Virq(4);
    /// A domain has paused for debugging.
    pub const DEBUGGER: Virq = Virq(6);
    /// A XenOprofile sample is available.
    pub const XENOPROF: Virq = Virq(7);
    /// Bytes arrived on the console ring.
    pub const CON_RING: Virq = Virq(8);
    /// The state of a physical CPU changed; bound by the kernel in dom0.
    pub const PCPU_STATE: Virq = Virq(9);
    /// A memory event happened.
    pub const MEM_EVENT: Virq = Virq(10);
    /// Argo message notification.
    pub const ARGO: Virq = Virq(11);
    /// The hypervisor is low on memory.
    pub const ENOMEM: Virq = Virq(12);
    /// A performance counter overflowed.
    pub const XENPMU: Virq = Virq(13);

    /// The virtual interrupt with this number.
    #[must_use]
    pub const fn new(raw: u32) -> Virq {
        Virq(raw)
    }

    /// The number, as Xen has it.
    #[must_use]
    pub const fn as_raw(self) -> u32 {
        self.0
    }

    /// The name without `VIRQ_`, where Xen's header gives one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        VIRQ_NAMES
            .iter()
            .find_map(|&(virq, name)| (virq == self).then_some(name))
    }
}

impl From<u32> for Virq {
    fn from(raw: u32) -> Virq {
        Virq::new(raw)
    }
}

impl From<Virq> for u32 {
    fn from(virq: Virq) -> u32 {
        virq.as_raw()
    }
}

impl FromStr for Virq {
    type Err = BadId;

    /// Reads a name, with or without `VIRQ_` and in any case, or a number.
    fn from_str(text: &str) -> Result<Virq, BadId> {
        if let Ok(raw) = text.parse() {
            return Ok(Virq(raw));
        }
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("VIRQ_").unwrap_or(&upper);
        VIRQ_NAMES
            .iter()
            .find_map(|&(virq, name)| (name == bare).then_some(virq))
            .ok_or(BadId::Unreadable)
    }
}

impl fmt::Display for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Virq({self})")
    }
}

#[cfg(test)]
mod tests;
