//! Only a bind makes the id of a channel.
use evtchn::{ChannelId, Port};

fn misuse(port: Port) -> ChannelId {
    ChannelId {
        port,
        generation: 1,
    }
}

fn main() {}
