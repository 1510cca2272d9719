//! Wrong uses of the device.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use super::table::{DEVICE_REFUSES, Wrong};
use super::{assert_one_line_and_exit_code, complaint, directory};
use crate::support::{as_unprivileged_user, evtchn, has_device, stderr};

#[test]
fn a_refusal_of_the_device_is_one_line_and_leaves_nothing_bound() {
    if !has_device() {
        return;
    }
    assert_one_line_and_exit_code(DEVICE_REFUSES);
    // A domain can bind DOM_EXC only once, so the first bind is gone.
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
    let mut first = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let second = evtchn(command).output().unwrap();
    assert!(stderr(&second).contains("EEXIST"), "{second:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = evtchn("watch --backend xen --virq DOM_EXC --timeout 0").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn an_unprivileged_user_may_not_open_the_device_of_xen() {
    if !has_device() {
        return;
    }
    let directory = directory("nobody-on-xen");
    let mut command = as_unprivileged_user(&directory).unwrap();
    let output = command.args(["listen", "3"]).output();
    fs::remove_dir_all(directory).unwrap();
    let wrong: Wrong = ("listen 3, as nobody", 4, &["denied", "run this as root"]);
    assert_eq!(complaint(&output.unwrap(), wrong), None);
}
