//! Records loopback channels on a simulated device (`sim::`) and on `/dev/xen/evtchn` (`xen::`), then
//! replays the trace with its answers and on the simulator.
//!
//! Without the device the cases of `xen::` are ignored with a message; with `EVTCHN_REQUIRE_XEN=1` they
//! fail. `cargo xtask xen` boots a machine that has the device.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support {
    pub(crate) mod changed;
    pub(crate) mod loopback;
    pub(crate) mod memory;
    pub(crate) mod seal;
}

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use evtchn_core::{Backend, Context, DomId, Registrar, Trigger};
use evtchn_sim::{Sim, SimLoop};
use evtchn_trace::{Answer, Header, Record, Replayed, Source, Tape, Trace, replay, replay_on_sim};
use evtchn_xen::{DEVICE_PATH, PollLoop, XenOpen};
use libtest_mimic::{Arguments, Trial};
use support::changed::changed_bytes;
use support::loopback::loopback;
use support::memory::Memory;

fn record<R: Registrar>(
    header: &Header,
    backend: impl Into<Backend>,
    event_loop: R,
    ready: impl FnMut() -> bool,
) -> Vec<u8> {
    let memory = Memory::default();
    let tape = Tape::new(header, memory.clone());
    let backend = backend.into();
    let ctx = Context::with_registrar(tape.record(backend.clone()), event_loop);
    let peer = tape.open_peer(backend).unwrap();
    let wakes = loopback(&ctx, &peer, ready);
    assert!(wakes > 15, "{wakes} wakes");
    drop((peer, ctx));
    tape.finish().unwrap();
    memory.bytes()
}

fn on_sim() -> Vec<u8> {
    let sim = Sim::new(0);
    let event_loop = SimLoop::level();
    let ready = event_loop.clone();
    let mut header = Header::new(Source::Xen, Trigger::Level);
    header.cpus = Some(1);
    let opener = sim.open(DomId::DOM0);
    record(&header, opener, event_loop, move || ready.ready())
}

fn on_xen() -> Vec<u8> {
    let event_loop = PollLoop::new().unwrap();
    let ready = event_loop.clone();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let mut header = Header::new(Source::Xen, Trigger::Level);
    header.cpus = Some(cpus);
    // On one CPU an event is in the ring when the call that sends it returns.
    let timeout = Duration::from_millis(if cpus == 1 { 0 } else { 100 });
    let ready = move || ready.wait(Some(timeout)).unwrap().ready;
    record(&header, XenOpen::default(), event_loop, ready)
}

fn same(replayed: Replayed) -> usize {
    match replayed {
        Replayed::Same(tally) => {
            assert!(tally.backend_calls > 60, "{tally:?}");
            tally.calls
        }
        Replayed::Differs(difference) => panic!("{difference}"),
    }
}

fn replays_the_same_over_its_answers_and_on_the_simulator(recorded: fn() -> Vec<u8>) {
    let bytes = recorded();
    let trace = Trace::read(&bytes).unwrap();
    let calls = same(replay(&trace).unwrap());
    assert_eq!(same(replay_on_sim(&trace).unwrap()), calls);
    eprintln!("{} lines, {calls} calls of the program", trace.lines.len());
}

fn maps_ports_that_have_other_numbers(recorded: fn() -> Vec<u8>) {
    let text = String::from_utf8(recorded()).unwrap();
    let trace = Trace::read(text.as_bytes()).unwrap();
    let port = trace.lines.iter().find_map(|line| {
        if let Record::Answer(Answer::Bound { port, .. }) = &line.record {
            return Some(port.as_raw());
        }
        None
    });
    // The same run on a machine where the first port has another number.
    let (old, new) = (port.unwrap(), 777);
    let mut lines = String::new();
    for line in text.lines().filter(|line| !line.starts_with("{\"end\"")) {
        lines += &renumbered(line, old, new);
        lines.push('\n');
    }
    lines += &support::seal::seal(lines.as_bytes());
    let trace = Trace::read(lines.as_bytes()).unwrap();
    let calls = same(replay(&trace).unwrap());
    assert_eq!(same(replay_on_sim(&trace).unwrap()), calls);
}

fn one_changed_byte_is_refused_or_differs(recorded: fn() -> Vec<u8>) {
    let bytes = recorded();
    let raw = changed_bytes(&bytes, false, replay);
    assert_eq!(raw.refused, 100);
    let sealed = changed_bytes(&bytes, true, replay);
    assert!(sealed.differs > 20, "{sealed:?}");
    let on_sim = changed_bytes(&bytes, true, replay_on_sim);
    assert!(on_sim.differs > 20, "{on_sim:?}");
    eprintln!("100 changed bytes: {raw:?}; sealed again: {sealed:?}; on the simulator: {on_sim:?}");
}

/// The line with another number for this port, wherever a port stands.
fn renumbered(line: &str, old: u32, new: u32) -> String {
    let mut object: serde_json::Value = serde_json::from_str(line).unwrap();
    let unmask = object["seam"] == "unmask";
    let replace = |value: &mut serde_json::Value| {
        if *value == old {
            *value = new.into();
        }
    };
    for field in ["port", "got", "ports"] {
        match object.get_mut(field) {
            Some(serde_json::Value::Array(ports)) => ports.iter_mut().for_each(replace),
            // The count of an unmask is no port.
            Some(_) if unmask && field == "got" => {}
            Some(value) => replace(value),
            None => {}
        }
    }
    object.to_string()
}

type Test = (&'static str, fn(fn() -> Vec<u8>));

const TESTS: [Test; 3] = [
    (
        "a_loopback_run_replays_the_same_over_its_answers_and_on_the_simulator",
        replays_the_same_over_its_answers_and_on_the_simulator,
    ),
    (
        "ports_that_have_other_numbers_are_mapped",
        maps_ports_that_have_other_numbers,
    ),
    (
        "one_changed_byte_is_refused_or_differs",
        one_changed_byte_is_refused_or_differs,
    ),
];

fn main() -> ExitCode {
    let is_there = fs::exists(DEVICE_PATH).unwrap_or(true);
    let is_required = std::env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|it| it == "1");
    if !is_there {
        eprintln!("SKIPPED: the half on the real device, for there is no {DEVICE_PATH}");
    }
    let mut trials = Vec::new();
    for (name, test) in TESTS {
        let trial = Trial::test(format!("sim::{name}"), move || {
            test(on_sim);
            Ok(())
        });
        trials.push(trial);
        let trial = Trial::test(format!("xen::{name}"), move || {
            test(on_xen);
            Ok(())
        });
        trials.push(trial.with_ignored_flag(!is_there && !is_required));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
