//! The lanes of ports with callbacks, blocking threads, tasks and a hand-over, the same in each format.

use std::fs::File;
use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::task::{Context as Cx, Waker};
use std::time::Duration;

use evtchn::sim::{Guest, Sim, SimLoop, SimOpen};
use evtchn::{Backend, Cause, DomId, Port, Trigger};
use evtchn_trace::{Header, Source, Tape, observe};
use serde_json::Value;

use super::drawn::{drawn, events, file, lanes};

type Context = evtchn::Context<SimLoop>;
type Channel = evtchn::Channel<SimLoop>;

/// A program that is recorded to a file, and a guest.
struct Recorded {
    path: PathBuf,
    tape: Tape,
    opener: SimOpen,
    sim_loop: SimLoop,
    guest: Guest,
}

impl Recorded {
    fn new(name: &str) -> Recorded {
        let path = file(name);
        let header = Header::new(Source::Sim, Trigger::Level);
        let tape = Tape::new(&header, File::create(&path).unwrap());
        let sim = Sim::new(0);
        observe(&sim, &tape);
        Recorded {
            path,
            tape,
            opener: sim.open(DomId::DOM0),
            sim_loop: SimLoop::level(),
            guest: sim.guest(sim.create_domain().unwrap()),
        }
    }

    fn backend(&self) -> Backend {
        self.tape.record(self.opener.clone())
    }

    fn context(&self) -> Context {
        Context::with_registrar(self.backend(), self.sim_loop.clone())
    }

    fn connect(&self, context: &Context) -> (Channel, Port) {
        let channel = context.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, theirs.unwrap())
    }

    /// The lanes, which must be the same in all formats.
    fn lanes(self) -> Vec<Lane> {
        self.tape.finish().unwrap();
        let in_picture = in_picture(&drawn(&self.path, "svg"));
        assert_eq!(in_events(&drawn(&self.path, "json")), in_picture, "json");
        assert_eq!(in_page(&self.path), in_picture, "html");
        in_picture
    }
}

/// A lane: its states in order, and its marks sorted by name.
#[derive(Debug, PartialEq, Eq)]
struct Lane {
    states: Vec<String>,
    marks: Vec<String>,
}

fn sorted_lane(states: &[&str], marks: &[&str]) -> Lane {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let (states, mut marks): (_, Vec<String>) = (words(states), words(marks));
    marks.sort();
    Lane { states, marks }
}

/// The name in a title such as `wake: at once, line 7`.
fn title(title: &str) -> &str {
    title.split([',', ':']).next().unwrap()
}

fn in_picture(svg: &str) -> Vec<Lane> {
    fn words(titles: &[String]) -> Vec<&str> {
        titles.iter().map(|it| title(it)).collect()
    }
    let lanes = lanes(svg).into_iter();
    let lanes = lanes.map(|(_, states, marks)| sorted_lane(&words(&states), &words(&marks)));
    lanes.collect()
}

fn in_events(json: &str) -> Vec<Lane> {
    let all = events(json);
    let numbers = all.iter().filter_map(|it| it["tid"].as_u64());
    let count = numbers.max().unwrap();
    let lanes = (1..=count).map(|lane| {
        let names = |phase: &str| -> Vec<&str> {
            let of_lane = all
                .iter()
                .filter(|it| it["tid"] == lane && it["ph"] == phase);
            of_lane.map(|it| it["name"].as_str().unwrap()).collect()
        };
        sorted_lane(&names("B"), &names("i"))
    });
    lanes.collect()
}

fn in_page(trace: &Path) -> Vec<Lane> {
    let page = drawn(trace, "html");
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let lanes = data["lanes"].as_array().unwrap().iter().map(|lane| {
        // Three numbers each: the third of a state and the second of a mark is the index of its name.
        let names = |what: &str, names: &str, place: usize, name: usize| -> Vec<String> {
            let numbers = lane[what].as_array().unwrap().iter();
            let numbers = numbers.skip(place).step_by(3);
            let names = numbers
                .map(|it| usize::try_from(it.as_u64().unwrap()).unwrap())
                .map(|it| &data[names][it][name]);
            names.map(|it| it.as_str().unwrap().to_owned()).collect()
        };
        let (states, mut marks) = (
            names("spans", "states", 2, 0),
            names("marks", "kinds", 1, 1),
        );
        marks.sort();
        Lane { states, marks }
    });
    lanes.collect()
}

#[test]
fn a_callback_is_a_wake_and_its_port_waits_again_after_wait_each() {
    let recorded = Recorded::new("callbacks.trace");
    let context = recorded.context();
    let (mut channel, theirs) = recorded.connect(&context);
    let called = |wake: evtchn::Wake| assert_eq!(wake.cause, Cause::Event);
    channel.set_callback(called).unwrap();
    channel.wait_each().unwrap();
    recorded.guest.send(theirs).unwrap();
    context.dispatch_callbacks().unwrap();
    assert!(channel.cancel().unwrap());
    channel.wait().unwrap();
    recorded.guest.send(theirs).unwrap();
    context.dispatch_callbacks().unwrap();
    channel.unbind().unwrap();
    context.teardown().unwrap();
    drop(context);
    let lanes = recorded.lanes();
    assert_eq!(
        lanes[1],
        sorted_lane(
            &[
                "live",
                "waiting",
                "unmasking",
                "waiting",
                "live",
                "waiting",
                "masked"
            ],
            &[
                "bind",
                "sent by the other end",
                "wake",
                "sent by the other end",
                "wake",
                "unbind"
            ]
        )
    );
    let twice = ["idle", "watching", "idle", "watching", "idle"];
    assert_eq!(lanes[0].states, twice);
    assert_eq!(lanes.len(), 2);
}

#[test]
fn a_port_is_waiting_while_its_thread_blocks() {
    let recorded = Recorded::new("blocks.trace");
    let context = recorded.context();
    let (channel, theirs) = recorded.connect(&context);
    let until = recorded.sim_loop.now() + Duration::from_secs(1);
    assert_eq!(channel.block_until(until).unwrap(), None);
    let guest = recorded.guest.clone();
    recorded
        .sim_loop
        .while_asleep(move || guest.send(theirs).unwrap());
    assert_eq!(channel.block().unwrap(), Cause::Event);
    recorded.guest.send(theirs).unwrap();
    assert_eq!(channel.block().unwrap(), Cause::Event);
    drop((channel, context));
    let lanes = recorded.lanes();
    assert_eq!(
        lanes[1],
        sorted_lane(
            &[
                "live",
                "waiting",
                "live",
                "waiting",
                "ready",
                "masked",
                "unmasking",
                "waiting",
                "ready",
                "masked"
            ],
            &[
                "bind",
                "sent by the other end",
                "wake",
                "sent by the other end",
                "wake",
                "unbind"
            ]
        )
    );
}

#[test]
fn a_port_is_waiting_while_its_task_is_pending() {
    let recorded = Recorded::new("tasks.trace");
    let context = recorded.context();
    let (channel, theirs) = recorded.connect(&context);
    let mut cx = Cx::from_waker(Waker::noop());
    let mut woken = Box::pin(channel.woken());
    assert!(woken.as_mut().poll(&mut cx).is_pending());
    recorded.guest.send(theirs).unwrap();
    context.drive().unwrap();
    assert!(woken.as_mut().poll(&mut cx).is_ready());
    assert!(woken.as_mut().poll(&mut cx).is_pending());
    drop(woken);
    drop((channel, context));
    let lanes = recorded.lanes();
    assert_eq!(
        lanes[1],
        sorted_lane(
            &[
                "live",
                "waiting",
                "ready",
                "masked",
                "unmasking",
                "waiting",
                "live"
            ],
            &["bind", "sent by the other end", "wake", "unbind"]
        )
    );
}

#[test]
fn a_handed_over_port_ends_and_begins_again_with_an_adopted_wake() {
    let recorded = Recorded::new("handed-over.trace");
    let context = recorded.context();
    let (channel, theirs) = recorded.connect(&context);
    channel.wait().unwrap();
    let parts = context.hand_over(&mut [channel]).unwrap();
    recorded.guest.send(theirs).unwrap();
    let (context, channels) =
        Context::from_parts(parts, recorded.backend(), recorded.sim_loop.clone());
    let [channel] = &channels[..] else {
        unreachable!()
    };
    channel.wait().unwrap();
    let mut round = context.dispatch_at_most(1).unwrap();
    let wake = round.next().unwrap();
    assert_eq!((wake.channel, wake.cause), (channel.id(), Cause::Adopted));
    channel.wait().unwrap();
    round.finish().unwrap();
    assert_eq!(context.dispatch().unwrap().count(), 1);
    drop(channels);
    context.teardown().unwrap();
    drop(context);
    let lanes = recorded.lanes();
    assert_eq!(
        lanes[1],
        sorted_lane(
            &[
                "live",
                "waiting",
                "latched",
                "ready",
                "masked",
                "unmasking",
                "waiting",
                "masked"
            ],
            &[
                "bind",
                "unbind",
                "bind",
                "sent by the other end",
                "wake without an event",
                "wake",
                "unbind"
            ]
        )
    );
    // The device is closed between the two idle states.
    let of_device = ["idle", "watching", "idle", "idle", "watching", "idle"];
    assert_eq!(lanes[0].states, of_device);
}
