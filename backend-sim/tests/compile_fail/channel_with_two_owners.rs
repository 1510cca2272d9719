//! A port has one owner.
use evtchn_core::Channel;
use evtchn_sim::{SimLoop, SimOpen};

fn misuse(channel: &Channel<SimOpen, SimLoop>) -> Channel<SimOpen, SimLoop> {
    channel.clone()
}

fn main() {}
