//! What the files of a machine say, without asking Xen.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use evtchn::xen::DEVICE_PATH;
use rustix::fs::{Access, access, major, minor};
use rustix::io::Errno;

use super::Line;
use crate::diagnosis;
use crate::exit::Exit;

/// A machine, by its files below a folder.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(super) fn new(root: &Path) -> Machine {
        Machine { root: root.into() }
    }

    /// A path of the machine.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a short file of the machine, without the space around it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    pub(super) fn is_xen(&self) -> bool {
        diagnosis::is_xen(&self.root)
    }

    /// Whether it is a control domain, if the machine says so.
    pub(super) fn is_control(&self) -> Option<bool> {
        match self.text("/proc/xen/capabilities") {
            Some(capabilities) => Some(capabilities.contains("control_d")),
            // Domain 0 has no id of its own.
            None => {
                let uuid = self.text("/sys/hypervisor/uuid")?;
                Some(uuid.chars().all(|letter| "0-".contains(letter)))
            }
        }
    }

    /// How Xen runs the domain: `PV`, `PVH` or `HVM`.
    pub(super) fn guest_type(&self) -> Option<String> {
        self.text("/sys/hypervisor/guest_type")
    }

    /// Major and minor version of Xen.
    pub(super) fn xen(&self) -> Option<(u32, u32)> {
        let part = |name: &str| self.text(&format!("/sys/hypervisor/version/{name}"));
        Some((part("major")?.parse().ok()?, part("minor")?.parse().ok()?))
    }

    /// The release of the kernel.
    pub(super) fn kernel(&self) -> Option<String> {
        self.text("/proc/sys/kernel/osrelease")
    }

    /// Major and minor version of the kernel.
    pub(super) fn linux(&self) -> Option<(u32, u32)> {
        let release = self.kernel()?;
        let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
        let mut part = || parts.next()?.parse().ok();
        Some((part()?, part()?))
    }

    /// The lines about hypervisor, kernel, module, node and permission, as far as each has the one before.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![self.hypervisor(), self.kernel_line()];
        if !self.is_xen() {
            return lines;
        }
        let (module, node) = (self.module(), self.node());
        lines.extend([module, node]);
        if self.path(DEVICE_PATH).exists() {
            lines.push(self.permission());
        }
        lines
    }

    fn hypervisor(&self) -> Line {
        const TOPIC: &str = "hypervisor";
        if !self.is_xen() {
            return Line::todo(
                TOPIC,
                "this is not a Xen domain: /sys/hypervisor/type and /proc/xen do not say so",
                Exit::NoDevice,
                "run it in domain 0 or in a guest of Xen; --backend sim needs no Xen",
            );
        }
        let version = self.xen().map(|(major, minor)| {
            let extra = self.text("/sys/hypervisor/version/extra");
            format!("Xen {major}.{minor}{}", extra.unwrap_or_default())
        });
        let version = version.unwrap_or_else(|| "Xen of an unknown version".to_owned());
        let domain = match self.is_control() {
            Some(true) => "a control domain",
            Some(false) => "a guest",
            None => "a domain",
        };
        let kind = self.guest_type();
        let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
        Line::ok(TOPIC, format!("{version}; this is {domain}{kind}"))
    }

    fn kernel_line(&self) -> Line {
        match (self.kernel(), self.linux()) {
            (Some(release), Some(version)) if version < (4, 14) => Line::todo(
                "kernel",
                format!("Linux {release} cannot tell a forked child from its parent"),
                Exit::Failed,
                "use Linux 4.14 or later",
            ),
            (Some(release), _) => Line::ok("kernel", format!("Linux {release}")),
            (None, _) => Line::note("kernel", "/proc/sys/kernel/osrelease cannot be read"),
        }
    }

    /// Major and minor number of the device, as the driver has it.
    fn number(&self) -> Option<String> {
        self.text("/sys/class/misc/xen!evtchn/dev")
    }

    fn module(&self) -> Line {
        match self.number() {
            Some(number) => Line::ok("module", format!("xen-evtchn is loaded, device {number}")),
            None => Line::todo(
                "module",
                "xen-evtchn is not loaded",
                Exit::NoDevice,
                "modprobe xen-evtchn; to have it after each boot: echo xen-evtchn \
                 >/etc/modules-load.d/xen-evtchn.conf",
            ),
        }
    }

    fn node(&self) -> Line {
        const TOPIC: &str = "node";
        let number = self.number();
        let missing = || {
            let todo = match &number {
                Some(_) => {
                    "mount devtmpfs on /dev, or give the device to this container \
                     (--device /dev/xen/evtchn)"
                }
                None => "load the module, which makes the node",
            };
            Line::todo(
                TOPIC,
                format!("there is no {DEVICE_PATH}"),
                Exit::NoDevice,
                todo,
            )
        };
        let Ok(node) = fs::metadata(self.path(DEVICE_PATH)) else {
            return missing();
        };
        let found = format!("{}:{}", major(node.rdev()), minor(node.rdev()));
        let again = |number: &str| {
            let number = number.replace(':', " ");
            format!("rm {DEVICE_PATH} && mknod -m 600 {DEVICE_PATH} c {number}")
        };
        match number {
            _ if !node.file_type().is_char_device() => {
                let todo = match &number {
                    Some(number) => again(number),
                    None => format!("rm {DEVICE_PATH}, and load the module"),
                };
                let says = format!("{DEVICE_PATH} is not a character device");
                Line::todo(TOPIC, says, Exit::NoDevice, todo)
            }
            Some(number) if number != found => {
                let says = format!("{DEVICE_PATH} is device {found}, and the driver has {number}");
                Line::todo(TOPIC, says, Exit::NoDevice, again(&number))
            }
            Some(_) | None => {
                let (mode, uid, gid) = (node.mode() & 0o777, node.uid(), node.gid());
                let says = format!("{DEVICE_PATH}, mode {mode:o}, user {uid}, group {gid}");
                Line::ok(TOPIC, says)
            }
        }
    }

    fn permission(&self) -> Line {
        let user = rustix::process::geteuid().as_raw();
        match access(self.path(DEVICE_PATH), Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Line::ok("permission", format!("user {user} may read and write it")),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => Line::todo(
                "permission",
                format!("user {user} may not read and write it"),
                Exit::NotPermitted,
                match user {
                    0 => diagnosis::denied(errno),
                    user => {
                        format!("run it as root, or as root: setfacl -m u:{user}:rw {DEVICE_PATH}")
                    }
                },
            ),
            Err(errno) => {
                let error = io::Error::from(errno);
                Line::note("permission", format!("{DEVICE_PATH}: {error}"))
            }
        }
    }
}
