//! Ids as constants and as numbers, and what can be printed.

use std::fmt::Debug;
use std::time::Duration;

use evtchn::sim::{Choice, Config, Delivery, DomainConfig, Errno, Fault, Sim, SimLoop};
use evtchn::{
    AfterHandler, BadId, BeforeHandler, Cause, Context, DeviceCall, DeviceError, DomId, Error,
    ErrorKind, HandOver, Link, LoopError, OnEoi, Outcome, Port, PortBuf, RateLimit, RemotePort,
    Status, Virq, WakeBuf, poll, xen,
};

const XENSTORE: DomId = DomId::DOM0;
const BACKEND: DomId = DomId::new(3);
static CONSOLE: RemotePort = RemotePort {
    domid: BACKEND,
    port: match Port::new(2) {
        Some(port) => port,
        None => panic!("it is no port"),
    },
};
const INTERRUPTS: [Virq; 2] = [Virq::CON_RING, Virq::new(16)];

#[test]
fn ids_are_constants() {
    assert_eq!(CONSOLE.to_string(), "3:2");
    assert_eq!(CONSOLE.domid, BACKEND);
    assert_eq!(INTERRUPTS.map(Virq::as_raw), [8, 16]);
    let is_known = |domid: DomId| matches!(domid, XENSTORE | BACKEND);
    assert!(is_known(DomId::new(0)) && !is_known(DomId::SELF));
}

#[test]
fn ids_come_from_numbers_and_go_to_numbers() {
    // A literal needs no suffix.
    assert_eq!(DomId::try_from(5), Ok(DomId::new(5)));
    assert_eq!(DomId::try_from(65_536), Err(BadId::DomIdTooLarge(65_536)));
    assert_eq!(Port::try_from(17).map(u32::from), Ok(17));
    assert_eq!(Port::try_from(0), Err(BadId::PortZero));
    assert_eq!(Virq::from(3), Virq::DOM_EXC);
    assert_eq!(u32::from(Virq::DOM_EXC), 3);
    assert_eq!(u16::from(DomId::SELF), 0x7ff0);
    // A number from C is wider than an id, and is not truncated.
    let domid: u32 = 0x1_0005;
    assert!(DomId::try_from(domid).is_err());
    let (domid, port) = (DomId::new(5), Port::MAX);
    assert_eq!(RemotePort::from((domid, port)), RemotePort { domid, port });
    assert_eq!("5:2147483647".parse(), Ok(RemotePort { domid, port }));
    assert_eq!("virq_con_ring".parse(), Ok(Virq::CON_RING));
}

/// An id of any kind.
fn id<T: TryFrom<u32>>(raw: u32) -> Option<T> {
    T::try_from(raw).ok()
}

#[test]
fn one_generic_function_reads_each_kind_of_id() {
    assert_eq!(id(5), Some(DomId::new(5)));
    assert_eq!(id(5), Port::new(5));
    assert_eq!(id(5), Some(Virq::new(5)));
    assert_eq!(id::<DomId>(1 << 16), None);
    assert_eq!(id::<Port>(1 << 31), None);
}

#[test]
fn display_of_every_printed_type_pads() {
    let columns = [
        format!("{:>8}|", Cause::Event),
        format!("{:>8}|", Link::Idle),
        format!("{:>8}|", Outcome::Done),
        format!("{:>8}|", ErrorKind::InUse),
        format!("{:>8}|", Virq::TBUF),
        format!("{:>8}|", DomId::SELF),
        format!("{:>8}|", DomId::DOM0),
        format!("{:>8}|", Port::MAX),
        format!("{:>8}|", CONSOLE),
        format!("{:<13}|", Status::Closed),
        format!("{:<17}|", Status::Interdomain { remote: CONSOLE }),
    ];
    let expected = [
        "   event|",
        "    idle|",
        "    done|",
        "  in use|",
        "    TBUF|",
        "    self|",
        "       0|",
        "2147483647|",
        "     3:2|",
        "closed       |",
        "interdomain d3:2 |",
    ];
    assert_eq!(columns, expected);
    let ctx = poll::Context::new(Sim::new(1).backend(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap().id();
    assert_eq!(
        format!("{channel:<40}|"),
        format!("{:<40}|", channel.to_string())
    );
}

/// A program prints its own structs with what they hold.
#[derive(Debug)]
#[expect(dead_code, reason = "printed by its Debug")]
struct Program {
    ctx: poll::Context,
    channel: poll::Channel,
}

#[track_caller]
fn names(value: &impl Debug, name: &str) {
    let text = format!("{value:?}");
    assert!(text.starts_with(name), "{text} does not begin with {name}");
    assert!(!format!("{value:#?}").is_empty());
}

#[test]
fn everything_has_a_debug_that_names_it() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    names(&ctx, "Context");
    names(&channel, "Channel");
    names(&channel.notifier(), "Notifier");
    names(&channel.id(), "ChannelId");
    names(&channel.woken(), "Woken");
    names(&ctx.wakes(), "Wakes");
    names(&ctx.handlers(), "Handlers");
    names(&ctx.driver(), "Driver");
    names(&ctx.dispatch().unwrap(), "Round");
    names(&ctx.stats(), "Stats");
    names(&channel.peer_state().unwrap(), "PortStatus");
    names(&ctx.teardown().unwrap_err(), "StillInUse");
    let parts = ctx.hand_over(&mut [channel]).unwrap();
    names(&parts, "Parts");
    names(&parts.device, "Device");
    names(&sim.backend(DomId::DOM0), "Backend");
    names(&WakeBuf::default(), "WakeBuf");
    names(&PortBuf::with_capacity(2), "PortBuf");
    names(&HandOver::new(vec![CONSOLE.port], None), "Ok(HandOver");
    names(
        &(BeforeHandler, AfterHandler, OnEoi),
        "(BeforeHandler, AfterHandler, OnEoi)",
    );
    names(&RateLimit::new(1, Duration::from_secs(1)), "Ok(RateLimit");
    let device = DeviceError::new(ErrorKind::Other, DeviceCall::Open);
    names(&device, "DeviceError");
    names(&Error::from(device.clone()), "Device");
    names(&LoopError::from(device), "DeviceError");

    names(&sim, "Sim");
    names(&opener, "SimOpen");
    names(&event_loop, "SimLoop");
    names(&sim.guest(DomId::DOM0), "Guest");
    names(&sim.privcmd(DomId::DOM0), "SimPrivcmd");
    names(&Config::seeded(1), "Config");
    names(&DomainConfig::guest(), "DomainConfig");
    names(&Delivery::Immediate, "Immediate");
    names(&Fault::spurious(), "Fault");
    names(&Choice::seeded(1), "Choice");
    names(&Errno::EIO, "E");

    names(&xen::XenOpen::default(), "XenOpen");
    let ctx = poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
    names(ctx.registrar(), "PollLoop");
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    names(&Program { ctx, channel }, "Program { ctx: Context {");
}
