//! Random calls, against a model of the wakes that a wait can rely on.

use evtchn::sim::Choice;
use evtchn::{Cause, DomId, Link, Port};

use super::rig;
use crate::common::{Channel, Rig};

/// What is known of the peer of one channel.
#[derive(Default)]
struct Model {
    peer_port: Option<Port>,
    /// The peer that the last `PeerConnected` reported, unless it was reported gone since.
    known: Option<Port>,
    /// A peer has sent an event, and was not reported gone since.
    has_sent: bool,
    waits: bool,
}

/// How many wakes reported a peer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reported {
    connected: u64,
    gone: u64,
}

impl Model {
    /// What the next check must report.
    fn news(&self) -> Option<Cause> {
        match (self.known, self.peer_port) {
            (Some(known), Some(peer_port)) => (known != peer_port).then_some(Cause::PeerGone),
            (Some(_), None) => Some(Cause::PeerGone),
            (None, None) => self.has_sent.then_some(Cause::PeerGone),
            (None, Some(_)) => Some(Cause::PeerConnected),
        }
    }

    /// A wake, which must agree with the model.
    fn woken(&mut self, cause: Cause, reported: &mut Reported) {
        match cause {
            Cause::Event => self.has_sent = true,
            Cause::PeerGone => {
                assert_eq!(self.news(), Some(cause), "a false alarm");
                (self.known, self.has_sent) = (None, false);
                reported.gone += 1;
            }
            Cause::PeerConnected => {
                assert_eq!(self.news(), Some(cause), "a false alarm");
                self.known = self.peer_port;
                reported.connected += 1;
            }
            Cause::Overflow | Cause::Adopted | Cause::Gone | _ => panic!("{cause:?}"),
        }
    }
}

#[test]
fn every_check_agrees_with_the_model() {
    let mut kinds = Reported::default();
    for seed in 0..200 {
        let rig = rig();
        let mut choice = Choice::seeded(seed);
        let channels: [Channel; 4] =
            std::array::from_fn(|_| rig.context.bind_unbound_port(rig.guest.domid()).unwrap());
        let mut models: [Model; 4] = std::array::from_fn(|_| Model::default());
        let mut reported = Reported::default();
        for _ in 0..200 {
            let which = choice.of(4);
            let (channel, model) = (&channels[which], &mut models[which]);
            let bind = || {
                let peer_port = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
                peer_port.unwrap()
            };
            match (choice.of(7), model.peer_port) {
                (0 | 6, None) => model.peer_port = Some(bind()),
                (0, Some(peer_port)) => {
                    rig.guest.close(peer_port).unwrap();
                    model.peer_port = None;
                }
                (6, Some(peer_port)) => {
                    rig.guest.close(peer_port).unwrap();
                    let between = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
                    model.peer_port = Some(bind());
                    rig.guest.close(between).unwrap();
                }
                (1, Some(peer_port)) => rig.guest.send(peer_port).unwrap(),
                (2, _) => {
                    channel.wait().unwrap();
                    model.waits = true;
                }
                (3, _) => {
                    let waited = std::mem::take(&mut model.waits);
                    assert_eq!(channel.cancel().unwrap(), waited, "seed {seed}");
                }
                (4, _) => {
                    rig.check();
                    round(&rig, &channels, &mut models, &mut reported);
                    let is_missing = |model: &&Model| model.waits && model.news().is_some();
                    let missing = models.iter().find(is_missing);
                    assert!(missing.is_none(), "seed {seed}: missing");
                }
                _ => round(&rig, &channels, &mut models, &mut reported),
            }
            let waits = models.iter().any(|model| model.waits);
            assert_eq!(rig.context.link() == Link::Watching, waits, "seed {seed}");
        }
        let stats = rig.context.stats();
        assert_eq!(
            (stats.peers_connected, stats.peers_gone),
            (reported.connected, reported.gone),
            "seed {seed}"
        );
        kinds.connected += reported.connected;
        kinds.gone += reported.gone;
    }
    assert!(kinds.connected > 500 && kinds.gone > 500, "{kinds:?}");
}

fn round(rig: &Rig, channels: &[Channel], models: &mut [Model], reported: &mut Reported) {
    for (port, cause) in rig.turn() {
        let place = channels.iter().position(|it| it.port() == port);
        let model = &mut models[place.unwrap()];
        assert!(std::mem::take(&mut model.waits), "a wake without a wait");
        model.woken(cause, reported);
    }
}
