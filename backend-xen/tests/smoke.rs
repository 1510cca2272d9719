//! The raw device on a real Xen: proof that the guest works, independent of everything this workspace builds on it.
//!
//! Where there is no `/dev/xen/evtchn` the tests are skipped, loudly; `EVTCHN_REQUIRE_XEN=1` makes that a failure.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test fail it like the test itself"
)]

use std::{
    env,
    ffi::c_void,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
};

use rustix::{
    fs::OFlags,
    ioctl::{self, Ioctl, IoctlOutput, Opcode},
};

const DEVICE: &str = "/dev/xen/evtchn";
/// Names the caller's own domain.
const DOMID_SELF: u32 = 0x7ff0;

const BIND_INTERDOMAIN: Opcode = 0x0008_4501;
const BIND_UNBOUND_PORT: Opcode = 0x0004_4502;
const UNBIND: Opcode = 0x0004_4503;
const NOTIFY: Opcode = 0x0004_4504;

/// An ioctl of the device: a struct of `u32`s goes in, a port or zero comes back.
struct Call<const WORDS: usize> {
    opcode: Opcode,
    argument: [u32; WORDS],
}

// SAFETY: `as_ptr` points to the argument, which the driver only reads and whose size each opcode encodes.
unsafe impl<const WORDS: usize> Ioctl for Call<WORDS> {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// One open device.
struct Device(File);

impl Device {
    /// Opens the device, or says why the test cannot run here.
    fn open() -> Option<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let mut options = OpenOptions::new();
        match options
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(DEVICE)
        {
            Ok(file) => Some(Self(file)),
            Err(error) if env::var_os("EVTCHN_REQUIRE_XEN").is_none() => {
                // The test harness would swallow what `eprintln!` prints.
                let mut stderr = io::stderr();
                writeln!(stderr, "skipped: no {DEVICE} ({error})").unwrap();
                None
            }
            Err(error) => panic!("no {DEVICE}: {error}"),
        }
    }

    fn call<const WORDS: usize>(
        &self,
        opcode: Opcode,
        argument: [u32; WORDS],
    ) -> rustix::io::Result<u32> {
        // SAFETY: every opcode above takes exactly the words that its callers below pass.
        unsafe { ioctl::ioctl(&self.0, Call { opcode, argument }) }
    }

    fn bind_unbound_port(&self) -> u32 {
        self.call(BIND_UNBOUND_PORT, [DOMID_SELF]).unwrap()
    }

    fn bind_interdomain(&self, remote_port: u32) -> rustix::io::Result<u32> {
        self.call(BIND_INTERDOMAIN, [DOMID_SELF, remote_port])
    }

    fn notify(&self, port: u32) {
        self.call(NOTIFY, [port]).unwrap();
    }

    fn unbind(&self, port: u32) -> rustix::io::Result<u32> {
        self.call(UNBIND, [port])
    }

    /// The next port that fired.
    fn read(&mut self) -> io::Result<u32> {
        let mut port = [0; 4];
        self.0.read_exact(&mut port)?;
        Ok(u32::from_ne_bytes(port))
    }

    /// Waits for the next port that fired: on several CPUs an event may arrive after the call that caused it.
    fn wait(&mut self) -> u32 {
        loop {
            match self.read() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                port => return port.unwrap(),
            }
        }
    }

    fn unmask(&mut self, port: u32) {
        self.0.write_all(&port.to_ne_bytes()).unwrap();
    }
}

#[test]
fn a_loopback_channel_carries_notifications_both_ways() {
    let Some(mut device) = Device::open() else {
        return;
    };
    let server = device.bind_unbound_port();
    let client = device.bind_interdomain(server).unwrap();
    assert_ne!(server, client);
    assert_eq!(
        device.wait(),
        client,
        "binding to a remote port fires the local one"
    );
    device.unmask(client);

    for (sender, receiver) in [(client, server), (server, client)] {
        device.notify(sender);
        assert_eq!(device.wait(), receiver);
        device.unmask(receiver);
    }
    let empty = device.read().unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_port_does_not_fire_again_until_it_is_unmasked() {
    let Some(mut device) = Device::open() else {
        return;
    };
    let server = device.bind_unbound_port();
    let client = device.bind_interdomain(server).unwrap();
    assert_eq!(device.wait(), client);

    device.notify(client);
    assert_eq!(device.wait(), server);
    device.notify(client);
    device.notify(client);
    assert_eq!(device.read().unwrap_err().kind(), ErrorKind::WouldBlock);
    device.unmask(server);
    assert_eq!(device.wait(), server, "the second notify was kept");
    assert_eq!(
        device.read().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the third joined it"
    );
}

#[test]
fn an_unbound_port_is_no_longer_ours() {
    let Some(device) = Device::open() else { return };
    let server = device.bind_unbound_port();
    assert_eq!(device.unbind(server), Ok(0));
    assert_eq!(device.unbind(server), Err(rustix::io::Errno::NOTCONN));
    assert_eq!(
        device.bind_interdomain(server),
        Err(rustix::io::Errno::INVAL)
    );
}
