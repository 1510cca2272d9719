//! Pairs of a hypervisor and a kernel that a test picks by name, and what differs between them.
//!
//! The models of Xen and of Linux's driver ask the data; nothing else depends on a version.

mod data;
#[cfg(test)]
mod tests;

use std::fmt;

use evtchn_core::Virq;

use crate::choice::Choice;
use crate::config::{Abi, Config, DomainConfig};

/// The version of Linux.
///
/// ```
/// use evtchn::sim::{LinuxVersion, Platform};
///
/// let platform = Platform::LINUX_6_12_ON_XEN_4_20;
/// assert!(platform.linux >= LinuxVersion(6, 6)); // which has static event channels
/// assert_eq!(platform.linux.to_string(), "6.12");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinuxVersion(pub u16, pub u16);

impl fmt::Display for LinuxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The version of Xen, for the few answers that changed.
///
/// ```
/// use evtchn::sim::{Config, Sim, XenVersion};
///
/// let mut config = Config::seeded(1);
/// assert_eq!(config.xen, XenVersion(4, 17));
/// config.xen = XenVersion(4, 21);
/// let sim = Sim::with_config(config);
/// # drop(sim);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct XenVersion(pub u16, pub u16);

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Which domains Xen lets connect ports (XSM, option `xsm=` of Xen).
///
/// ```
/// use evtchn::sim::{Errno, Platform, Sim};
/// use evtchn::{DomId, EventChannel, Open};
///
/// // Debian builds Xen for Arm so that SILO is on.
/// let sim = Sim::with_config(Platform::LINUX_6_12_ON_XEN_4_20_ARM64.config(1));
/// let device = sim.open(DomId::DOM0).open()?;
/// let refused = device.bind_unbound_port(DomId::new(77)).unwrap_err();
/// assert_eq!(refused.code(), Some(Errno::ESRCH.raw())); // there is no domain 77
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// All may, and a port may wait for a domain that does not exist (`xsm=dummy`).
    Dummy,
    /// Two domains may if one of them is a control domain, and a port cannot wait for a domain
    /// that does not exist (`xsm=silo`).
    Silo,
}

/// Whether the kernel makes hypercalls for programs, through `/dev/xen/privcmd`.
///
/// ```
/// use evtchn::sim::{Platform, Sim, SimLoop};
/// use evtchn::{Context, DomId, Error, ErrorKind};
///
/// let platform = Platform::LINUX_6_12_ON_XEN_4_20;
/// let sim = Sim::with_config(platform.config(1));
/// let guest = sim.create_domain_with(None, &platform.guest())?;
/// let ctx = Context::with_registrar(sim.open(guest), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::DOM0)?;
/// let Err(Error::Device(refused)) = channel.peer_state() else {
///     panic!("privcmd of an unprivileged domain refuses all hypercalls");
/// };
/// assert_eq!(refused.kind(), ErrorKind::NotPermitted);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hypercalls {
    /// It does.
    Made,
    /// It refuses each with `EPERM`, to root too. The kernel of an unprivileged domain does, unless
    /// its module is loaded with `unrestricted=1`.
    Refused,
}

/// How a fact is known.
///
/// ```
/// use evtchn::sim::{Platform, Seen};
///
/// assert_eq!(Platform::LINUX_6_12_ON_XEN_4_20.bind_static.seen, Seen::Observed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It was observed on this pair, or on one with the same kernel.
    Observed,
    /// It was read from the source, or chosen where any value would do.
    Read,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Seen::Observed => "observed",
            Seen::Read => "read",
        })
    }
}

/// A fact about a platform, and how it is known.
///
/// ```
/// use evtchn::sim::Platform;
///
/// let policy = Platform::LINUX_6_1_ON_XEN_4_17_ARM64.policy;
/// assert_eq!(policy.source, "xen/xsm/silo.c");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datum<T> {
    /// The fact.
    pub value: T,
    /// How it is known.
    pub seen: Seen,
    /// The file that decides it, in the tree of Xen or Linux, or what was looked at.
    pub source: &'static str,
}

/// What the kernel of one kind of domain takes for itself, and lets programs do.
///
/// ```
/// use evtchn::Virq;
/// use evtchn::sim::{KernelData, Platform};
///
/// let KernelData { virqs, .. } = Platform::LINUX_6_12_ON_XEN_4_20_ARM64.dom0;
/// assert_eq!(virqs.value, [Virq::CONSOLE]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelData {
    /// How it shares event bits with Xen.
    pub abi: Datum<Abi>,
    /// Whether its first port is one that it allocates for xenstored.
    pub store_port: Datum<bool>,
    /// The virtual interrupts that it takes at boot.
    pub virqs: Datum<&'static [Virq]>,
    /// How many other ports it has before programs start.
    pub other_ports: Datum<u32>,
    /// Whether it makes hypercalls for programs.
    pub hypercalls: Datum<Hypercalls>,
}

/// A pair of Xen and Linux, as Debian packages them, with what a program can notice.
///
/// ```
/// use evtchn::sim::{Platform, Sim, XenVersion};
///
/// let platform = Platform::named("linux-6.12-xen-4.20").ok_or("no such platform")?;
/// assert_eq!(platform.xen, XenVersion(4, 20));
/// let sim = Sim::with_config(platform.config(1));
/// let guest = sim.create_domain_with(None, &platform.guest())?;
/// # drop(guest);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// Names it: [`named`](Self::named).
    pub name: &'static str,
    /// The version of the kernel, in all domains.
    pub linux: LinuxVersion,
    /// The version of the hypervisor.
    pub xen: XenVersion,
    /// Which domains may connect ports.
    pub policy: Datum<Policy>,
    /// The most bytes that one read or write of the device moves.
    pub page_size: Datum<usize>,
    /// Whether the driver knows static event channels.
    pub bind_static: Datum<bool>,
    /// The minor number of the device node. The major number is 10.
    pub device_minor: Datum<u32>,
    /// The kernel of domain 0.
    pub dom0: KernelData,
    /// The kernel of an unprivileged domain.
    pub guest: KernelData,
}

impl Platform {
    /// The platform with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Platform> {
        Platform::ALL.iter().find(|platform| platform.name == name)
    }

    /// A machine of this kind, with decisions drawn from a seed.
    #[must_use]
    pub fn config(&self, seed: u64) -> Config {
        Config {
            xen: self.xen,
            policy: self.policy.value,
            dom0: self.dom0(),
            choice: Choice::seeded(seed),
        }
    }

    /// Domain 0.
    #[must_use]
    pub fn dom0(&self) -> DomainConfig {
        self.with_kernel(&self.dom0, DomainConfig::dom0())
    }

    /// An unprivileged domain with the same kernel in it and libxl's port limit.
    #[must_use]
    pub fn guest(&self) -> DomainConfig {
        self.with_kernel(&self.guest, DomainConfig::guest())
    }

    fn with_kernel(&self, kernel: &KernelData, config: DomainConfig) -> DomainConfig {
        DomainConfig {
            abi: kernel.abi.value,
            store_port: kernel.store_port.value,
            kernel_virqs: kernel.virqs.value.to_vec(),
            kernel_ipis: kernel.other_ports.value,
            hypercalls: kernel.hypercalls.value,
            bind_static: self.bind_static.value,
            page_size: self.page_size.value,
            device_minor: self.device_minor.value,
            ..config
        }
    }

    /// Each fact of this platform, as text: what it is about, the fact, and how it is known.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, Datum<String>)> {
        let mut facts = vec![
            ("access policy", text(self.policy)),
            ("page size", text(self.page_size)),
            ("BIND_STATIC", text(self.bind_static)),
            ("device minor", text(self.device_minor)),
        ];
        facts.extend(self.dom0.facts(DOM0_FACTS));
        facts.extend(self.guest.facts(GUEST_FACTS));
        facts
    }
}

const DOM0_FACTS: [&str; 5] = [
    "dom0: ABI",
    "dom0: port for xenstored",
    "dom0: VIRQs",
    "dom0: other ports",
    "dom0: hypercalls",
];
const GUEST_FACTS: [&str; 5] = [
    "guest: ABI",
    "guest: port for xenstored",
    "guest: VIRQs",
    "guest: other ports",
    "guest: hypercalls",
];

impl KernelData {
    fn facts(
        &self,
        names: [&'static str; 5],
    ) -> impl Iterator<Item = (&'static str, Datum<String>)> {
        let virqs = self.virqs.value.iter().map(Virq::to_string);
        let virqs = Datum {
            value: virqs.collect::<Vec<_>>().join(", "),
            seen: self.virqs.seen,
            source: self.virqs.source,
        };
        let facts = [
            text(self.abi),
            text(self.store_port),
            virqs,
            text(self.other_ports),
            text(self.hypercalls),
        ];
        names.into_iter().zip(facts)
    }
}

fn text<T: fmt::Debug>(of: Datum<T>) -> Datum<String> {
    let Datum {
        value,
        seen,
        source,
    } = of;
    Datum {
        value: format!("{value:?}"),
        seen,
        source,
    }
}
