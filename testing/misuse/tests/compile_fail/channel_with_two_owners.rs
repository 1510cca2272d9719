//! A port has one owner.
use evtchn::Channel;
use evtchn::sim::SimLoop;

fn misuse(channel: &Channel<SimLoop>) -> Channel<SimLoop> {
    channel.clone()
}

fn main() {}
