//! The processes of this domain that have the device open, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evtchn::xen::DEVICE_PATH;

/// The processes that have the device open, one line each: with how many ports all processes of that
/// name have together, which is exact for one process where it is the only one of its name. Processes of
/// other users are left out where this user may not look.
pub(super) fn lines(root: &Path) -> Vec<String> {
    let ports = ports(root);
    let holders = holders(root);
    let mut lines: Vec<String> = Vec::new();
    for (pid, name) in &holders {
        let of_name = holders.values().filter(|other| *other == name).count();
        let ports = ports.get(name).copied().unwrap_or(0);
        let ports = match (ports, of_name) {
            (ports, 1) => format!("{ports} ports"),
            (ports, of_name) => {
                format!("some of the {ports} ports of {of_name} processes of this name")
            }
        };
        lines.push(format!("  process {pid} {name}: {ports}"));
    }
    if !lines.is_empty() {
        lines.insert(
            0,
            format!("processes of this domain that have {DEVICE_PATH} open:"),
        );
    }
    lines
}

/// The processes that have the device open, with their names.
fn holders(root: &Path) -> BTreeMap<u32, String> {
    let mut holders = BTreeMap::new();
    let processes = fs::read_dir(root.join("proc"))
        .into_iter()
        .flatten()
        .flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let folder = process.path();
        if has_device(&folder) {
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            holders.insert(pid, name.trim_end().to_owned());
        }
    }
    holders
}

fn has_device(process: &Path) -> bool {
    let files = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target: PathBuf| target == Path::new(DEVICE_PATH))
}

/// How many ports the processes of each name have. Linux names the interrupt of such a port
/// `evtchn:NAME` (drivers/xen/evtchn.c).
fn ports(root: &Path) -> BTreeMap<String, usize> {
    let mut ports = BTreeMap::new();
    let interrupts = fs::read_to_string(root.join("proc/interrupts")).unwrap_or_default();
    for line in interrupts.lines() {
        if let Some((_, name)) = line.rsplit_once("evtchn:") {
            *ports.entry(name.trim_end().to_owned()).or_insert(0) += 1;
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_process_with_the_device_is_a_candidate_with_the_ports_of_its_name() {
        let root = std::env::temp_dir().join(format!("evtchn-holders-{}", std::process::id()));
        for (pid, name, opens) in [
            (11, "xenstored", "/dev/xen/evtchn"),
            (12, "qemu-system-i38", "/dev/xen/evtchn"),
            (13, "qemu-system-i38", "/dev/xen/evtchn"),
            (14, "bash", "/dev/null"),
        ] {
            let folder = root.join(format!("proc/{pid}"));
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            symlink(opens, folder.join("fd/7")).unwrap();
        }
        let interrupts = "           CPU0\n 49:   7   xen-dyn   -event     evtchn:xenstored\n \
                          50:   7   xen-dyn   -event     evtchn:qemu-system-i38\n \
                          51:   7   xen-dyn   -event     evtchn:qemu-system-i38\n \
                          52:   7   xen-dyn   -event     vif1.0\n";
        fs::write(root.join("proc/interrupts"), interrupts).unwrap();
        let expected = [
            "processes of this domain that have /dev/xen/evtchn open:",
            "  process 11 xenstored: 1 ports",
            "  process 12 qemu-system-i38: some of the 2 ports of 2 processes of this name",
            "  process 13 qemu-system-i38: some of the 2 ports of 2 processes of this name",
        ];
        assert_eq!(lines(&root), expected);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(lines(&root), [""; 0]);
    }
}
