//! What the errors of the device print, and what they keep.

use std::error::Error as _;

use super::*;

fn failed(call: Call, errno: Errno) -> DeviceError {
    Error::new(call, errno).into()
}

fn line(call: Call, errno: Errno) -> String {
    failed(call, errno).to_string()
}

/// The backend's own error.
fn own(error: &DeviceError) -> &Error {
    error.source().unwrap().downcast_ref().unwrap()
}

#[test]
fn a_failed_call_is_one_line_with_port_errno_and_hint() {
    let port = Port::new(7).unwrap();
    let remote = RemotePort {
        domid: DomId::new(5),
        port,
    };
    let table = [
        (
            line(
                Call::Open(Path::new("/dev/xen/evtchn").into()),
                Errno::NOENT,
            ),
            "cannot open the event-channel device: ENOENT (2): not a Xen domain, or the module \
             xen-evtchn is not loaded (modprobe xen-evtchn)",
        ),
        (
            line(Call::NoticeForks, Errno::INVAL),
            "cannot notice a fork of this process: EINVAL (22): madvise(MADV_WIPEONFORK) needs \
             Linux 4.14",
        ),
        (
            line(Call::BindInterdomain(remote), Errno::SRCH),
            "cannot bind to port 7 of domain 5: ESRCH (3): no such domain",
        ),
        (
            line(Call::BindInterdomain(remote), Errno::INVAL),
            "cannot bind to port 7 of domain 5: EINVAL (22): no such port there, or it is \
             bound already, or it waits for another domain, or the domain is dying",
        ),
        (
            line(Call::BindInterdomain(remote), Errno::ACCESS),
            "cannot bind to port 7 of domain 5: EACCES (13): the device is restricted to \
             another domain",
        ),
        (
            line(Call::BindUnboundPort(DomId::new(5)), Errno::ACCESS),
            "cannot allocate a port for domain 5: EACCES (13): the device is restricted, and \
             binds only to ports that its domain offers: bind this before the restriction",
        ),
        (
            line(Call::BindVirq(Virq::TIMER), Errno::ACCESS),
            "cannot bind virtual interrupt TIMER: EACCES (13): the device is restricted, and \
             binds only to ports that its domain offers: bind this before the restriction",
        ),
        (
            line(Call::BindVirq(Virq::DOM_EXC), Errno::EXIST),
            "cannot bind virtual interrupt DOM_EXC: EEXIST (17): another program holds it, in an \
             ordinary dom0 xenstored",
        ),
        (
            line(Call::BindVirq(Virq::TIMER), Errno::EXIST),
            "cannot bind virtual interrupt TIMER: EEXIST (17): another program or the kernel \
             holds it",
        ),
        (
            line(Call::OpenPrivcmd, Errno::NOENT),
            "cannot open /dev/xen/privcmd: ENOENT (2): not a Xen domain, or the module \
             xen-privcmd is not loaded (modprobe xen-privcmd)",
        ),
        (
            line(Call::Status(remote), Errno::PERM),
            "cannot ask what port 7 of domain 5 is: EPERM (1): only a control domain may ask \
             about another domain; in other domains the privcmd driver refuses every hypercall, \
             unless its module is loaded with unrestricted=1",
        ),
        (
            line(
                Call::Status(RemotePort {
                    domid: DomId::SELF,
                    ..remote
                }),
                Errno::PERM,
            ),
            "cannot ask what port 7 of domain self is: EPERM (1): the privcmd driver of this \
             domain refuses every hypercall, to root too; there is no way to ask unless the \
             module is loaded with unrestricted=1 (xen_privcmd.unrestricted=1 for the kernel), \
             which a locked-down kernel ignores",
        ),
        (
            line(Call::Notify(port), Errno::NOTCONN),
            "cannot notify port 7: ENOTCONN (107): this device has not bound it",
        ),
        (
            line(
                Call::Unmask {
                    first: port,
                    count: 3,
                },
                Errno::NOMEM,
            ),
            "cannot unmask 3 ports from port 7 on: ENOMEM (12)",
        ),
        (
            line(Call::Reset, Errno::PROTO),
            "cannot reset the ring: errno (71)",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(line, expected);
    }
}

/// Each errno that a call is known to give: the words after it.
#[test]
fn every_known_errno_of_a_call_has_a_hint() {
    let port = Port::new(7).unwrap();
    let domid = DomId::new(5);
    let remote = RemotePort { domid, port };
    let open = || Call::Open(Path::new("/dev/xen/evtchn").into());
    let container = "the device rules of this container deny it";
    let root = "permission denied: root only by default";
    let policy = "the security policy of the hypervisor forbids it";
    let table = [
        (open(), Errno::ACCESS, root),
        (open(), Errno::PERM, container),
        (Call::OpenPrivcmd, Errno::ACCESS, root),
        (Call::OpenHypercall, Errno::PERM, container),
        (
            Call::OpenHypercall,
            Errno::NOENT,
            "it comes with the module xen-privcmd, from Linux 4.18 on",
        ),
        (Call::Status(remote), Errno::SRCH, "no such domain"),
        (
            Call::Status(remote),
            Errno::INVAL,
            "the domain has no port of this number yet",
        ),
        (
            Call::Status(remote),
            Errno::ACCESS,
            "Xen keeps this port for itself",
        ),
        (
            Call::Status(remote),
            Errno::BADF,
            "opened by the process that this one was forked from",
        ),
        (
            Call::Status(remote),
            Errno::NOTTY,
            "the driver makes no hypercalls for this program",
        ),
        (Call::Adopt, Errno::BADF, "not open for reading and writing"),
        (
            Call::BindVirq(Virq::TIMER),
            Errno::INVAL,
            "Xen has no virtual interrupt of this number",
        ),
        (
            Call::BindVirq(Virq::TIMER),
            Errno::BUSY,
            "another domain is its handler",
        ),
        (
            Call::BindStatic(port),
            Errno::ISCONN,
            "this device has bound it already",
        ),
        (
            Call::BindStatic(port),
            Errno::NOSYS,
            "static channels need Linux 6.6",
        ),
        (
            Call::Restrict(domid),
            Errno::ACCESS,
            "the device is restricted already, which cannot be changed",
        ),
        (
            Call::Restrict(domid),
            Errno::INVAL,
            "a device can be restricted only to domains 1 to 32751",
        ),
        (
            Call::Pending,
            Errno::FBIG,
            "the ring overflowed and events are lost: reset it and unmask every port",
        ),
        (Call::BindUnboundPort(domid), Errno::PERM, policy),
        (Call::BindInterdomain(remote), Errno::PERM, policy),
        (Call::Unbind(port), Errno::INVAL, "no such port"),
        (
            Call::Unbind(port),
            Errno::NOTCONN,
            "this device has not bound it",
        ),
        (
            Call::BindUnboundPort(domid),
            Errno::NOSPC,
            "this domain has no free port left (see max_event_channels)",
        ),
        (
            Call::Reset,
            Errno::NOTTY,
            "not an event-channel device, or a 32-bit program on a 64-bit kernel",
        ),
        (
            Call::Reset,
            Errno::NOSYS,
            "the driver does not know this request",
        ),
    ];
    for (call, errno, hint) in table {
        let start = format!("cannot {}: {}", call.of_device(), Name(errno));
        assert_eq!(line(call, errno), format!("{start}: {hint}"));
    }
}

/// It says the rest: the path of the device, and the system's words for an errno without a name.
#[test]
fn the_source_of_a_failed_call_is_one_line_with_path_and_errno() {
    let port = Port::new(7).unwrap();
    let table = [
        (
            Call::Open(Path::new("/nowhere/evtchn").into()),
            Errno::NOENT,
            "open /nowhere/evtchn: ENOENT (2)",
        ),
        (
            Call::Notify(port),
            Errno::NOTCONN,
            "notify port 7: ENOTCONN (107)",
        ),
        (
            Call::Reset,
            Errno::PROTO,
            "reset the ring: Protocol error (os error 71)",
        ),
    ];
    for (call, errno, line) in table {
        assert_eq!(failed(call, errno).source().unwrap().to_string(), line);
    }
}

#[test]
fn an_error_has_the_local_port_that_its_call_was_about() {
    let port = Port::new(7).unwrap();
    let domid = DomId::new(5);
    let remote = RemotePort { domid, port };
    let (first, count) = (port, 3);
    for call in [
        Call::BindStatic(port),
        Call::Unbind(port),
        Call::Notify(port),
        Call::Unmask { first, count },
    ] {
        assert_eq!(failed(call, Errno::IO).port(), Some(port));
    }
    // The port of these is another domain's.
    for call in [Call::BindInterdomain(remote), Call::Status(remote)] {
        assert_eq!(failed(call, Errno::IO).port(), None);
    }
}

#[test]
fn a_port_that_xen_keeps_to_itself_is_hidden_and_a_device_that_is_denied_is_not() {
    let kind = |call| failed(call, Errno::ACCESS).kind();
    let domid = DomId::new(5);
    let port = Port::new(7).unwrap();
    let asked = Call::Status(RemotePort { domid, port });
    assert_eq!(kind(asked), ErrorKind::Hidden);
    assert_eq!(kind(Call::OpenPrivcmd), ErrorKind::NotPermitted);
    assert_eq!(kind(Call::BindUnboundPort(domid)), ErrorKind::NotPermitted);
}

/// A program prints its error, with or without the chain, whose second part says the path.
#[test]
fn a_bind_without_a_device_prints_call_and_errno_once() {
    let opener = crate::XenOpen::at("/nowhere/evtchn");
    let ctx = evtchn_core::Context::with_registrar(opener, crate::PollLoop::new().unwrap());
    let error = ctx.bind_virq(Virq::DOM_EXC).unwrap_err();
    let expected = "cannot open the event-channel device: ENOENT (2): not a Xen domain, or the \
                    module xen-evtchn is not loaded (modprobe xen-evtchn)";
    assert_eq!(error.to_string(), expected);
    let error = anyhow::Error::from(error);
    let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
    assert_eq!(chain, [expected, "open /nowhere/evtchn: ENOENT (2)"]);
}

#[test]
fn a_status_that_xen_hides_is_hidden_and_one_that_it_forbids_is_not_permitted() {
    let port = Port::MAX;
    let asked = RemotePort {
        domid: DomId::SELF,
        port,
    };
    let kind = |call, errno| failed(call, errno).kind();
    assert_eq!(kind(Call::Status(asked), Errno::ACCESS), ErrorKind::Hidden);
    assert_eq!(
        kind(Call::Status(asked), Errno::PERM),
        ErrorKind::NotPermitted
    );
    let domid = DomId::new(7);
    assert_eq!(
        kind(Call::Restrict(domid), Errno::ACCESS),
        ErrorKind::NotPermitted
    );
    assert_eq!(
        kind(Call::OpenPrivcmd, Errno::ACCESS),
        ErrorKind::NotPermitted
    );
}

#[test]
fn the_port_of_an_error_is_the_local_one() {
    let [ours, theirs] = [4, 9].map(|raw| Port::new(raw).unwrap());
    let remote = RemotePort {
        domid: DomId::new(7),
        port: theirs,
    };
    let port = |call| failed(call, Errno::NOTCONN).port();
    let unmask = Call::Unmask {
        first: ours,
        count: 3,
    };
    for call in [
        Call::BindStatic(ours),
        Call::Unbind(ours),
        Call::Notify(ours),
        unmask,
    ] {
        assert_eq!(port(call), Some(ours));
    }
    // These name a port of another domain.
    assert_eq!(port(Call::BindInterdomain(remote)), None);
    assert_eq!(port(Call::Status(remote)), None);
}

#[test]
fn the_hint_is_about_the_call_and_not_about_the_errno_alone() {
    let asked = RemotePort {
        domid: DomId::new(5),
        port: Port::MAX,
    };
    let hints = [
        (Call::Status(asked), Errno::BADF, "forked from"),
        (Call::Status(asked), Errno::ACCESS, "Xen keeps this port"),
        (
            Call::Status(asked),
            Errno::INVAL,
            "no port of this number yet",
        ),
        (Call::Adopt, Errno::BADF, "not open for reading and writing"),
        (
            Call::Restrict(asked.domid),
            Errno::ACCESS,
            "restricted already",
        ),
        (
            Call::BindVirq(Virq::TIMER),
            Errno::ACCESS,
            "the device is restricted",
        ),
        (Call::OpenHypercall, Errno::NOENT, "from Linux 4.18 on"),
        (Call::Pending, Errno::FBIG, "reset it and unmask every port"),
        (Call::Unbind(Port::MAX), Errno::INVAL, "no such port"),
    ];
    for (call, errno, hint) in hints {
        let line = line(call, errno);
        assert!(line.contains(hint), "{line}");
    }
}

#[test]
fn a_failed_call_keeps_call_port_and_errno() {
    let port = Port::new(9).unwrap();
    let error = failed(Call::Unbind(port), Errno::NOTCONN);
    assert_eq!(error.call(), DeviceCall::Unbind(port));
    assert_eq!(error.port(), Some(port));
    assert_eq!(error.code(), Some(Errno::NOTCONN.raw_os_error()));
    assert_eq!(error.kind(), ErrorKind::NotBound);
    assert_eq!(own(&error).call(), &Call::Unbind(port));
    assert_eq!(own(&error).errno(), Errno::NOTCONN);
    assert_eq!(failed(Call::Reset, Errno::IO).port(), None);
}
