//! An unbind needs a channel that no task borrows any more.
use evtchn::poll::Channel;

async fn answer(channel: &Channel) {
    let _ = channel.woken().await;
    let _ = channel.notify();
}

async fn misuse(mut channel: Channel) {
    let answer = answer(&channel);
    let _ = channel.unbind();
    answer.await;
}

fn main() {}
