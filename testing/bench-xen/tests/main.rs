//! The benchmark on a machine without Xen: it fails and says why.

use std::path::Path;
use std::process::Command;

#[test]
fn without_the_device_it_fails_and_names_the_device() {
    if Path::new("/dev/xen/evtchn").exists() {
        eprintln!("skipped: this machine has the device");
        return;
    }
    let bench = env!("CARGO_BIN_EXE_xenbench");
    let output = Command::new(bench).args(["bind", "raw", "1", "1"]).output();
    let output = output.expect("cargo built it");
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains("/dev/xen/evtchn"), "{says}");
}
