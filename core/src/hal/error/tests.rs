use alloc::string::{String, ToString};

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("ioctl 0x44504 of descriptor 3")]
struct Ioctl;

fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = line + " < " + &cause.to_string();
        source = cause.source();
    }
    line
}

#[test]
fn a_device_error_prints_call_code_and_hint_and_its_source_what_the_backend_did() {
    let port = Port::new(5).unwrap();
    let bare = DeviceError::new(ErrorKind::NotBound, DeviceCall::Notify(port));
    assert_eq!(chain(&bare), "cannot notify port 5: the port is not bound");
    let whole = bare
        .clone()
        .with_code(107, "ENOTCONN")
        .with_hint("not today");
    assert_eq!(chain(&whole), chain(&bare), "a shared error stays as it is");
    let whole = DeviceError::new(ErrorKind::NotBound, DeviceCall::Notify(port))
        .with_code(107, "ENOTCONN")
        .with_hint("this device has not bound it")
        .with_source(Ioctl);
    assert_eq!(
        chain(&whole),
        "cannot notify port 5: ENOTCONN (107): this device has not bound it \
         < ioctl 0x44504 of descriptor 3"
    );
    assert!(whole.source().unwrap().is::<Ioctl>());
    assert_ne!(whole, bare);
}

#[test]
fn a_loop_error_prints_its_cause_once() {
    let port = Port::new(5).unwrap();
    let device = DeviceError::new(ErrorKind::Gone, DeviceCall::Unbind(port)).with_source(Ioctl);
    let error = LoopError::from(device);
    assert_eq!(
        chain(&error),
        "cannot unbind port 5: the device is gone < ioctl 0x44504 of descriptor 3"
    );
    assert!(error.get_ref().is::<DeviceError>());
}

#[test]
fn the_port_of_an_error_is_the_first_that_its_call_is_about() {
    let port = Port::new(5).unwrap();
    let of = |call| DeviceError::new(ErrorKind::Other, call).port();
    let unmask = DeviceCall::Unmask {
        first: port,
        count: 2,
    };
    for call in [
        DeviceCall::BindStatic(port),
        DeviceCall::Unbind(port),
        DeviceCall::Notify(port),
        unmask,
    ] {
        assert_eq!(of(call), Some(port), "{call}");
    }
    assert_eq!(of(DeviceCall::Pending), None);
}

#[test]
fn errors_that_say_the_same_are_equal_whatever_their_sources() {
    let error =
        |code| DeviceError::new(ErrorKind::Other, DeviceCall::Reset).with_code(code, "a code");
    assert_eq!(error(5), error(5).with_source(Ioctl));
    assert_ne!(error(5), error(6));
}

#[test]
fn errors_in_a_dump_show_their_parts() {
    let error = DeviceError::new(ErrorKind::Gone, DeviceCall::Reset).with_code(5, "EIO");
    assert_eq!(
        format!("{error:?}"),
        "DeviceError { kind: Gone, call: Reset, code: Some(5), source: None }"
    );
    assert_eq!(format!("{:?}", LoopError::new(Ioctl)), "Ioctl");
}
