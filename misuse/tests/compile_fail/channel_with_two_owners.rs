//! A port has one owner.
use evtchn_core::Channel;
use evtchn_sim::SimLoop;

fn misuse(channel: &Channel<SimLoop>) -> Channel<SimLoop> {
    channel.clone()
}

fn main() {}
