//! Contexts, channels and notifiers may move to any thread and be called from several; a round
//! stays with the thread that began it.

use static_assertions::{assert_impl_all, assert_not_impl_any};

macro_rules! any_thread_may_call {
    ($opener:ty, $event_loop:ty) => {
        assert_impl_all!($opener: Into<evtchn::Backend>);
        assert_impl_all!(evtchn::Context<$event_loop>: Send, Sync, Clone);
        assert_impl_all!(evtchn::Channel<$event_loop>: Send, Sync);
        assert_impl_all!(evtchn::Notifier: Send, Sync, Clone);
        assert_impl_all!(evtchn::Backend: Send, Sync, Clone);
        assert_impl_all!(evtchn::Device: Send, Sync, Clone);
        assert_impl_all!(evtchn::Parts: Send, Sync);
        assert_impl_all!(evtchn::Error: Send, Sync, Clone);
        assert_not_impl_any!(evtchn::Round<'static, $event_loop>: Send, Sync);
    };
}

#[test]
fn any_thread_may_call_on_the_simulator() {
    any_thread_may_call!(evtchn::sim::SimOpen, evtchn::sim::SimLoop);
}

#[test]
fn any_thread_may_call_on_the_real_device() {
    any_thread_may_call!(evtchn::xen::XenOpen, evtchn::poll::PollLoop);
}
