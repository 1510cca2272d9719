//! Why the device cannot be opened, found out by looking at the machine.

use std::fs;
use std::path::Path;

use evtchn::xen::DEVICE_PATH;
use rustix::io::Errno;

/// Why there is no device at `path` of the machine under `root`, and what to do about it.
pub(crate) fn absent(root: &Path, path: &Path) -> String {
    if path != Path::new(DEVICE_PATH) {
        return format!("no event-channel device; the usual one is {DEVICE_PATH}");
    }
    let says = if !is_xen(root) {
        "this is not a Xen domain, as neither /sys/hypervisor/type nor /proc/xen says it is; \
         --backend sim needs none"
    } else if root.join("sys/class/misc/xen!evtchn").exists() {
        "the driver is loaded, but its node is missing: mount devtmpfs on /dev, or give the device \
         to this container"
    } else {
        "a Xen domain, but its driver is not loaded: modprobe xen-evtchn"
    };
    says.into()
}

/// Why this user may not open the device, and what to do about it.
pub(crate) fn denied(errno: Errno) -> String {
    let says = if errno == Errno::PERM {
        "the device rules of this container deny it: allow the device there"
    } else if rustix::process::geteuid().is_root() {
        "denied even to root: look at the security modules and at the user namespace"
    } else {
        "it belongs to root: run this as root, or have its mode changed"
    };
    says.into()
}

/// Whether the kernel of the machine under `root` says that it runs on Xen.
fn is_xen(root: &Path) -> bool {
    let hypervisor = fs::read_to_string(root.join("sys/hypervisor/type"));
    hypervisor.is_ok_and(|name| name.trim() == "xen") || root.join("proc/xen").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files says this.
    fn says(name: &str, files: &[&str]) -> String {
        let root = std::env::temp_dir().join(format!("evtchn-diagnosis-{name}"));
        for file in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "xen\n").unwrap();
        }
        let says = absent(&root, Path::new(DEVICE_PATH));
        if !files.is_empty() {
            fs::remove_dir_all(root).unwrap();
        }
        says
    }

    #[test]
    fn each_reason_for_no_device_is_told_by_looking() {
        assert!(says("bare", &[]).contains("not a Xen domain"));
        let module = "modprobe xen-evtchn";
        assert!(says("type", &["sys/hypervisor/type"]).contains(module));
        assert!(says("proc", &["proc/xen/capabilities"]).contains(module));
        let loaded = ["sys/hypervisor/type", "sys/class/misc/xen!evtchn/dev"];
        assert!(says("node", &loaded).contains("devtmpfs"));
    }

    #[test]
    fn another_path_is_not_looked_into() {
        let says = absent(Path::new("/"), Path::new("/nowhere/evtchn"));
        assert!(says.contains(DEVICE_PATH), "{says}");
    }
}
