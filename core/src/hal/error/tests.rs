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
