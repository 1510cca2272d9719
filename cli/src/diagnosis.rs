//! Finds out why the device cannot be opened.

use std::fs;
use std::path::Path;

use evtchn::xen::DEVICE_PATH;
use rustix::io::Errno;

/// Why there is no device at `path` of the machine under `root`, with advice.
pub(crate) fn absent(root: &Path, path: &Path) -> String {
    if path != Path::new(DEVICE_PATH) {
        return format!("no event-channel device; the usual one is {DEVICE_PATH}");
    }
    let reason = if !is_xen(root) {
        "this is not a Xen domain (/sys/hypervisor/type and /proc/xen do not say so); --backend sim \
         needs no Xen"
    } else if root.join("sys/class/misc/xen!evtchn").exists() {
        "the driver is loaded, but its node is missing: mount devtmpfs on /dev, or give the device \
         to this container"
    } else {
        "a Xen domain, but its driver is not loaded: modprobe xen-evtchn"
    };
    reason.into()
}

/// Why this user may not open the device, with advice.
pub(crate) fn denied(errno: Errno) -> String {
    let reason = if errno == Errno::PERM {
        "the device rules of this container deny it: allow the device in them"
    } else if rustix::process::geteuid().is_root() {
        "denied even to root: check the security modules and the user namespace"
    } else {
        "it belongs to root: run this as root, or let root change its mode"
    };
    reason.into()
}

/// Whether the machine under `root` has event channels of Xen: it is a Xen domain, or it has the device.
pub(crate) fn has_xen(root: &Path) -> bool {
    is_xen(root) || root.join(DEVICE_PATH.trim_start_matches('/')).exists()
}

/// Whether the kernel of the machine under `root` says that it runs on Xen.
pub(crate) fn is_xen(root: &Path) -> bool {
    let hypervisor = fs::read_to_string(root.join("sys/hypervisor/type"));
    hypervisor.is_ok_and(|name| name.trim() == "xen") || root.join("proc/xen").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason on a machine with these files.
    fn reason(name: &str, files: &[&str]) -> String {
        let root = std::env::temp_dir().join(format!("evtchn-diagnosis-{name}"));
        for file in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "xen\n").unwrap();
        }
        let reason = absent(&root, Path::new(DEVICE_PATH));
        if !files.is_empty() {
            fs::remove_dir_all(root).unwrap();
        }
        reason
    }

    #[test]
    fn each_cause_of_a_missing_device_has_its_own_reason() {
        assert!(reason("bare", &[]).contains("not a Xen domain"));
        let module = "modprobe xen-evtchn";
        assert!(reason("type", &["sys/hypervisor/type"]).contains(module));
        assert!(reason("proc", &["proc/xen/capabilities"]).contains(module));
        let loaded = ["sys/hypervisor/type", "sys/class/misc/xen!evtchn/dev"];
        assert!(reason("node", &loaded).contains("devtmpfs"));
    }

    #[test]
    fn for_another_path_the_usual_one_is_named() {
        let reason = absent(Path::new("/"), Path::new("/nowhere/evtchn"));
        assert!(reason.contains(DEVICE_PATH), "{reason}");
    }
}
