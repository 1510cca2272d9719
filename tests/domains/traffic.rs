//! Traffic in which every notify is accounted for: each side sends once for each wake, so both counts are exact.

use evtchn_core::Cause;

use super::rig::*;
use super::side::{Guest, Side};

pub(crate) fn a_ping_pong_between_two_contexts_is_one_wake_for_each_notify<S: Side>(side: &S) {
    const PINGS: u32 = 500;
    let (guest, rig) = (side.guest(), Rig::new(side));
    let channel = rig.offer(&guest);
    let echo = guest.echo(&[channel.port()]);
    rig.expect_quiet();
    let mut pongs = 0;
    for ping in 1..=PINGS {
        channel.notify().unwrap();
        while pongs < ping {
            rig.turn(|wake| {
                assert_eq!(wake.cause, Cause::Event);
                rig.context.wait(wake.channel).unwrap();
                pongs += 1;
            });
        }
        assert_eq!(pongs, ping);
    }
    rig.expect_quiet();
    assert_eq!(guest.stop(echo), PINGS);
    let stats = rig.context.stats();
    assert_eq!(
        (stats.wakes, stats.spurious, stats.overflows),
        (u64::from(PINGS), 0, 0)
    );
}

pub(crate) fn two_hundred_channels_and_four_contexts_lose_nothing<S: Side>(side: &S) {
    const EACH: usize = 50;
    const PINGS: usize = 3;
    let guest = side.guest();
    let rigs: Vec<Rig> = (0..4).map(|_| Rig::new(side)).collect();
    let channels: Vec<Vec<Channel>> = rigs
        .iter()
        .map(|rig| (0..EACH).map(|_| rig.offer(&guest)).collect())
        .collect();
    // Two contexts there, for channels of all contexts here.
    let ports: Vec<_> = channels.iter().flatten().map(Channel::port).collect();
    let (even, odd): (Vec<_>, Vec<_>) = ports.iter().partition(|it| it.as_raw() % 2 == 0);
    let echoes = [&even, &odd].map(|ports| (guest.echo(ports), ports.len() * PINGS));

    for _ in 0..PINGS {
        for channel in channels.iter().flatten() {
            channel.notify().unwrap();
        }
        for (rig, channels) in rigs.iter().zip(&channels) {
            let mut woken = Vec::new();
            while woken.len() < EACH {
                rig.turn(|wake| {
                    woken.push(wake.channel);
                    rig.context.wait(wake.channel).unwrap();
                });
            }
            // Each once, and none of another context.
            woken.sort();
            let mut expected: Vec<_> = channels.iter().map(Channel::id).collect();
            expected.sort();
            assert_eq!(woken, expected);
        }
    }
    for (echo, wakes) in echoes {
        assert_eq!(guest.stop(echo) as usize, wakes);
    }
    for rig in &rigs {
        rig.expect_quiet();
        assert_eq!(rig.context.stats().spurious, 0);
    }
}

pub(crate) fn an_event_goes_to_the_program_that_bound_the_port<S: Side>(side: &S) {
    use evtchn_core::EventChannel;
    let guest = side.guest();
    let (one, two) = (open(side), open(side));
    let (there_one, there_two) = (guest.open(), guest.open());
    let (near_one, far_one) = connect(&one, &guest, &there_one);
    let (near_two, far_two) = connect(&two, &guest, &there_two);
    there_two.notify(far_two, 1);
    expect_event(&two, near_two);
    expect_quiet(&one);
    one.notify(near_one).unwrap();
    assert!(there_two.read().is_empty());
    assert_eq!(there_one.read(), [far_one.as_raw()]);
    there_one.close();
    there_two.close();
}
