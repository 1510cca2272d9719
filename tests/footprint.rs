//! How much memory a context takes for its channels, to the byte, on a device that allocates nothing.
//!
//! Only memory that the library allocates is counted: the owner of a [`Channel`] stores it, and a callback is as large
//! as its captures. `cargo test --test alone footprint:: -- --nocapture` prints the figures.
//!
//! One allocator counts for the whole process, so the cases run one after the other, on the
//! thread that counts.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends by panicking, and this one has figures to show"
)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use evtchn::{
    BadHandOver, Channel, Context, DeviceCall, DeviceError, DomId, ErrorKind, EventChannel,
    HandOver, LoopError, Open, Parts, Port, PortBuf, Registrar, RemotePort, Trigger, Virq,
};
use libtest_mimic::{Failed, Trial};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// As many ports as a domain can have (Xen, FIFO event channels).
const ALL: u32 = 131_071;
const MANY: u32 = 10_000;
const PER_PORT: usize = 64;
const IDLE: usize = 4 << 10;
const IN_ALL: usize = 10 << 20;
/// Room for a callback.
const PER_CALLBACK: usize = 24;
/// Room for the last page of slots, which is not full.
const PAGE: usize = 128 * PER_CALLBACK;

type Case = fn() -> Result<(), Failed>;
type Ctx = Context<Loop>;

/// The cases of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 8] = [
        ("a_context_without_a_port_takes_less_than_4_kib", unused),
        ("an_idle_context_takes_less_than_4_kib", idle),
        ("a_waiting_port_takes_at_most_64_bytes", waiting),
        (
            "a_waiting_port_whose_peer_is_known_takes_at_most_64_bytes",
            known,
        ),
        (
            "a_hand_over_takes_no_more_than_its_ports_do",
            a_hand_over_takes_no_more_than_its_ports_do,
        ),
        ("a_callback_takes_at_most_24_bytes_more", callbacks),
        ("all_ports_of_a_domain_take_at_most_10_mib", all),
        ("an_unbind_frees_its_memory", given_back),
    ];
    let trials = cases.map(|(name, case)| Trial::test(format!("footprint::{name}"), case));
    trials.into()
}

fn unused() -> Result<(), Failed> {
    let mut made = None;
    let bytes = growth(|| made = Some(context()));
    at_most("a context without a port", bytes, IDLE)
}

/// A context with an open device and a channel that has had a wake.
fn idle() -> Result<(), Failed> {
    let mut made = None;
    let bytes = growth(|| {
        let ctx = context();
        let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
        assert_eq!(fire_all(&ctx), 1);
        made = Some((ctx, channel));
    });
    at_most("an idle context with a port", bytes, IDLE)
}

fn waiting() -> Result<(), Failed> {
    let (_ctx, channels, bytes) = bound(MANY);
    assert_eq!(channels.len(), MANY as usize);
    let count = MANY as usize;
    println!(
        "{:>12} bytes: the channel itself, where its owner keeps it",
        size_of::<Channel<Loop>>()
    );
    // What is there once is that of an idle context and the room for one full read.
    let once = IDLE + PortBuf::MAX * size_of::<u32>() + spine(MANY);
    at_most("10,000 waiting ports", bytes, PER_PORT * count + once)
}

/// Each channel was bound to its peer.
fn known() -> Result<(), Failed> {
    let remote = RemotePort {
        domid: DomId::new(7),
        port: Port::MAX,
    };
    let bind = |ctx: &Ctx| ctx.bind_interdomain(remote).unwrap();
    let (_ctx, _channels, bytes) = bound_by(MANY, bind);
    let count = MANY as usize;
    // And the pointers to the pages with the peers.
    let once = IDLE + PortBuf::MAX * size_of::<u32>() + 2 * spine(MANY);
    at_most(
        "10,000 waiting ports with known peers",
        bytes,
        PER_PORT * count + once,
    )
}

/// A table of a few bytes, whatever numbers are in it, and one that repeats a port.
fn a_hand_over_takes_no_more_than_its_ports_do() -> Result<(), Failed> {
    for text in ["v1:-:2147483647.", "v1:-:131072.", "v2:-:9;peers=7:1,."] {
        let region = Region::new(ALLOCATOR);
        text.parse::<HandOver>().unwrap_err();
        at_most(text, region.change().bytes_allocated, 1 << 10)?;
    }
    let repeated = format!("v1:-:{}1.", "1,".repeat(1 << 20));
    let region = Region::new(ALLOCATOR);
    let error = repeated.parse::<HandOver>().unwrap_err();
    assert_eq!(error, BadHandOver::Twice(Port::new(1).unwrap()));
    at_most(
        "a table that repeats a port",
        region.change().bytes_allocated,
        1 << 10,
    )?;
    let region = Region::new(ALLOCATOR);
    let table = "v2:-:131071;peers=7:2147483647.".parse().unwrap();
    let device = evtchn::Device::new(Device::default());
    let (ctx, channels) = Context::from_parts(Parts { device, table }, Opener, Loop);
    let bytes = region.change().bytes_allocated;
    drop(channels);
    drop(ctx);
    // The pointers to all pages, twice, which grow as numbers are entered.
    let once = IDLE + 2 * spine(1 << 17);
    at_most("a hand-over of the last port", bytes, PAGE + once)
}

fn callbacks() -> Result<(), Failed> {
    let (ctx, channels, _) = bound(MANY);
    let bytes = growth(|| {
        for channel in &channels {
            channel.set_callback(|_| {}).unwrap();
        }
    });
    let count = MANY as usize;
    at_most(
        "10,000 callbacks",
        bytes,
        PER_CALLBACK * count + PAGE + spine(MANY),
    )?;
    drop(channels);
    drop(ctx);
    Ok(())
}

/// All channels wait again after all of them fired in one round.
fn all() -> Result<(), Failed> {
    let (ctx, channels, bytes) = bound(ALL);
    at_most("131,071 waiting ports", bytes, IN_ALL)?;
    let fired = growth(|| {
        assert_eq!(fire_all(&ctx), channels.len());
        for channel in &channels {
            channel.wait().unwrap();
        }
    });
    at_most("the same after all fired", bytes + fired, IN_ALL)
}

fn given_back() -> Result<(), Failed> {
    let left = growth(|| {
        let (ctx, channels, _) = bound(MANY);
        assert_eq!(fire_all(&ctx), channels.len());
        drop(channels);
        ctx.teardown().unwrap();
    });
    at_most("a context that was torn down and dropped", left, 0)
}

/// A context that waits for so many ports, and the memory it takes.
fn bound(ports: u32) -> (Ctx, Vec<Channel<Loop>>, usize) {
    bound_by(ports, |ctx| ctx.bind_unbound_port(DomId::SELF).unwrap())
}

fn bound_by(ports: u32, bind: impl Fn(&Ctx) -> Channel<Loop>) -> (Ctx, Vec<Channel<Loop>>, usize) {
    let mut channels = Vec::with_capacity(ports as usize);
    let mut made = None;
    let bytes = growth(|| {
        let ctx = context();
        for _ in 0..ports {
            let channel = bind(&ctx);
            channel.wait().unwrap();
            channels.push(channel);
        }
        made = Some(ctx);
    });
    (made.unwrap(), channels, bytes)
}

fn context() -> Ctx {
    Context::with_registrar(Opener, Loop)
}

/// Lets every waiting port fire and takes the wakes; returns how many there were.
fn fire_all(ctx: &Ctx) -> usize {
    FIRING.with(|firing| firing.set(true));
    let mut wakes = 0;
    loop {
        let mut round = ctx.dispatch().unwrap();
        let taken = round.by_ref().count();
        round.finish().unwrap();
        if taken == 0 {
            return wakes;
        }
        wakes += taken;
    }
}

/// The bytes that the pointers to the pages of a table take.
fn spine(ports: u32) -> usize {
    ports.next_power_of_two() as usize / 128 * size_of::<usize>()
}

fn at_most(what: &str, bytes: usize, most: usize) -> Result<(), Failed> {
    println!("{bytes:>12} bytes: {what}, at most {most}");
    if bytes <= most {
        return Ok(());
    }
    Err(format!("{what}: {bytes} bytes, more than {most}").into())
}

/// How many more bytes are allocated afterwards. What the thread keeps after its first round is not
/// counted.
fn growth(does: impl FnOnce()) -> usize {
    drop(context().dispatch());
    let region = Region::new(ALLOCATOR);
    does();
    let change = region.change();
    let grown = change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed();
    usize::try_from(grown).unwrap_or(0)
}

thread_local! {
    /// Whether the ports of this thread's device have yet to fire.
    static FIRING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Opener;

/// A device that binds one port after the other and lets all fire at once.
#[derive(Debug, Default)]
struct Device {
    bound: AtomicU32,
    /// The first port that has not fired.
    next: AtomicU32,
}

fn unknown(call: DeviceCall) -> DeviceError {
    DeviceError::new(ErrorKind::Unsupported, call)
}

impl Open for Opener {
    type Device = Device;

    fn open(&self) -> Result<Device, DeviceError> {
        Ok(Device::default())
    }

    fn process(&self) -> u64 {
        1
    }
}

impl EventChannel for Device {
    fn bind_unbound_port(&self, _: DomId) -> Result<Port, DeviceError> {
        let port = self.bound.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Port::new(port).unwrap())
    }

    fn bind_interdomain(&self, _: RemotePort) -> Result<Port, DeviceError> {
        self.bind_unbound_port(DomId::SELF)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        Err(unknown(DeviceCall::BindVirq(virq)))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        Err(unknown(DeviceCall::BindStatic(port)))
    }

    fn unbind(&self, _: Port) -> Result<(), DeviceError> {
        Ok(())
    }

    fn notify(&self, _: Port) -> Result<(), DeviceError> {
        Ok(())
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        if FIRING.with(Cell::take) {
            self.next.store(1, Ordering::Relaxed);
        }
        let (first, bound) = (
            self.next.load(Ordering::Relaxed),
            self.bound.load(Ordering::Relaxed),
        );
        let left = if first == 0 { 0 } else { bound + 1 - first };
        buf.fill(|room| {
            let count = room.len().min(left as usize);
            for (word, port) in room[..count].iter_mut().zip(first..) {
                *word = port;
                self.next.store(port + 1, Ordering::Relaxed);
            }
            Ok(count)
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        Ok(ports.len())
    }

    fn reset(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn restrict(&self, _: DomId) -> Result<(), DeviceError> {
        Ok(())
    }

    fn is_inherited(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Loop;

impl Registrar for Loop {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, _: &evtchn::Device) -> Result<(), LoopError> {
        Ok(())
    }

    fn deregister(&self, _: &evtchn::Device) -> Result<(), LoopError> {
        Ok(())
    }

    fn wake(&self) {}
}
