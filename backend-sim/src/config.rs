//! The configuration of a simulated machine and its domains.

use evtchn_core::{DomId, Virq};

use crate::choice::Choice;
use crate::driver::abi;
use crate::platform::{Hypercalls, Policy, XenVersion};

/// How Xen and a guest share event bits.
///
/// ```
/// use evtchn::sim::Abi;
///
/// assert_eq!(Abi::TwoLevel.ports(), 4096);
/// assert_eq!(Abi::Fifo.ports(), 131_072);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// 4096 ports (of a 64-bit guest).
    TwoLevel,
    /// 131072 ports, on pages that the guest adds as it needs them.
    Fifo,
}

impl Abi {
    /// How many port numbers there are, the reserved 0 included.
    #[must_use]
    pub const fn ports(self) -> u32 {
        match self {
            Abi::TwoLevel => 4096,
            Abi::Fifo => 131_072,
        }
    }
}

/// `MCA` on x86, which dom0's kernel binds (`VIRQ_ARCH_0`).
const VIRQ_MCA: Virq = Virq::new(16);

/// One domain and its Linux kernel.
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::{DomainConfig, Errno, Sim};
///
/// let sim = Sim::new(1);
/// let mut narrow = DomainConfig::guest();
/// narrow.max_port = 2;
/// let guest = sim.guest(sim.create_domain_with(None, &narrow)?);
/// guest.alloc_unbound(DomId::DOM0)?;
/// guest.alloc_unbound(DomId::DOM0)?;
/// assert_eq!(guest.alloc_unbound(DomId::DOM0), Err(Errno::ENOSPC));
/// # Ok::<_, Errno>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DomainConfig {
    /// How it shares event bits with Xen.
    pub abi: Abi,
    /// The highest port that the toolstack permits, inclusive (`max_event_channels`).
    pub max_port: u32,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// Whether it is a control domain, which may act on the ports of every other.
    pub privileged: bool,
    /// The domain whose device model it is, and on whose ports it may act.
    pub device_model_of: Option<DomId>,
    /// The physical interrupts that it may bind.
    pub pirqs: Vec<u32>,
    /// Whether its kernel allocates a port for xenstored at boot, before any other.
    pub store_port: bool,
    /// The virtual interrupts that its kernel takes at boot.
    pub kernel_virqs: Vec<Virq>,
    /// How many inter-processor interrupts its kernel takes at boot, after the VIRQs.
    pub kernel_ipis: u32,
    /// Whether its kernel knows static event channels (Linux 6.6).
    pub bind_static: bool,
    /// The most bytes that one read or write of the device moves: a page of its kernel.
    pub page_size: usize,
    /// The minor number of the device node.
    pub device_minor: u32,
    /// Whether its kernel makes hypercalls for programs.
    pub hypercalls: Hypercalls,
}

impl DomainConfig {
    /// A dom0 as Debian 12 boots it with one vCPU: FIFO ABI, no port limit, `TIMER`, `CONSOLE`,
    /// `PCPU_STATE` and `MCA` and some more ports held by the kernel.
    #[must_use]
    pub fn dom0() -> DomainConfig {
        DomainConfig {
            abi: Abi::Fifo,
            max_port: u32::MAX,
            vcpus: 1,
            privileged: true,
            device_model_of: None,
            pirqs: (0..16).collect(),
            store_port: false,
            kernel_virqs: vec![Virq::TIMER, Virq::CONSOLE, Virq::PCPU_STATE, VIRQ_MCA],
            kernel_ipis: 5,
            bind_static: false,
            page_size: abi::PAGE,
            device_minor: 122,
            hypercalls: Hypercalls::Made,
        }
    }

    /// A dom0 booted with `xen.fifo_events=0`: its kernel holds `DEBUG` too.
    #[must_use]
    pub fn dom0_two_level() -> DomainConfig {
        let mut config = DomainConfig {
            abi: Abi::TwoLevel,
            ..DomainConfig::dom0()
        };
        config.kernel_virqs.push(Virq::DEBUG);
        config
    }

    /// An unprivileged domain with libxl's port limit, whose kernel holds nothing yet: its first
    /// port is 1.
    #[must_use]
    pub fn guest() -> DomainConfig {
        DomainConfig {
            max_port: 1023,
            privileged: false,
            pirqs: Vec::new(),
            kernel_virqs: Vec::new(),
            kernel_ipis: 0,
            ..DomainConfig::dom0()
        }
    }
}

impl DomainConfig {
    /// [`guest`](Self::guest) with the kernel of Debian 12 in it, paravirtualized and with one
    /// vCPU: it holds the ports that the toolstack made for store and console, `TIMER`, and four
    /// for its vCPU, so the first port of a program is 8.
    #[must_use]
    pub fn linux_guest() -> DomainConfig {
        DomainConfig {
            kernel_virqs: vec![Virq::TIMER],
            kernel_ipis: 6,
            ..DomainConfig::guest()
        }
    }
}

/// A machine: Xen, domain 0, and where its decisions come from.
///
/// ```
/// use evtchn::sim::{Config, DomainConfig, Sim};
/// use evtchn::{DomId, EventChannel, Open};
///
/// let mut config = Config::seeded(1);
/// config.dom0 = DomainConfig::dom0_two_level();
/// let device = Sim::with_config(config).open(DomId::DOM0).open()?;
/// let _first_free = device.bind_unbound_port(DomId::SELF)?;
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The version of Xen.
    pub xen: XenVersion,
    /// Which domains may connect ports.
    pub policy: Policy,
    /// Domain 0.
    pub dom0: DomainConfig,
    /// Where decisions come from.
    pub choice: Choice,
}

impl Config {
    /// Xen 4.17 with the usual dom0 (Linux 6.1). Others: [`Platform`](crate::Platform).
    #[must_use]
    pub fn seeded(seed: u64) -> Config {
        Config {
            xen: XenVersion(4, 17),
            policy: Policy::Dummy,
            dom0: DomainConfig::dom0(),
            choice: Choice::seeded(seed),
        }
    }
}
