//! Calls at random, against a model of what a wait can count on.

use evtchn::sim::Choice;
use evtchn::{Cause, DomId, Link, Port, Wait};

use super::rig;
use crate::common::{Channel, Rig};

/// What a wait on one channel can count on.
#[derive(Default)]
struct Model {
    theirs: Option<Port>,
    /// A check or a bind saw it connected, and no wake said since that it is not.
    seen: bool,
    waits: bool,
}

#[test]
fn whatever_happens_no_alarm_is_false_and_none_is_missing() {
    for seed in 0..200 {
        let rig = rig();
        let mut choice = Choice::seeded(seed);
        let channels: [Channel; 4] =
            std::array::from_fn(|_| rig.context.bind_unbound_port(rig.guest.domid()).unwrap());
        let mut models: [Model; 4] = std::array::from_fn(|_| Model::default());
        let mut alarms = 0;
        for _ in 0..200 {
            let which = choice.of(4);
            let (channel, model) = (&channels[which], &mut models[which]);
            match (choice.of(6), model.theirs) {
                (0, None) => {
                    let theirs = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
                    model.theirs = Some(theirs.unwrap());
                }
                (0, Some(theirs)) => {
                    rig.guest.close(theirs).unwrap();
                    model.theirs = None;
                }
                (1, Some(theirs)) => rig.guest.send(theirs).unwrap(),
                (2, _) => match channel.wait().unwrap() {
                    Wait::Pending => model.waits = true,
                    Wait::Ready(cause) => alarms += woken(model, cause),
                },
                (3, _) => {
                    channel.cancel().unwrap();
                    model.waits = false;
                }
                (4, _) => {
                    for model in models.iter_mut().filter(|model| model.waits) {
                        model.seen |= model.theirs.is_some();
                    }
                    rig.check();
                    alarms += round(&rig, &channels, &mut models);
                    let lost = |model: &Model| model.seen && model.theirs.is_none();
                    let missing = models.iter().find(|model| model.waits && lost(model));
                    assert!(missing.is_none(), "seed {seed}: missing");
                }
                _ => alarms += round(&rig, &channels, &mut models),
            }
            let waits = models.iter().any(|model| model.waits);
            assert_eq!(rig.context.link() == Link::Watching, waits, "seed {seed}");
        }
        assert_eq!(rig.context.stats().peers_gone, alarms, "seed {seed}");
    }
}

/// One round; says how many alarms it brought.
fn round(rig: &Rig, channels: &[Channel], models: &mut [Model]) -> u64 {
    let wakes = rig.turn().into_iter().map(|(port, cause)| {
        let place = channels.iter().position(|it| it.port() == port);
        let model = &mut models[place.unwrap()];
        assert!(std::mem::take(&mut model.waits), "nobody waits there");
        woken(model, cause)
    });
    wakes.sum()
}

/// A wake: 1 where it is an alarm, which must not be false.
fn woken(model: &mut Model, cause: Cause) -> u64 {
    if cause != Cause::PeerGone {
        return 0;
    }
    assert!(std::mem::take(&mut model.seen), "it never had a peer");
    1
}
