//! A round belongs to its thread, so a task that may move to another one cannot hold it over an await.
use std::future::{Future, ready};

use evtchn::poll::Context;

fn spawn<F: Future<Output = ()> + Send + 'static>(_task: F) {}

fn misuse(ctx: Context) {
    spawn(async move {
        let Ok(round) = ctx.dispatch() else {
            return;
        };
        for wake in round {
            ready(wake).await;
        }
    });
}

fn main() {}
