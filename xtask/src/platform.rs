//! The platforms that can be booted: which Debian packages each is made of, and how its dom0 starts.
//!
//! They have the names that the simulator gives them, so the tests in the guest know what to expect.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use evtchn_sim::Platform;

/// The variable that names the platform to the tests in the guest.
pub(crate) const VARIABLE: &str = "EVTCHN_PLATFORM";

/// A processor, by Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A list of packages that Debian serves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: &'static str,
    /// Where it is served: each an address and a suite.
    pub(crate) sources: &'static [(&'static str, &'static str)],
}

const DEBIAN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// Debian 12.
pub(crate) const BOOKWORM: Release = Release {
    name: "bookworm",
    sources: &[(DEBIAN, "bookworm"), (SECURITY, "bookworm-security")],
};

/// Debian 13.
const TRIXIE: Release = Release {
    name: "trixie",
    sources: &[(DEBIAN, "trixie"), (SECURITY, "trixie-security")],
};

/// Newer kernels for Debian 13.
const TRIXIE_BACKPORTS: Release = Release {
    name: "trixie-backports",
    sources: &[(DEBIAN, "trixie-backports")],
};

/// How dom0 runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As the architecture has it: paravirtualized on amd64.
    Usual,
    /// In hardware virtualization without emulated devices.
    Pvh,
}

/// A case that a platform cannot run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// The name of its tests for `--test`.
    pub(crate) test: &'static str,
    /// Its name, as the test binary has it.
    pub(crate) case: &'static str,
    pub(crate) reason: &'static str,
}

/// A platform that can be booted.
#[derive(Debug)]
pub(crate) struct Bootable {
    pub(crate) platform: Platform,
    pub(crate) architecture: Architecture,
    /// Where Xen and the shell come from.
    pub(crate) xen: Release,
    /// Where the kernel comes from.
    pub(crate) linux: Release,
    pub(crate) mode: Mode,
    /// Options of the kernel.
    pub(crate) options: &'static str,
    pub(crate) left_out: &'static [LeftOut],
}

const fn amd64(platform: Platform, xen: Release, linux: Release) -> Bootable {
    Bootable {
        platform,
        architecture: Architecture::Amd64,
        xen,
        linux,
        mode: Mode::Usual,
        options: "",
        left_out: &[],
    }
}

const fn arm64(platform: Platform, xen: Release, linux: Release) -> Bootable {
    Bootable {
        architecture: Architecture::Arm64,
        ..amd64(platform, xen, linux)
    }
}

/// Every platform, the default first.
pub(crate) static ALL: [Bootable; 8] = [
    amd64(Platform::LINUX_6_1_ON_XEN_4_17, BOOKWORM, BOOKWORM),
    Bootable {
        options: "xen.fifo_events=0",
        ..amd64(
            Platform::LINUX_6_1_ON_XEN_4_17_TWO_LEVEL,
            BOOKWORM,
            BOOKWORM,
        )
    },
    amd64(Platform::LINUX_6_12_ON_XEN_4_20, TRIXIE, TRIXIE),
    Bootable {
        mode: Mode::Pvh,
        ..amd64(Platform::LINUX_6_12_ON_XEN_4_20_PVH, TRIXIE, TRIXIE)
    },
    amd64(Platform::LINUX_7_3_ON_XEN_4_20, TRIXIE, TRIXIE_BACKPORTS),
    arm64(Platform::LINUX_6_1_ON_XEN_4_17_ARM64, BOOKWORM, BOOKWORM),
    arm64(Platform::LINUX_6_12_ON_XEN_4_20_ARM64, TRIXIE, TRIXIE),
    arm64(
        Platform::LINUX_7_3_ON_XEN_4_20_ARM64,
        TRIXIE,
        TRIXIE_BACKPORTS,
    ),
];

impl Bootable {
    /// The platform that is booted where none is named.
    pub(crate) fn default() -> &'static Self {
        let [first, ..] = &ALL;
        first
    }

    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        ALL.iter()
            .find(|it| it.name() == name)
            .with_context(|| format!("no platform is called {name}:\n{}", list()))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.platform.name
    }

    /// The directory of its files, under `target/xen`: platforms that differ in options alone share them.
    pub(crate) fn image(&self) -> String {
        format!("{}-{}", self.linux.name, self.architecture.name())
    }

    /// What the guest says of its versions if it is what it should be.
    pub(crate) fn versions(&self) -> [String; 2] {
        let Platform { linux, xen, .. } = self.platform;
        [format!("Linux {linux}."), format!("Xen {xen}.")]
    }
}

/// A line for each platform.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for it in &ALL {
        let mode = match it.mode {
            Mode::Usual => "",
            Mode::Pvh => ", a PVH dom0",
        };
        let options = if it.options.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<30} Xen of {}, Linux of {}, {}{mode}{options}{}",
            it.name(),
            it.xen.name,
            it.linux.name,
            it.architecture.name(),
            it.options,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_of_the_simulator_can_be_booted() {
        let names: Vec<&str> = ALL.iter().map(Bootable::name).collect();
        let simulated: Vec<&str> = Platform::ALL.iter().map(|it| it.name).collect();
        assert_eq!(names, simulated);
        assert_eq!(list().lines().count(), names.len());
    }

    #[test]
    fn a_platform_that_does_not_exist_is_answered_with_the_list() {
        let error = Bootable::named("linux-2.6").unwrap_err().to_string();
        assert!(error.contains(Bootable::default().name()), "{error}");
    }

    #[test]
    fn a_platform_leaves_out_five_cases_at_most_each_with_a_reason() {
        for it in &ALL {
            assert!(it.left_out.len() <= 5, "{}", it.name());
            assert!(it.left_out.iter().all(|case| !case.reason.is_empty()));
        }
    }
}
