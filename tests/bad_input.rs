//! Every wrong value in every call of the core gives a typed error that keeps errno and kind, and
//! changes nothing. One table lists them all.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

mod rig;

use std::error::Error as _;
use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use evtchn_core::{
    Channel, ChannelId, Context, DeviceError, DomId, Error, HandOver, NotStatic, Port, RemotePort,
    Virq,
};
use evtchn_sim::SimLoop;

use rig::Rig;

type SimContext = Context<SimLoop>;
type SimChannel = Channel<SimLoop>;

/// A domain that does not exist.
const UNKNOWN_DOMAIN: DomId = DomId::new(1234);
/// An id that no domain can have.
const RESERVED: DomId = DomId::new(0x7ff1);

/// The name of the call and of its bad value, the expected error, and the call.
type Row = (&'static str, &'static str, fn(&Rig) -> String);

const IDS: &[Row] = &[
    ("Port 0", "PortZero", |_| bad(Port::try_from(0))),
    ("Port 2^31", "PortTooLarge(2147483648)", |_| {
        bad(Port::try_from(1 << 31))
    }),
    ("Port of no text", "Unreadable", |_| bad("".parse::<Port>())),
    ("Port \"-1\"", "Unreadable", |_| bad("-1".parse::<Port>())),
    ("Port \"0\"", "PortZero", |_| bad("0".parse::<Port>())),
    ("Port over 32 bits", "Unreadable", |_| {
        bad("4294967296".parse::<Port>())
    }),
    ("DomId 2^16", "DomIdTooLarge(65536)", |_| {
        bad(DomId::try_from(1_u32 << 16))
    }),
    ("DomId \"65536\"", "DomIdTooLarge(65536)", |_| {
        bad("65536".parse::<DomId>())
    }),
    ("DomId \"dom0\"", "Unreadable", |_| {
        bad("dom0".parse::<DomId>())
    }),
    ("RemotePort without a colon", "Unreadable", |_| {
        bad("5".parse::<RemotePort>())
    }),
    ("RemotePort of port 0", "PortZero", |_| {
        bad("5:0".parse::<RemotePort>())
    }),
    ("RemotePort of a bad domid", "DomIdTooLarge(65536)", |_| {
        bad("65536:1".parse::<RemotePort>())
    }),
    ("RemotePort with two colons", "Unreadable", |_| {
        bad("5:1:1".parse::<RemotePort>())
    }),
    ("Virq of an unknown name", "Unreadable", |_| {
        bad("VIRQ_BOGUS".parse::<Virq>())
    }),
    ("Virq of a name with twice the prefix", "Unreadable", |_| {
        bad("VIRQ_VIRQ_TBUF".parse::<Virq>())
    }),
    ("HandOver of a port twice", "Twice(Port(5))", |_| {
        bad(HandOver::new(vec![port(5), port(5)], None))
    }),
    ("HandOver of no text", "Version", |_| {
        bad("".parse::<HandOver>())
    }),
];

const BINDS: &[Row] = &[
    ("a virq of 24", "bind_virq EINVAL Invalid", |rig| {
        bind(rig.ctx.bind_virq(Virq::new(24)))
    }),
    ("the largest virq", "bind_virq EINVAL Invalid", |rig| {
        bind(rig.ctx.bind_virq(Virq::new(u32::MAX)))
    }),
    ("a virq of the kernel", "bind_virq EEXIST InUse", |rig| {
        bind(rig.ctx.bind_virq(Virq::TIMER))
    }),
    ("a virq bound already", "bind_virq EEXIST InUse", |rig| {
        bind(rig.ctx.bind_virq(Virq::TBUF))
    }),
    ("a virq bound elsewhere", "bind_virq EEXIST InUse", |rig| {
        bind(rig.fresh.bind_virq(Virq::TBUF))
    }),
    (
        "a port of an unknown domain",
        "bind_interdomain ESRCH NoSuchDomain",
        |rig| remote(&rig.ctx, UNKNOWN_DOMAIN, rig.peer_port),
    ),
    (
        "a port of a reserved id",
        "bind_interdomain ESRCH NoSuchDomain",
        |rig| remote(&rig.ctx, RESERVED, rig.peer_port),
    ),
    (
        "a port never allocated",
        "bind_interdomain EINVAL Invalid",
        |rig| remote(&rig.ctx, rig.guest.domid(), port(900)),
    ),
    (
        "the largest port",
        "bind_interdomain EINVAL Invalid",
        |rig| remote(&rig.ctx, rig.guest.domid(), Port::MAX),
    ),
    (
        "a port connected already",
        "bind_interdomain EINVAL Invalid",
        |rig| remote(&rig.ctx, rig.guest.domid(), rig.peer_port),
    ),
    (
        "a port meant for another",
        "bind_interdomain EINVAL Invalid",
        |rig| remote(&rig.ctx, rig.guest.domid(), rig.for_unknown_domain),
    ),
    (
        "a first bind that fails",
        "bind_interdomain ESRCH NoSuchDomain",
        |rig| remote(&rig.fresh, UNKNOWN_DOMAIN, rig.peer_port),
    ),
    (
        "a static port on an old kernel",
        "bind_static ENOSYS Unsupported",
        |rig| bind(rig.ctx.bind_static(rig.static_port)),
    ),
    (
        "a static bind of a port of this context",
        "NotStatic: ours",
        |rig| bind(rig.modern.bind_static(rig.modern_channel.port())),
    ),
    ("a static bind of a VIRQ", "NotStatic: virq TBUF", |rig| {
        bind(rig.fresh.bind_static(rig.virq.port()))
    }),
    (
        "a static bind of a closed port",
        "NotStatic: closed",
        |rig| bind(rig.modern.bind_static(port(50))),
    ),
    (
        "a static port of another file",
        "bind_static EBUSY InUse",
        |rig| bind(rig.modern_other.bind_static(rig.modern_channel.port())),
    ),
    ("a static port out of range", "NotStatic: closed", |rig| {
        bind(rig.modern.bind_static(Port::MAX))
    }),
    (
        "a device where there is none",
        "open ENOENT NoDevice",
        |rig| bind(rig.nowhere.bind_virq(Virq::TBUF)),
    ),
    (
        "a virq when restricted",
        "bind_virq EACCES NotPermitted",
        |rig| bind(rig.restricted.bind_virq(Virq::DEBUGGER)),
    ),
    (
        "an unbound port when restricted",
        "bind_unbound_port EACCES NotPermitted",
        |rig| bind(rig.restricted.bind_unbound_port(rig.guest.domid())),
    ),
    (
        "another domain when restricted",
        "bind_interdomain EACCES NotPermitted",
        |rig| remote(&rig.restricted, UNKNOWN_DOMAIN, rig.peer_port),
    ),
];

const CALLS: &[Row] = &[
    ("wait by a stale id", "NotBound", |rig| {
        not_bound(rig.ctx.wait(rig.stale), rig.stale)
    }),
    ("cancel by a stale id", "NotBound", |rig| {
        not_bound(rig.ctx.cancel(rig.stale), rig.stale)
    }),
    ("try_cancel by a stale id", "NotBound", |rig| {
        not_bound(rig.ctx.try_cancel(rig.stale), rig.stale)
    }),
    ("wait by an id of another context", "NotBound", |rig| {
        not_bound(rig.ctx.wait(rig.foreign()), rig.foreign())
    }),
    ("cancel by an id of another context", "NotBound", |rig| {
        not_bound(rig.ctx.cancel(rig.foreign()), rig.foreign())
    }),
    (
        "try_cancel by an id of another context",
        "NotBound",
        |rig| not_bound(rig.ctx.try_cancel(rig.foreign()), rig.foreign()),
    ),
    ("wait where nothing was opened", "NotBound", |rig| {
        not_bound(rig.fresh.wait(rig.stale), rig.stale)
    }),
    ("cancel where nothing was opened", "NotBound", |rig| {
        not_bound(rig.fresh.cancel(rig.stale), rig.stale)
    }),
    ("notify an unbound port", "NotBound", |rig| {
        not_bound(rig.stale_notifier.notify(), rig.stale)
    }),
    (
        "block on a channel that has a waiter",
        "AlreadyWaited",
        |rig| match rig.channel.block_until(Duration::ZERO) {
            Err(Error::AlreadyWaited(id)) if id == rig.channel.id() => "AlreadyWaited".into(),
            other => format!("{other:?}"),
        },
    ),
    ("restrict to domain 0", "restrict EINVAL Invalid", |rig| {
        restrict(&rig.ctx, DomId::DOM0)
    }),
    ("restrict to oneself", "restrict EINVAL Invalid", |rig| {
        restrict(&rig.ctx, DomId::SELF)
    }),
    (
        "restrict to a reserved id",
        "restrict EINVAL Invalid",
        |rig| restrict(&rig.ctx, RESERVED),
    ),
    (
        "restrict to the largest id",
        "restrict EINVAL Invalid",
        |rig| restrict(&rig.ctx, DomId::new(u16::MAX)),
    ),
    ("restrict twice", "already restricted", |rig| {
        restrict(&rig.restricted, UNKNOWN_DOMAIN)
    }),
    ("restrict twice to the same", "already restricted", |rig| {
        restrict(&rig.restricted, rig.guest.domid())
    }),
    ("dispatch while another thread has a round", "Busy", |rig| {
        let round = rig.ctx.dispatch().unwrap();
        let elsewhere = thread::scope(|scope| {
            let begins = scope.spawn(|| rig.ctx.dispatch().map(drop));
            begins.join().unwrap()
        });
        round.finish().unwrap();
        let busy = matches!(elsewhere, Err(Error::Busy));
        (if busy { "Busy" } else { "no error" }).into()
    }),
    ("a round with a budget of 0", "0 wakes, Done", |rig| {
        let mut round = rig.ctx.dispatch_at_most(0).unwrap();
        let wakes = round.by_ref().count();
        format!("{wakes} wakes, {:?}", round.finish().unwrap())
    }),
    (
        "teardown with channels bound",
        "still in use: channels on ports [10, 11], of which [10] have a waiter; notifiers of 1 channels",
        |rig| rig.ctx.teardown().unwrap_err().to_string(),
    ),
];

#[test]
fn each_bad_value_gives_its_error_and_changes_nothing() {
    let rig = Rig::new();
    for (name, expected, call) in [IDS, BINDS, CALLS].concat() {
        let before = rig.look();
        assert_eq!(call(&rig), expected, "{name}");
        assert_eq!(rig.look(), before, "{name}");
    }
    let wakes: Vec<_> = rig
        .ctx
        .dispatch()
        .unwrap()
        .map(|wake| wake.channel)
        .collect();
    assert_eq!(
        wakes,
        [rig.channel.id()],
        "the event that came before is there"
    );
}

fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

fn bad<T: Debug, E: Debug>(made: Result<T, E>) -> String {
    format!("{:?}", made.unwrap_err())
}

fn refused(error: &DeviceError) -> String {
    let own = error.source().and_then(|own| own.downcast_ref());
    let own: &evtchn_sim::Error = own.unwrap();
    let errno = own.errno.name().unwrap();
    assert_eq!(error.code(), Some(own.errno.raw()), "{error}");
    format!("{} {errno} {:?}", own.call, error.kind())
}

fn bind(bound: Result<SimChannel, Error>) -> String {
    match bound {
        Err(Error::Device(error)) => refused(&error),
        Err(Error::NotStatic(NotStatic::Ours(_))) => "NotStatic: ours".into(),
        Err(Error::NotStatic(NotStatic::Is(_, state))) => format!("NotStatic: {state}"),
        other => format!("{other:?}"),
    }
}

fn remote(ctx: &SimContext, domid: DomId, port: Port) -> String {
    bind(ctx.bind_interdomain(RemotePort { domid, port }))
}

fn restrict(ctx: &SimContext, domid: DomId) -> String {
    match ctx.restrict(domid) {
        Err(Error::Device(error)) => refused(&error),
        Err(Error::Restricted(_)) => "already restricted".into(),
        other => format!("{other:?}"),
    }
}

/// `NotBound` if the error is that of `id`.
fn not_bound<T: Debug>(answer: Result<T, Error>, id: ChannelId) -> String {
    match answer {
        Err(error @ Error::NotBound(stale)) if stale == id => {
            assert_eq!(error.to_string(), format!("{id} is not bound here"));
            "NotBound".into()
        }
        other => format!("{other:?}"),
    }
}
