//! Contexts, channels and notifiers may go to any thread and be called from several; a round stays
//! with the thread that began it.

use static_assertions::{assert_impl_all, assert_not_impl_any};

macro_rules! any_thread_may_call {
    ($opener:ty, $event_loop:ty) => {
        type Device = <$opener as evtchn::Open>::Device;
        assert_impl_all!(evtchn::Context<$opener, $event_loop>: Send, Sync);
        assert_impl_all!(evtchn::Channel<$opener, $event_loop>: Send, Sync);
        assert_impl_all!(evtchn::Notifier<Device>: Send, Sync, Clone);
        assert_impl_all!(evtchn::Parts<Device>: Send, Sync);
        assert_not_impl_any!(evtchn::Round<'static, $opener, $event_loop>: Send, Sync);
    };
}

#[test]
fn any_thread_may_call_on_the_simulator() {
    any_thread_may_call!(evtchn::sim::SimOpen, evtchn::sim::SimLoop);
}

#[test]
fn any_thread_may_call_on_the_real_device() {
    any_thread_may_call!(evtchn::xen::XenOpen, evtchn::xen::PollLoop);
}
