//! Clients that do what no client should. Another client must not notice.

use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendFlags};

use super::super::protocol::{Answer, LARGEST, OnDevice, Request, VERSION};
use super::super::socket::{self, Received};
use super::*;

/// A connection that sends any bytes that a test gives it.
struct Hostile(rustix::fd::OwnedFd);

impl Hostile {
    fn new(serving: &Serving) -> Hostile {
        Hostile(socket::connect(&serving.path).unwrap())
    }

    fn greeted(serving: &Serving) -> Hostile {
        let hostile = Hostile::new(serving);
        let version = VERSION;
        assert_eq!(
            hostile.call(&Request::Hello { version }),
            Some(Answer::Number(0))
        );
        hostile
    }

    fn send(&self, bytes: &[u8]) {
        // The server may have closed the connection.
        let _ = rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL);
    }

    /// What the server answers. `None` once it has closed the connection.
    fn answer(&self) -> Option<Answer> {
        let mut buf = Box::new([0; LARGEST]);
        match socket::receive(self.0.as_fd(), &mut buf, RecvFlags::empty()) {
            Ok(Received::Message(answer, _)) => Some(answer),
            Ok(Received::Bad) => panic!("a bad answer"),
            Ok(Received::End) | Err(_) => None,
        }
    }

    fn call(&self, request: &Request) -> Option<Answer> {
        let _ = socket::send(self.0.as_fd(), request, None, SendFlags::empty());
        self.answer()
    }
}

/// A client that works, and has to go on working.
struct Good {
    device: RemoteDevice,
    waiting: Port,
    bound: Port,
}

impl Good {
    fn new(serving: &Serving) -> Good {
        let device = serving.open();
        let (waiting, bound) = pair(&device);
        Good {
            device,
            waiting,
            bound,
        }
    }

    #[track_caller]
    fn works(&self) {
        read(&self.device);
        self.device.unmask(&[self.bound]).unwrap();
        read(&self.device);
        self.device.unmask(&[self.bound]).unwrap();
        self.device.notify(self.waiting).unwrap();
        assert_eq!(revents(&self.device), PollFlags::IN);
        assert_eq!(read(&self.device), [self.bound.as_raw()]);
    }
}

#[test]
fn a_message_that_is_no_request_ends_its_connection_alone() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let too_long = vec![b' '; LARGEST + 1];
    let deep = vec![b'['; LARGEST];
    let many = format!(
        "{{\"on_device\":{{\"write\":{{\"ports\":[{}0]}}}}}}",
        "0,".repeat(30_000)
    );
    for bytes in [
        b"garbage".as_slice(),
        b"{",
        b"{\"hello\":{\"version\":1",
        b"{\"hello\":{\"version\":-1}}",
        b"{\"hello\":{\"version\":1,\"more\":1}}",
        b"{\"hello\":{\"version\":99999999999999999999}}",
        b"{\"open\":{\"domid\":65536,\"raw\":true}}",
        b"{\"on_device\":{\"read\":{\"most\":-1}}}",
        b"{\"act\":{\"advance\":{\"by\":{\"secs\":18446744073709551615,\"nanos\":4000000000}}}}",
        b"\xff\xfe\x00",
        b"\"act\"",
        &deep,
        &too_long,
    ] {
        let hostile = Hostile::new(&serving);
        hostile.send(bytes);
        assert_eq!(hostile.answer(), Some(Answer::Refused(74)), "{bytes:?}");
        assert_eq!(hostile.answer(), None);
        good.works();
    }
    // It is a request, of more ports than one write takes, and is cut as write(2) cuts it.
    let hostile = Hostile::greeted(&serving);
    hostile.call(&Request::Open {
        domid: 0,
        raw: true,
    });
    hostile.send(many.as_bytes());
    assert_eq!(hostile.answer(), Some(Answer::Number(1024)));
    good.works();
}

/// Requests of each kind.
fn requests() -> Vec<Request> {
    let (domid, remote, port) = (1, 0, 10);
    vec![
        Request::Hello { version: VERSION },
        Request::Open {
            domid: 0,
            raw: true,
        },
        Request::Attach,
        Request::OnDevice(OnDevice::Ioctl {
            request: abi::BIND_UNBOUND_PORT,
            words: [1, 0],
        }),
        Request::OnDevice(OnDevice::Read { most: 3 }),
        Request::OnDevice(OnDevice::Write {
            ports: vec![10, 11],
        }),
        Request::OnDevice(OnDevice::Overflow),
        Request::OnDevice(OnDevice::IsResumed),
        Request::Close,
        Request::Status {
            caller: 0,
            domid,
            port,
        },
        Request::Dump,
        Request::Act(Act::CreateDomain),
        Request::Act(Act::SaveRestore { domid }),
        Request::Act(Act::AllocUnbound { domid, remote }),
        Request::Act(Act::Events { domid, port }),
        Request::Act(Act::Advance {
            by: std::time::Duration::from_millis(70),
        }),
    ]
}

#[test]
fn requests_with_bytes_that_are_changed_at_random_harm_no_other_client() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let requests = requests();
    let mut choice = crate::Choice::seeded(1);
    let mut hostile = Hostile::greeted(&serving);
    let mut answers = 0;
    for turn in 0..3000 {
        let request = &requests[choice.of(requests.len())];
        let mut bytes = serde_json::to_vec(request).unwrap();
        for _ in 0..choice.of(3) {
            let place = choice.of(bytes.len());
            match choice.of(3) {
                0 => bytes[place] = u8::try_from(choice.of(256)).unwrap(),
                1 => bytes[place] = b'0' + u8::try_from(choice.of(10)).unwrap(),
                _ => bytes.truncate(place.max(1)),
            }
        }
        hostile.send(&bytes);
        match hostile.answer() {
            Some(_) => answers += 1,
            None => hostile = Hostile::greeted(&serving),
        }
        if turn % 100 == 0 {
            good.works();
        }
    }
    assert!(answers > 1000, "{answers}");
}

#[test]
fn another_version_and_a_request_before_hello_are_refused() {
    let serving = Serving::new();
    for request in [
        Request::Hello { version: 2 },
        Request::Dump,
        Request::Attach,
        Request::Act(Act::Step),
    ] {
        let hostile = Hostile::new(&serving);
        assert_eq!(hostile.call(&request), Some(Answer::Refused(71)));
        assert_eq!(hostile.answer(), None);
    }
    Good::new(&serving).works();
}

#[test]
fn requests_out_of_order_are_refused_and_the_connection_goes_on() {
    let serving = Serving::new();
    let hostile = Hostile::greeted(&serving);
    let refused = |errno| Some(Answer::Refused(errno));
    for request in [
        Request::OnDevice(OnDevice::Read { most: 1 }),
        Request::OnDevice(OnDevice::Write { ports: vec![1] }),
        Request::OnDevice(OnDevice::IsResumed),
        Request::OnDevice(OnDevice::Overflow),
        Request::Attach,
    ] {
        assert_eq!(hostile.call(&request), refused(9), "{request:?}");
    }
    let open = Request::Open {
        domid: 0,
        raw: false,
    };
    assert_eq!(hostile.call(&open), Some(Answer::Number(0)));
    assert_eq!(hostile.call(&open), refused(16));
    assert_eq!(hostile.call(&Request::Attach), refused(16));
    for _ in 0..2 {
        assert_eq!(hostile.call(&Request::Close), Some(Answer::Number(0)));
    }
    assert_eq!(
        hostile.call(&Request::OnDevice(OnDevice::Read { most: 1 })),
        refused(9)
    );
    let most = usize::MAX;
    assert_eq!(hostile.call(&open), Some(Answer::Number(0)));
    assert_eq!(
        hostile.call(&Request::OnDevice(OnDevice::Read { most })),
        refused(11)
    );
}

#[test]
fn many_connections_that_do_nothing_do_not_keep_others_out() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let idle: Vec<_> = (0..300).map(|_| Hostile::new(&serving)).collect();
    good.works();
    Good::new(&serving).works();
    // The last ones are still connected.
    let last = idle.last().unwrap();
    let version = VERSION;
    assert_eq!(
        last.call(&Request::Hello { version }),
        Some(Answer::Number(0))
    );
    let first = idle.first().unwrap();
    assert_eq!(first.call(&Request::Hello { version }), None);
}

#[test]
fn a_client_that_does_not_take_its_answers_is_closed() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let hostile = Hostile::greeted(&serving);
    let request = serde_json::to_vec(&Request::Act(Act::Now)).unwrap();
    // Until the server has closed it.
    while rustix::net::send(&hostile.0, &request, SendFlags::NOSIGNAL).is_ok() {}
    good.works();
}

#[test]
fn a_client_that_is_gone_before_its_answers_leaves_nothing_open() {
    let serving = Serving::new();
    let before = serving.sim.dump();
    for _ in 0..50 {
        let hostile = Hostile::greeted(&serving);
        hostile.send(b"{\"open\":{\"domid\":0,\"raw\":true}}");
        hostile.send(b"{\"on_device\":{\"ioctl\":{\"request\":279810,\"words\":[0,0]}}}");
        hostile.send(b"\"dump\"");
        drop(hostile);
        assert_eq!(serving.machine().dump().unwrap(), before);
    }
}

#[test]
fn one_who_spoils_a_descriptor_misleads_only_himself() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let device = serving.open_raw();
    pair(&device);
    let shown = device.as_fd();
    let wait = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    while rustix::net::send(shown, &[7; 1000], wait).is_ok() {}
    good.works();
    let _ = rustix::net::recv(shown, &mut [0; 8], RecvFlags::DONTWAIT);
    rustix::net::shutdown(shown, rustix::net::Shutdown::Both).unwrap();
    let _ = device.read_raw();
    device.overflow().unwrap();
    device.ioctl_raw(abi::RESET, [0, 0]).unwrap();
    good.works();
    drop(device);
    assert_eq!(serving.machine().act(Act::OpenFiles), Ok(1));
    good.works();
}

#[test]
fn every_act_with_extreme_numbers_is_answered() {
    let serving = Serving::new();
    let good = Good::new(&serving);
    let act = |act| {
        let _ = serving.machine().act(act);
    };
    for domid in [0, 1, 0x7ff0, u16::MAX] {
        for port in [0, 1, 10, 1 << 17, u32::MAX] {
            let remote = domid;
            act(Act::AllocUnbound { domid, remote });
            act(Act::BindInterdomain {
                domid,
                remote,
                port,
            });
            act(Act::Send { domid, port });
            act(Act::Events { domid, port });
            act(Act::RaiseVirq { domid, virq: port });
        }
        act(Act::SaveRestore { domid });
        act(Act::Checkpoint { domid });
        act(Act::DestroyDomain { domid });
    }
    let longest = std::time::Duration::MAX;
    for delivery in [
        crate::Delivery::Delayed(longest),
        crate::Delivery::Chosen,
        crate::Delivery::Held,
        crate::Delivery::Immediate,
    ] {
        act(Act::SetDelivery { delivery });
        act(Act::Advance { by: longest });
        act(Act::Step);
    }
    for nth in [1, u64::MAX] {
        let (call, errno) = (crate::Call::Sleep, i32::MIN);
        act(Act::Fail { call, errno, nth });
    }
    act(Act::ClearFaults);
    good.works();
}
