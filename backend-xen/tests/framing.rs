//! The device's read and write, with the peer of a socket pair in the place of the driver.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::error::Error as _;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use evtchn_core::{
    DeviceError, DomId, ErrorKind, EventChannel, Open, Port, PortBuf, RemotePort, Virq,
};
use evtchn_xen::{Call, Device, Errno, Error, XenOpen};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A device and its peer. One message is what one `read` brings.
fn device_and_peer() -> (Device, OwnedFd) {
    let (device, peer) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    (Device::from_fd(device).unwrap(), peer)
}

fn send(peer: &OwnedFd, words: &[u32]) {
    send_bytes(peer, bytemuck::cast_slice(words));
}

fn send_bytes(peer: &OwnedFd, bytes: &[u8]) {
    assert_eq!(
        rustix::net::send(peer, bytes, SendFlags::empty()),
        Ok(bytes.len())
    );
}

/// The backend's own error, which is the source of this one and has the same errno.
#[track_caller]
fn own(error: &DeviceError) -> &Error {
    let own: &Error = error.source().unwrap().downcast_ref().unwrap();
    assert_eq!(error.code(), Some(own.errno().raw_os_error()), "{error}");
    own
}

fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

#[test]
fn one_read_brings_every_port_of_a_message() {
    let (device, peer) = device_and_peer();
    send(&peer, &[3, 1, 0x0102_0304]);
    let mut buf = PortBuf::with_capacity(8);
    device.pending(&mut buf).unwrap();
    assert_eq!(buf.words(), [3, 1, 0x0102_0304]);
}

#[test]
fn nothing_to_read_empties_the_buffer() {
    let (device, peer) = device_and_peer();
    send(&peer, &[3]);
    let mut buf = PortBuf::with_capacity(8);
    device.pending(&mut buf).unwrap();
    device.pending(&mut buf).unwrap();
    assert!(buf.words().is_empty());
}

#[test]
fn a_read_that_ends_inside_a_word_is_rounded_down() {
    let (device, peer) = device_and_peer();
    let mut bytes = 7_u32.to_ne_bytes().to_vec();
    bytes.extend([0xff; 2]);
    send_bytes(&peer, &bytes);
    let mut buf = PortBuf::with_capacity(8);
    device.pending(&mut buf).unwrap();
    assert_eq!(buf.words(), [7]);
}

#[test]
fn a_read_fills_the_buffer_and_no_more() {
    let (device, peer) = device_and_peer();
    let words: Vec<u32> = (1..).take(PortBuf::MAX).collect();
    let mut buf = PortBuf::with_capacity(PortBuf::MAX);
    send(&peer, &words);
    device.pending(&mut buf).unwrap();
    assert_eq!(buf.words(), words);

    let mut buf = PortBuf::with_capacity(2);
    send(&peer, &[4, 5, 6]);
    device.pending(&mut buf).unwrap();
    assert_eq!(buf.words(), [4, 5]);
}

#[test]
fn ports_are_unmasked_by_one_write_of_native_words() {
    let (device, peer) = device_and_peer();
    assert_eq!(device.unmask(&[port(9), port(0x0a0b_0c0d)]), Ok(2));
    let mut bytes = [0; 64];
    let (_, count) = rustix::net::recv(&peer, &mut bytes[..], RecvFlags::empty()).unwrap();
    assert_eq!(
        &bytes[..count],
        bytemuck::cast_slice::<u32, u8>(&[9, 0x0a0b_0c0d])
    );
}

#[test]
fn unmasking_no_ports_makes_no_write() {
    let (device, peer) = device_and_peer();
    assert_eq!(device.unmask(&[]), Ok(0));
    let received = rustix::net::recv(&peer, &mut [0; 4][..], RecvFlags::DONTWAIT);
    assert_eq!(received, Err(Errno::AGAIN));
}

#[test]
fn a_short_write_returns_how_many_ports_it_took() {
    // A stream takes what fits into its buffers, as the driver takes one page.
    let (device, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let device = Device::from_fd(device.into()).unwrap();
    let ports: Vec<Port> = (1..=1 << 20).map(port).collect();
    let written = device.unmask(&ports).unwrap();
    assert!((1..ports.len()).contains(&written), "{written}");

    drop(device);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() / 4, written);
}

#[test]
fn a_failed_write_names_port_and_errno() {
    let (device, peer) = device_and_peer();
    drop(peer);
    let error = device.unmask(&[port(9), port(4)]).unwrap_err();
    let (first, count) = (port(9), 2);
    assert_eq!(own(&error).call(), &Call::Unmask { first, count });
    assert_eq!(error.port(), Some(port(9)));
    assert_eq!(own(&error).errno(), Errno::PIPE);
    assert_eq!(error.kind(), ErrorKind::Other);
}

#[test]
fn requests_to_another_file_are_unsupported() {
    let (device, _peer) = device_and_peer();
    let error = device.notify(port(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.port(), Some(port(5)));
    assert!(device.reset().is_err());
}

#[test]
fn a_failed_call_is_named_in_its_error() {
    let other = Device::open_at("/dev/null").unwrap();
    let (domid, port) = (DomId::new(7), port(5));
    let remote = RemotePort { domid, port };
    let answers = [
        (
            other.bind_unbound_port(domid).map(drop),
            Call::BindUnboundPort(domid),
            None,
        ),
        (
            other.bind_interdomain(remote).map(drop),
            Call::BindInterdomain(remote),
            None,
        ),
        (
            other.bind_virq(Virq::DOM_EXC).map(drop),
            Call::BindVirq(Virq::DOM_EXC),
            None,
        ),
        (other.bind_static(port), Call::BindStatic(port), Some(port)),
        (other.unbind(port), Call::Unbind(port), Some(port)),
        (other.notify(port), Call::Notify(port), Some(port)),
        (other.reset(), Call::Reset, None),
        (other.restrict(domid), Call::Restrict(domid), None),
    ];
    for (answer, call, port) in answers {
        let error = answer.unwrap_err();
        assert_eq!(own(&error).call(), &call);
        assert_eq!((error.port(), own(&error).errno()), (port, Errno::NOTTY));
    }
    // Nothing is mapped at its start.
    let memory = Device::open_at("/proc/self/mem").unwrap();
    let error = memory.pending(&mut PortBuf::with_capacity(4)).unwrap_err();
    assert_eq!(own(&error).call(), &Call::Pending);
    assert_eq!((error.port(), own(&error).errno()), (None, Errno::IO));
    let error = Device::open_at("/nowhere/evtchn").unwrap_err();
    assert_eq!(
        own(&error).call(),
        &Call::Open(std::path::Path::new("/nowhere/evtchn").into())
    );
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = Device::from_fd(reader.into()).unwrap_err();
    assert_eq!(own(&error).call(), &Call::Adopt);
}

#[test]
fn a_descriptor_survives_an_exec_only_where_close_on_exec_was_cleared() {
    let device = Device::open_at("/dev/null").unwrap();
    let closes = || {
        rustix::io::fcntl_getfd(&device)
            .unwrap()
            .contains(FdFlags::CLOEXEC)
    };
    for is_closed in [false, false, true, true, false] {
        device.set_close_on_exec(is_closed).unwrap();
        assert_eq!(closes(), is_closed);
    }
}

#[test]
fn an_adopted_descriptor_keeps_its_other_modes() {
    let (ours, _peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let before = rustix::fs::fcntl_getfl(&ours).unwrap();
    rustix::fs::fcntl_setfl(&ours, before | OFlags::APPEND).unwrap();
    let device = Device::from_fd(ours.into()).unwrap();
    let modes = rustix::fs::fcntl_getfl(&device).unwrap();
    assert!(
        modes.contains(OFlags::APPEND | OFlags::NONBLOCK),
        "{modes:?}"
    );
}

#[test]
fn a_missing_device_is_no_device_in_one_line() {
    let error = XenOpen::at("/nonexistent/evtchn").open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDevice);
    let line = error.to_string();
    assert!(
        line.starts_with("cannot open the event-channel device: ENOENT (2): not a Xen domain"),
        "{line}"
    );
    assert_eq!(
        own(&error).to_string(),
        "open /nonexistent/evtchn: ENOENT (2)"
    );
    assert!(!line.contains('\n'), "{line}");
}

#[test]
fn an_adopted_descriptor_becomes_nonblocking_and_close_on_exec() {
    let (ours, _peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    rustix::io::fcntl_setfd(&ours, FdFlags::empty()).unwrap();
    let device = Device::from_fd(ours.into()).unwrap();
    let fd = OwnedFd::from(device);
    let status = rustix::fs::fcntl_getfl(&fd).unwrap();
    assert!(status.contains(OFlags::NONBLOCK));
    let flags = rustix::io::fcntl_getfd(fd.as_fd()).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
}

#[test]
fn a_descriptor_open_for_reading_alone_is_not_adopted() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let error = Device::from_fd(reader.into()).unwrap_err();
    assert_eq!(own(&error).errno(), Errno::BADF);
    // It was closed, so nothing reads the pipe any more.
    assert!(writer.write(&[0]).is_err());
}

#[test]
fn a_descriptor_open_for_writing_alone_is_not_adopted() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let error = Device::from_fd(writer.into()).unwrap_err();
    assert_eq!(
        (own(&error).call(), own(&error).errno()),
        (&Call::Adopt, Errno::BADF)
    );
}

#[test]
fn set_close_on_exec_decides_whether_a_device_survives_an_exec() {
    let device = Device::open_at("/dev/null").unwrap();
    let closes = || {
        let flags = rustix::io::fcntl_getfd(&device).unwrap();
        flags.contains(FdFlags::CLOEXEC)
    };
    device.set_close_on_exec(false).unwrap();
    assert!(!closes());
    device.set_close_on_exec(true).unwrap();
    assert!(closes());
}

#[test]
fn each_failed_call_is_named_with_its_arguments() {
    let device = Device::open_at("/dev/null").unwrap();
    let (domid, port, virq) = (DomId::new(7), port(9), Virq::DOM_EXC);
    let remote = RemotePort { domid, port };
    let failed = [
        device.bind_unbound_port(domid).unwrap_err(),
        device.bind_interdomain(remote).unwrap_err(),
        device.bind_virq(virq).unwrap_err(),
        device.bind_static(port).unwrap_err(),
        device.unbind(port).unwrap_err(),
        device.notify(port).unwrap_err(),
        device.reset().unwrap_err(),
        device.restrict(domid).unwrap_err(),
    ];
    let calls = [
        Call::BindUnboundPort(domid),
        Call::BindInterdomain(remote),
        Call::BindVirq(virq),
        Call::BindStatic(port),
        Call::Unbind(port),
        Call::Notify(port),
        Call::Reset,
        Call::Restrict(domid),
    ];
    for (error, call) in failed.iter().zip(&calls) {
        assert_eq!(
            (own(error).call(), own(error).errno()),
            (call, Errno::NOTTY)
        );
    }
}

#[test]
fn a_failed_read_is_an_error_and_not_an_empty_buffer() {
    // The memory of this process, at an address where nothing is.
    let device = Device::open_at("/proc/self/mem").unwrap();
    let mut buf = PortBuf::with_capacity(8);
    let error = device.pending(&mut buf).unwrap_err();
    assert_eq!(
        (own(&error).call(), own(&error).errno()),
        (&Call::Pending, Errno::IO)
    );
    assert_eq!(error.kind(), ErrorKind::Gone);
}

#[test]
fn an_opened_file_is_nonblocking_and_close_on_exec() {
    let device = Device::open_at("/dev/null").unwrap();
    let status = rustix::fs::fcntl_getfl(&device).unwrap();
    assert!(status.contains(OFlags::RDWR | OFlags::NONBLOCK));
    let flags = rustix::io::fcntl_getfd(&device).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
}
