//! Tests of `evtchn doctor` on copies of the files of machines.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;

use crate::support::{as_unprivileged_user, evtchn, skipped, stderr};

/// The files of a machine.
struct Tree(PathBuf);

impl Tree {
    /// A machine with these files, in a folder that every user may enter.
    fn new(name: &str, files: &[(&str, &str)]) -> Tree {
        let root =
            std::env::temp_dir().join(format!("evtchn-doctor-{name}-{}", std::process::id()));
        let _may_be_missing = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        let tree = Tree(root);
        tree.with(files)
    }

    fn with(self, files: &[(&str, &str)]) -> Tree {
        for (path, text) in files {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self
    }

    /// Makes a node of a device; false if this user may not.
    fn node(&self, path: &str, minor: u32, mode: u32) -> bool {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::RUSR,
            makedev(10, minor),
        );
        if made.is_err() {
            skipped("a user who may make the node of a device");
            return false;
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        true
    }

    fn doctor(&self, arguments: &str) -> Output {
        let mut command = evtchn("doctor --root");
        command.arg(&self.0).args(arguments.split_whitespace());
        command.output().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _may_be_missing = fs::remove_dir_all(&self.0);
    }
}

/// A dom0 of Debian 12, without the module.
const DOM0: &[(&str, &str)] = &[
    ("sys/hypervisor/type", "xen\n"),
    ("sys/hypervisor/version/major", "4\n"),
    ("sys/hypervisor/version/minor", "17\n"),
    ("sys/hypervisor/version/extra", ".5-pre\n"),
    ("sys/hypervisor/guest_type", "PV\n"),
    ("proc/xen/capabilities", "control_d\n"),
    ("proc/cmdline", "root=/dev/sda1 quiet\n"),
    ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
    (
        "dev/kmsg",
        "6,1,0,-;Linux version 6.1\n6,2,0,-;xen:events: Using FIFO-based ABI\n",
    ),
];

/// A guest on a newer Xen and a newer Linux.
const GUEST: &[(&str, &str)] = &[
    ("sys/hypervisor/type", "xen\n"),
    ("sys/hypervisor/version/major", "4\n"),
    ("sys/hypervisor/version/minor", "21\n"),
    ("sys/hypervisor/version/extra", ".1\n"),
    ("sys/hypervisor/guest_type", "PVH\n"),
    (
        "sys/hypervisor/uuid",
        "5c3a6d2e-90c1-4c1f-8b7a-2f4d90a1e6b7\n",
    ),
    ("proc/cmdline", "root=/dev/xvda1 xen.fifo_events=0\n"),
    ("proc/sys/kernel/osrelease", "6.12.41\n"),
];

const MODULE: &[(&str, &str)] = &[("sys/class/misc/xen!evtchn/dev", "10:125\n")];

/// Checks what is printed, the exit code, and the topics of the error.
#[track_caller]
fn assert_says(output: &Output, expected: &str, code: i32, topics: &str) {
    assert_eq!(str::from_utf8(&output.stdout).unwrap(), expected);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let error = match topics {
        "" => String::new(),
        topics => format!("evtchn: there is something to do: {topics}\n"),
    };
    assert_eq!(stderr(output), error);
}

#[test]
fn without_xen_it_says_so_and_nothing_of_the_device() {
    let tree = Tree::new("bare", &[("proc/sys/kernel/osrelease", "6.18.4\n")]);
    let expected = "\
do    hypervisor    this is not a Xen domain: /sys/hypervisor/type and /proc/xen do not say so
                 => run it in domain 0 or in a guest of Xen; --backend sim needs no Xen
ok    kernel        Linux 6.18.4
";
    assert_says(&tree.doctor(""), expected, 3, "hypervisor");
}

#[test]
fn without_the_module_it_says_how_to_load_it() {
    let tree = Tree::new("no-module", DOM0);
    let expected = "\
ok    hypervisor    Xen 4.17.5-pre; this is a control domain (PV)
ok    kernel        Linux 6.1.0-13-amd64
do    module        xen-evtchn is not loaded
                 => modprobe xen-evtchn; to have it after each boot: echo xen-evtchn
                    >/etc/modules-load.d/xen-evtchn.conf
do    node          there is no /dev/xen/evtchn
                 => load the module, which makes the node
note  privcmd       there is no /dev/xen/privcmd: ls, --check-peers and ping cannot ask Xen;
                    modprobe xen-privcmd makes it
ok    ABI           FIFO: up to 131,071 ports, none starves another
note  static ports  cannot be bound: that needs Linux 6.6
note  VIRQ rule     the bind of a VIRQ that Xen sends to another domain succeeds and never wakes:
                    Xen refuses it from 4.21 on
ok    batches       one hypercall can make many notifies
";
    assert_says(&tree.doctor(""), expected, 3, "module, node");
}

#[test]
fn in_an_ordinary_dom0_there_is_nothing_to_do() {
    let tree = Tree::new("dom0", DOM0)
        .with(MODULE)
        .with(&[("dev/xen/privcmd", "")]);
    if !tree.node("dev/xen/evtchn", 125, 0o600) {
        return;
    }
    let expected = "\
ok    hypervisor    Xen 4.17.5-pre; this is a control domain (PV)
ok    kernel        Linux 6.1.0-13-amd64
ok    module        xen-evtchn is loaded, device 10:125
ok    node          /dev/xen/evtchn, mode 600, user 0, group 0
ok    permission    user 0 may read and write it
ok    privcmd       /dev/xen/privcmd is there
ok    ABI           FIFO: up to 131,071 ports, none starves another
note  static ports  cannot be bound: that needs Linux 6.6
note  VIRQ rule     the bind of a VIRQ that Xen sends to another domain succeeds and never wakes:
                    Xen refuses it from 4.21 on
ok    batches       one hypercall can make many notifies
";
    assert_says(&tree.doctor(""), expected, 0, "");
}

#[test]
fn in_a_guest_it_says_what_a_restore_does() {
    let tree = Tree::new("guest", GUEST).with(MODULE);
    if !tree.node("dev/xen/evtchn", 125, 0o660) {
        return;
    }
    let expected = "\
ok    hypervisor    Xen 4.21.1; this is a guest (PVH)
ok    kernel        Linux 6.12.41
ok    module        xen-evtchn is loaded, device 10:125
ok    node          /dev/xen/evtchn, mode 660, user 0, group 0
ok    permission    user 0 may read and write it
note  privcmd       there is no /dev/xen/privcmd: ls, --check-peers and ping cannot ask Xen;
                    modprobe xen-privcmd makes it
note  ABI           two levels: up to 4,095 ports; without xen.fifo_events=0 Linux uses FIFO
ok    static ports  the driver can bind them
ok    VIRQ rule     Xen refuses the bind of a VIRQ that it sends to another domain (EBUSY)
note  batches       each notify is an ioctl: only a control domain may make other hypercalls
note  restore       after a restore or a migration of this guest every port of an open device is
                    dead: waits end, and a program has to bind again
";
    assert_says(&tree.doctor(""), expected, 0, "");
}

/// The line about a topic, and what it says to do.
fn line(output: &Output, topic: &str) -> (String, Option<String>) {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = report["lines"].as_array().unwrap();
    let line = lines.iter().find(|line| line["topic"] == topic).unwrap();
    (
        line["says"].as_str().unwrap().to_owned(),
        line["do"].as_str().map(str::to_owned),
    )
}

#[test]
fn a_node_that_is_missing_or_wrong_is_named_with_the_command_that_makes_it() {
    let tree = Tree::new("node", DOM0).with(MODULE);
    let output = tree.doctor("--json");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let (says, todo) = line(&output, "node");
    assert_eq!(says, "there is no /dev/xen/evtchn");
    assert!(todo.unwrap().contains("mount devtmpfs"));

    let make = "rm /dev/xen/evtchn && mknod -m 600 /dev/xen/evtchn c 10 125";
    let tree = tree.with(&[("dev/xen/evtchn", "")]);
    let output = tree.doctor("--json");
    let (says, todo) = line(&output, "node");
    assert_eq!(says, "/dev/xen/evtchn is not a character device");
    assert_eq!(todo.as_deref(), Some(make));

    fs::remove_file(tree.0.join("dev/xen/evtchn")).unwrap();
    if !tree.node("dev/xen/evtchn", 122, 0o600) {
        return;
    }
    let (says, todo) = line(&tree.doctor("--json"), "node");
    assert_eq!(
        says,
        "/dev/xen/evtchn is device 10:122, and the driver has 10:125"
    );
    assert_eq!(todo.as_deref(), Some(make));
    // What it says to do is enough.
    let at_root = make.replace("/dev/xen", tree.0.join("dev/xen").to_str().unwrap());
    let made = std::process::Command::new("sh")
        .args(["-c", &at_root])
        .status();
    assert!(made.unwrap().success());
    let output = tree.doctor("--json");
    assert_eq!(line(&output, "node").1, None);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn another_user_is_told_how_to_get_the_device() {
    let tree = Tree::new("permission", DOM0).with(MODULE);
    let made = tree.node("dev/xen/evtchn", 125, 0o600);
    let Some(mut command) = as_unprivileged_user(&tree.0) else {
        skipped("to be run as root");
        return;
    };
    assert!(made, "root may make a node");
    for folder in ["dev", "dev/xen"] {
        fs::set_permissions(tree.0.join(folder), Permissions::from_mode(0o755)).unwrap();
    }
    let output = command
        .args(["doctor", "--json", "--root"])
        .arg(&tree.0)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let (says, todo) = line(&output, "permission");
    assert_eq!(says, "user 65534 may not read and write it");
    assert!(
        todo.unwrap()
            .contains("run it as root, or as root: setfacl -m u:65534:rw")
    );
}

#[test]
fn the_report_for_programs_has_the_versions() {
    let tree = Tree::new("json", GUEST);
    let output = tree.doctor("--json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["backend"], &report["xen"]),
        (&"xen".into(), &"4.21".into())
    );
    assert_eq!(report["kernel"], "6.12.41");
    let states = report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["state"]);
    assert!(
        states
            .into_iter()
            .all(|it| ["ok", "note", "do"].map(Value::from).contains(it))
    );
}

#[test]
fn an_old_kernel_is_named() {
    let tree = Tree::new("old", DOM0).with(&[("proc/sys/kernel/osrelease", "4.9.0-19-amd64")]);
    let output = tree.doctor("--json");
    assert_eq!(
        line(&output, "kernel").1.as_deref(),
        Some("use Linux 4.14 or later")
    );
    assert!(line(&output, "hypercalls").0.contains("that needs 4.18"));
}

#[test]
fn files_of_any_content_end_in_a_report() {
    let garbage = "\u{1b}[31m\u{202e}\n\0".repeat(1000);
    let names: Vec<&str> = DOM0.iter().chain(MODULE).map(|(name, _)| *name).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, garbage.as_str())).collect();
    let tree = Tree::new("garbage", &files);
    for arguments in ["", "--json"] {
        let output = tree.doctor(arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(!output.stdout.contains(&0x1b), "{arguments}");
    }
    assert!(Path::new(&tree.0).exists());
}
