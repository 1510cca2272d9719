//! All that differs between the platforms, each fact with its source and how it is known.

use std::ops::{Range, RangeFrom, RangeInclusive};

use evtchn_core::Virq;

use super::{Datum, Hypercalls, KernelData, LinuxVersion, Platform, Policy, Seen, XenVersion};
use crate::config::Abi;

const fn observed<T: Copy>(value: T, source: &'static str) -> Datum<T> {
    Datum {
        value,
        seen: Seen::Observed,
        source,
    }
}

const fn read<T: Copy>(value: T, source: &'static str) -> Datum<T> {
    Datum {
        value,
        seen: Seen::Read,
        source,
    }
}

// Answers of Xen that changed. Read from xen/common/event_channel.c; those of 4.17 and 4.20 were observed too.

impl XenVersion {
    /// It does not tell a guest the status of a port that it keeps for itself in the guest's
    /// table (`evtchn_status`).
    const HIDES_ITS_PORTS: RangeInclusive<XenVersion> = XenVersion(4, 15)..=XenVersion(4, 18);
    /// It refuses a global VIRQ to all but its handler, and gives it to no other domain while that
    /// one has it (`evtchn_bind_virq`, `set_global_virq_handler`).
    const HANDLERS_ALONE: RangeFrom<XenVersion> = XenVersion(4, 21)..;
    /// `VIRQ_ARGO` is global (`get_virq_type`).
    const ARGO_IS_GLOBAL: Range<XenVersion> = XenVersion(0, 0)..XenVersion(4, 21);

    pub(crate) fn hides_its_ports(self) -> bool {
        XenVersion::HIDES_ITS_PORTS.contains(&self)
    }

    pub(crate) fn global_virqs_are_for_their_handler_alone(self) -> bool {
        XenVersion::HANDLERS_ALONE.contains(&self)
    }

    pub(crate) fn argo_is_global(self) -> bool {
        XenVersion::ARGO_IS_GLOBAL.contains(&self)
    }
}

/// `MCA` on x86 (`VIRQ_ARCH_0`).
const VIRQ_MCA: Virq = Virq::new(16);

// Access policies.

const DUMMY: Datum<Policy> = observed(Policy::Dummy, "xen/include/xsm/dummy.h");
const SILO: Datum<Policy> = observed(Policy::Silo, "xen/xsm/silo.c");

// Kernels.

/// What depends on the version of the kernel alone.
struct Linux {
    version: LinuxVersion,
    bind_static: Datum<bool>,
    device_minor: Datum<u32>,
}

const IOCTL: &str = "drivers/xen/evtchn.c, evtchn_ioctl";
const MISC: &str = "drivers/char/misc.c, misc_register";

const LINUX_6_1: Linux = Linux {
    version: LinuxVersion(6, 1),
    bind_static: observed(false, IOCTL),
    device_minor: observed(122, MISC),
};

const LINUX_6_12: Linux = Linux {
    version: LinuxVersion(6, 12),
    bind_static: observed(true, IOCTL),
    device_minor: observed(262, MISC),
};

const LINUX_7_3: Linux = Linux {
    version: LinuxVersion(7, 3),
    ..LINUX_6_12
};

const PAGE: Datum<usize> = observed(4096, "drivers/xen/evtchn.c, evtchn_read and evtchn_write");

// What the kernels take for themselves.

const EVENTS: &str = "drivers/xen/events/events_base.c, xen_init_IRQ";
const STATUS: &str = "EVTCHNOP_status of all ports after boot";
const PRIVCMD: &str = "drivers/xen/privcmd.c, restrict_driver";

const FIFO: Datum<Abi> = observed(Abi::Fifo, EVENTS);
/// The kernel option `xen.fifo_events=0`.
const TWO_LEVEL: Datum<Abi> = observed(Abi::TwoLevel, EVENTS);
/// Xenstored's port is one of the other ports.
const NO_STORE_PORT: Datum<bool> = observed(false, STATUS);
const STORE_PORT: Datum<bool> = observed(true, STATUS);

const DOM0_PV: KernelData = KernelData {
    abi: FIFO,
    store_port: NO_STORE_PORT,
    virqs: observed(
        &[Virq::TIMER, Virq::CONSOLE, Virq::PCPU_STATE, VIRQ_MCA],
        STATUS,
    ),
    other_ports: read(
        5,
        "a number chosen here; the real one depends on vCPUs and devices",
    ),
    hypercalls: observed(Hypercalls::Made, PRIVCMD),
};

const DOM0_TWO_LEVEL: KernelData = KernelData {
    abi: TWO_LEVEL,
    virqs: observed(
        &[
            Virq::TIMER,
            Virq::CONSOLE,
            Virq::PCPU_STATE,
            VIRQ_MCA,
            Virq::DEBUG,
        ],
        STATUS,
    ),
    ..DOM0_PV
};

const DOM0_PVH: KernelData = KernelData {
    virqs: observed(&[Virq::TIMER, Virq::CONSOLE, Virq::PCPU_STATE], STATUS),
    ..DOM0_PV
};

const DOM0_ARM: KernelData = KernelData {
    store_port: STORE_PORT,
    virqs: observed(&[Virq::CONSOLE], STATUS),
    other_ports: read(0, EVENTS),
    ..DOM0_PV
};

/// The first port that is left to programs is 8.
const GUEST_PV: KernelData = KernelData {
    virqs: observed(&[Virq::TIMER], STATUS),
    other_ports: observed(6, "the first port of a program"),
    hypercalls: observed(Hypercalls::Refused, PRIVCMD),
    ..DOM0_PV
};

/// The same, but its privcmd was never tried.
const GUEST_OF_7_3: KernelData = KernelData {
    hypercalls: read(Hypercalls::Refused, PRIVCMD),
    ..GUEST_PV
};

/// The first port that is left to programs is 7.
const GUEST_PVH: KernelData = KernelData {
    other_ports: observed(5, "the first port of a program"),
    ..GUEST_PV
};

/// The toolstack's two ports, for xenstore and for the console.
const GUEST_ARM: KernelData = KernelData {
    abi: read(Abi::Fifo, EVENTS),
    virqs: read(&[], EVENTS),
    other_ports: read(2, "tools/libs/light/libxl_dom.c, libxl__build_pre"),
    hypercalls: read(Hypercalls::Refused, PRIVCMD),
    ..GUEST_PV
};

// Pairs.

/// A pair on x86 with a paravirtualized dom0.
const fn x86(name: &'static str, linux: &Linux, xen: XenVersion) -> Platform {
    Platform {
        name,
        linux: linux.version,
        xen,
        policy: DUMMY,
        page_size: PAGE,
        bind_static: linux.bind_static,
        device_minor: linux.device_minor,
        dom0: DOM0_PV,
        guest: GUEST_PV,
    }
}

const fn arm64(name: &'static str, linux: &Linux, xen: XenVersion) -> Platform {
    Platform {
        policy: SILO,
        dom0: DOM0_ARM,
        guest: GUEST_ARM,
        ..x86(name, linux, xen)
    }
}

const XEN_4_17: XenVersion = XenVersion(4, 17);
const XEN_4_20: XenVersion = XenVersion(4, 20);

impl Platform {
    /// Debian 12, which is the default of [`Config::seeded`](crate::Config::seeded).
    pub const LINUX_6_1_ON_XEN_4_17: Platform = x86("linux-6.1-xen-4.17", &LINUX_6_1, XEN_4_17);
    /// Debian 12 booted with `xen.fifo_events=0`.
    pub const LINUX_6_1_ON_XEN_4_17_TWO_LEVEL: Platform = Platform {
        dom0: DOM0_TWO_LEVEL,
        ..x86("linux-6.1-xen-4.17-two-level", &LINUX_6_1, XEN_4_17)
    };
    /// Debian 13.
    pub const LINUX_6_12_ON_XEN_4_20: Platform = x86("linux-6.12-xen-4.20", &LINUX_6_12, XEN_4_20);
    /// Debian 13 with dom0 and guests in PVH mode.
    pub const LINUX_6_12_ON_XEN_4_20_PVH: Platform = Platform {
        dom0: DOM0_PVH,
        guest: GUEST_PVH,
        ..x86("linux-6.12-xen-4.20-pvh", &LINUX_6_12, XEN_4_20)
    };
    /// Debian 13 with the kernel of its backports.
    pub const LINUX_7_3_ON_XEN_4_20: Platform = Platform {
        guest: GUEST_OF_7_3,
        ..x86("linux-7.3-xen-4.20", &LINUX_7_3, XEN_4_20)
    };
    /// Debian 12 on Arm.
    pub const LINUX_6_1_ON_XEN_4_17_ARM64: Platform =
        arm64("linux-6.1-xen-4.17-arm64", &LINUX_6_1, XEN_4_17);
    /// Debian 13 on Arm.
    pub const LINUX_6_12_ON_XEN_4_20_ARM64: Platform =
        arm64("linux-6.12-xen-4.20-arm64", &LINUX_6_12, XEN_4_20);
    /// Debian 13 on Arm with the kernel of its backports.
    pub const LINUX_7_3_ON_XEN_4_20_ARM64: Platform =
        arm64("linux-7.3-xen-4.20-arm64", &LINUX_7_3, XEN_4_20);

    /// Every platform, the default first.
    pub const ALL: &[Platform] = &[
        Platform::LINUX_6_1_ON_XEN_4_17,
        Platform::LINUX_6_1_ON_XEN_4_17_TWO_LEVEL,
        Platform::LINUX_6_12_ON_XEN_4_20,
        Platform::LINUX_6_12_ON_XEN_4_20_PVH,
        Platform::LINUX_7_3_ON_XEN_4_20,
        Platform::LINUX_6_1_ON_XEN_4_17_ARM64,
        Platform::LINUX_6_12_ON_XEN_4_20_ARM64,
        Platform::LINUX_7_3_ON_XEN_4_20_ARM64,
    ];
}
