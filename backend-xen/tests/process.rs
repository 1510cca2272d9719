//! Fork and exec, for real. A process that forks must have one thread, and exec replaces the
//! process, so each scene is this program once more. An environment variable says what to play.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

use std::env;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::time::Duration;

use evtchn_core::{
    Cause, Channel, Context, DomId, Error, EventChannel, Notifier, Outcome, Parts, Port, RemotePort,
};
use evtchn_xen::{DEVICE_PATH, Device, PollLoop, XenOpen};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{WaitOptions, wait};

type XenContext = Context<PollLoop>;
type XenChannel = Channel<PollLoop>;

const SCENE: &str = "EVTCHN_SCENE";
const DESCRIPTOR: &str = "EVTCHN_FD";
const TABLE: &str = "EVTCHN_TABLE";
/// How long a wake may take. Only a failure ever waits so long.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    match env::var(SCENE).as_deref() {
        Ok("number") => return child_has_a_number_of_its_own(),
        Ok("fork") => return child_leaves_the_parent_alone(),
        Ok("old") => return hand_over(),
        Ok("new") => return go_on(),
        Ok(_) | Err(_) => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let required = env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1");
    let has_device = required || fs::exists(DEVICE_PATH).unwrap_or(true);
    if !has_device {
        eprintln!("process: skipped what needs {DEVICE_PATH} (run `cargo xtask xen`)");
    }
    let trials = vec![
        Trial::test("child_of_a_fork_has_a_number_of_its_own", || play("number")),
        Trial::test("child_leaves_the_channels_of_its_parent_alone", || {
            play("fork")
        })
        .with_ignored_flag(!has_device),
        Trial::test("no_event_is_lost_across_an_exec", || play("old"))
            .with_ignored_flag(!has_device),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Plays a scene in a process of its own.
fn play(scene: &str) -> Result<(), Failed> {
    let status = Command::new(env::current_exe()?)
        .env(SCENE, scene)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the scene {scene} ended with {status}").into()),
    }
}

/// Runs `act` in a forked child, which ends with it. The parent keeps its own copy of `kept`.
fn in_child<T>(kept: T, act: impl FnOnce(T)) -> T {
    // SAFETY: the process has one thread, so nothing that the child uses is locked by another.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "cannot fork");
    if child > 0 {
        return kept;
    }
    let ended = panic::catch_unwind(AssertUnwindSafe(|| act(kept)));
    // SAFETY: it does not return, and runs none of the exit handlers of the parent.
    unsafe { libc::_exit(i32::from(ended.is_err())) }
}

/// Waits until a child has ended, and ended well.
fn expect_child() {
    let (_, status) = wait(WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

/// A channel to itself: what goes into the second comes out of the first.
fn pair(ctx: &XenContext) -> [XenChannel; 2] {
    let first = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let remote = RemotePort {
        domid: DomId::SELF,
        port: first.port(),
    };
    let second = ctx.bind_interdomain(remote).unwrap();
    [first, second]
}

/// Turns the loop until each of these ports had a wake for an event.
fn expect_events(ctx: &XenContext, event_loop: &PollLoop, ports: &[Port]) {
    let mut missing = ports.to_vec();
    while !missing.is_empty() {
        let readiness = event_loop.wait(Some(PATIENCE)).unwrap();
        assert!(!readiness.timed_out(), "no event of {missing:?}");
        let mut round = ctx.dispatch().unwrap();
        for wake in &mut round {
            assert_eq!(wake.cause, Cause::Event);
            missing.retain(|port| *port != wake.port());
        }
        round.finish().unwrap();
    }
}

fn child_has_a_number_of_its_own() {
    let device = Device::open_at("/dev/null").unwrap();
    assert!(!device.is_inherited());
    let device = in_child(device, |device| {
        assert!(device.is_inherited());
        let own = Device::open_at("/dev/null").unwrap();
        assert!(!own.is_inherited());
        let (_, own) = in_child((device, own), |(device, own)| {
            assert!(device.is_inherited() && own.is_inherited());
        });
        expect_child();
        assert!(!own.is_inherited());
    });
    expect_child();
    assert!(!device.is_inherited());
    let adopted = device.as_fd().try_clone_to_owned().unwrap();
    assert!(!Device::from_fd(adopted).unwrap().is_inherited());
}

fn child_leaves_the_parent_alone() {
    let event_loop = PollLoop::new().unwrap();
    let ctx = Context::with_registrar(XenOpen::default(), event_loop.clone());
    let channels = pair(&ctx);
    channels[1].wait().unwrap();
    expect_events(&ctx, &event_loop, &[channels[1].port()]);
    for channel in &channels {
        channel.wait().unwrap();
    }
    let notifier = channels[1].notifier();

    let (ctx, channels, notifier) = in_child((ctx, channels, notifier), use_and_drop);
    expect_child();

    notifier.notify().unwrap();
    channels[0].notify().unwrap();
    let ports = channels.each_ref().map(Channel::port);
    expect_events(&ctx, &event_loop, &ports);
}

/// What a child must not be able to do.
fn use_and_drop((ctx, channels, notifier): (XenContext, [XenChannel; 2], Notifier)) {
    let bound = ctx.bind_unbound_port(DomId::SELF);
    assert!(matches!(bound, Err(Error::Inherited)));
    let waited = channels[0].wait();
    assert!(matches!(waited, Err(Error::Inherited)));
    let dispatched = ctx.dispatch().map(drop);
    assert!(matches!(dispatched, Err(Error::Inherited)));
    assert!(matches!(notifier.notify(), Err(Error::Inherited)));
    let [mut first, second] = channels;
    let unbound = first.unbind();
    assert!(matches!(unbound, Err(Error::Inherited)));
    drop((second, first, ctx, notifier));

    let own = Context::with_registrar(XenOpen::default(), PollLoop::new().unwrap());
    pair(&own)[1].notify().unwrap();
}

/// The old program. Of its four pairs the event of the first is latched, that of the second is in
/// the ring, that of the third comes during the exec, and that of the fourth after it.
fn hand_over() {
    let event_loop = PollLoop::new().unwrap();
    let ctx = Context::with_registrar(XenOpen::default(), event_loop.clone());
    let mut channels: Vec<_> = (0..4).flat_map(|_| pair(&ctx)).collect();
    let seconds: Vec<_> = channels.iter().skip(1).step_by(2).collect();
    for channel in &seconds {
        channel.wait().unwrap();
    }
    let ports: Vec<_> = seconds.iter().map(|channel| channel.port()).collect();
    expect_events(&ctx, &event_loop, &ports);

    // Latched: read together with an event of a channel that waits.
    channels[1].wait().unwrap();
    seconds[0].notify().unwrap();
    channels[0].notify().unwrap();
    expect_events(&ctx, &event_loop, &[channels[1].port()]);
    seconds[1].notify().unwrap();

    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    let Parts { device, table } = ctx.hand_over(&mut channels).unwrap();
    assert_eq!(table.ports(), ports);
    let device: Device = device.into_inner().unwrap();
    device.set_close_on_exec(false).unwrap();
    let (mut exec_has_begun, closed_by_exec) = std::io::pipe().unwrap();
    let third = table.ports()[5];
    let (device, closed_by_exec) = in_child((device, closed_by_exec), |(device, ours)| {
        drop(ours);
        exec_has_begun.read_to_end(&mut Vec::new()).unwrap();
        device.notify(third).unwrap();
    });
    let descriptor = device.as_raw_fd().to_string();
    let error = Command::new(env::current_exe().unwrap())
        .env(SCENE, "new")
        .env(DESCRIPTOR, descriptor)
        .env(TABLE, table.to_string())
        .exec();
    drop(closed_by_exec);
    panic!("cannot exec: {error}");
}

/// The new program.
fn go_on() {
    expect_child();
    let table = env::var(TABLE).unwrap().parse().unwrap();
    let descriptor: RawFd = env::var(DESCRIPTOR).unwrap().parse().unwrap();
    // SAFETY: the old program left it open for this one, and nothing else here uses it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let device = evtchn_core::Device::new(Device::from_fd(descriptor).unwrap());
    let event_loop = PollLoop::new().unwrap();
    let parts = Parts { device, table };
    let (ctx, channels) = Context::from_parts(parts, XenOpen::default(), event_loop.clone());

    for channel in &channels {
        channel.wait().unwrap();
    }
    let mut round = ctx.dispatch().unwrap();
    let wakes: Vec<_> = round.by_ref().map(|it| (it.channel, it.cause)).collect();
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    let adopted = channels.iter().map(|it| (it.id(), Cause::Adopted));
    assert_eq!(wakes, adopted.collect::<Vec<_>>());
    let firsts: Vec<_> = channels.iter().step_by(2).collect();
    for channel in &firsts {
        channel.wait().unwrap();
    }
    channels[7].notify().unwrap();
    let ports: Vec<_> = firsts.iter().map(|channel| channel.port()).collect();
    // What came before and during the exec is still there, and what comes after it comes too.
    expect_events(&ctx, &event_loop, &ports[1..]);
    channels[1].notify().unwrap();
    expect_events(&ctx, &event_loop, &ports[..1]);

    for mut channel in channels {
        channel.unbind().unwrap();
    }
    ctx.teardown().unwrap();
}
