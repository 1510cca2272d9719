//! Wrong uses of the device.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use super::table::{DEVICE_REFUSES, Wrong};
use super::{all_are_told, as_nobody, complaint, directory};
use crate::support::{evtchn, has_device, stderr};

#[test]
fn what_the_device_refuses_is_told_and_leaves_nothing_bound() {
    if !has_device() {
        return;
    }
    all_are_told(DEVICE_REFUSES);
    // One domain can bind DOM_EXC once: nobody has it any more.
    let again = "watch --backend xen --virq DOM_EXC --timeout 0";
    let output = evtchn(again).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_killed_command_leaves_nothing_bound() {
    if !has_device() {
        return;
    }
    let command = "watch --backend xen --virq DOM_EXC --no-table";
    let mut child = evtchn(command).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    let taken = evtchn(command).output().unwrap();
    assert!(stderr(&taken).contains("EEXIST"), "{taken:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = evtchn("watch --backend xen --virq DOM_EXC --timeout 0").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn nobody_is_told_that_this_device_is_roots() {
    if !has_device() {
        return;
    }
    let directory = directory("nobody-on-xen");
    let mut command = as_nobody(&directory).unwrap();
    let output = command.args(["listen", "3"]).output();
    fs::remove_dir_all(directory).unwrap();
    let wrong: Wrong = ("listen 3, as nobody", 4, &["denied", "run this as root"]);
    assert_eq!(complaint(&output.unwrap(), wrong), None);
}
