//! One suite for every adapter: a context in a real event loop, on the simulator (`sim::`) and,
//! the same code, on `/dev/xen/evtchn` (`xen::`). A trial is `side::adapter::case`.
//!
//! Without the device, or with more than one vCPU, the second half is ignored, and said to be;
//! with `EVTCHN_REQUIRE_XEN=1` it fails without the device. `cargo xtask xen --test loops` boots
//! a machine that has it.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "cases fail by panicking, and so do their helpers"
)]

use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Completion, Trial};

mod loops {
    pub(crate) mod adapters;
    pub(crate) mod alone;
    pub(crate) mod backends;
    mod bench;
    pub(crate) mod calls;
    pub(crate) mod device;
    pub(crate) mod events;
    pub(crate) mod libxl;
    pub(crate) mod life;
    pub(crate) mod link;
    pub(crate) mod on_calloop;
    pub(crate) mod on_hooks;
    pub(crate) mod on_tasks;
    pub(crate) mod rig;
    pub(crate) mod runtimes;
    pub(crate) mod tasks;
    pub(crate) mod threads;
}

use loops::adapters::{OnMio, OnPollLoop, OnPolling};
use loops::backends::{Sim, Xen};
use loops::device::Backend;
use loops::on_calloop::OnCalloop;
use loops::on_hooks::{OnArray, OnHooks};
use loops::on_tasks::{OnTasks, Runtime};
use loops::rig::Rig;
use loops::runtimes::{AsyncIo, Tokio};

macro_rules! cases {
    ($($topic:ident { $($case:ident)* })*) => {
        /// Every case on one adapter. A case that is not in the list is dead code, and the
        /// compiler says so.
        fn cases<B: Backend, A: Rig<B>>() -> Vec<Trial> {
            vec![$($(trial::<B, A>(
                stringify!($topic),
                stringify!($case),
                loops::$topic::$case::<B, A>,
            ),)*)*]
        }
    };
}

cases! {
    link {
        the_first_wait_registers_and_the_last_wake_deregisters_after_the_round
        a_wait_inside_the_round_costs_no_registration
        an_idle_context_has_no_entry_in_the_loop
        cancel_of_the_last_waiter_deregisters
        unbind_while_waiting_deregisters
        a_refused_registration_leaves_nothing
        a_refused_deregistration_is_tried_again
        two_contexts_in_one_loop_have_their_own_wakes_or_one_is_refused
    }
    events {
        an_event_before_the_registration_is_reported
        an_overflow_of_a_registered_device_wakes_every_waiter
        an_overflow_before_the_registration_wakes_every_waiter
        a_thousand_channels_wake_and_wake_again
        a_budget_leaves_the_rest_to_the_next_turns
        a_budget_that_ends_at_a_full_read_leaves_the_rest_to_the_next_turn
        a_storm_leaves_the_others_their_turn
        an_event_inside_the_round_is_not_lost
        a_round_that_is_dropped_leaves_its_wakes_to_the_next_turn
    }
    calls {
        a_callback_that_waits_again_costs_no_registration
        cancel_inside_a_callback_keeps_the_event
        a_bind_inside_a_callback_brings_its_event
        a_panic_in_a_callback_leaves_the_rest_to_the_next_turn
    }
    threads {
        a_wake_before_the_sleep_ends_it
        an_event_reaches_a_loop_that_sleeps
        a_cancel_from_another_thread_deregisters_under_the_sleep
        threads_that_wait_and_cancel_while_the_loop_runs_leave_nothing
    }
    life {
        teardown_leaves_nothing_and_the_next_bind_opens_again
        a_context_dropped_first_leaves_channels_and_loop
        a_loop_dropped_first_leaves_a_context_that_ends_well
        a_channel_dropped_first_ends_its_wait
    }
    libxl {
        a_readiness_after_the_cancel_calls_no_callback
        a_readiness_without_an_event_is_harmless
        a_wait_in_another_thread_reaches_a_loop_that_sleeps
        a_callback_queued_in_another_thread_reaches_a_loop_that_sleeps
    }
    alone {
        a_device_opened_again_under_the_same_number_is_watched_anew
        no_descriptor_outlives_its_loop
        no_thread_is_made
    }
}

/// The cases of tasks, which only an async runtime has.
fn task_cases<B: Backend, T: Runtime<B>>() -> Vec<Trial> {
    macro_rules! trials {
        ($($case:ident)*) => {
            vec![$(trial::<B, OnTasks<B, T>>(
                "tasks",
                stringify!($case),
                loops::tasks::$case::<B, T>,
            )),*]
        };
    }
    trials! {
        each_event_wakes_a_future
        an_overflow_wakes_every_future
        a_future_that_is_dropped_leaves_its_event_to_the_next_one
        a_stream_of_channels_registers_once
    }
}

/// Cases that look at the descriptors or the threads of the whole process run alone, and so does every case of a
/// loop that the whole process has.
static DESCRIPTORS: RwLock<()> = RwLock::new(());

fn trial<B: Backend, A: Rig<B>>(topic: &str, case: &str, run: fn(B)) -> Trial {
    let is_alone = topic == "alone" || A::ONE_FOR_ALL;
    let name = format!("{}::{}::{case}", B::NAME, A::NAME);
    Trial::ignorable_test(name, move || {
        if let Some(reason) = B::excuse()? {
            return Ok(Completion::ignored_with(reason));
        }
        // A case that failed says nothing against the next one.
        let (_alone, _shared);
        if is_alone {
            _alone = DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _shared = DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner);
        }
        run(B::start());
        Ok(Completion::Completed)
    })
}

fn on_tasks<B: Backend, T: Runtime<B>>() -> Vec<Trial> {
    let mut trials = cases::<B, OnTasks<B, T>>();
    trials.extend(task_cases::<B, T>());
    trials
}

/// Every case on every adapter.
fn side<B: Backend>() -> Vec<Trial> {
    let mut trials = cases::<B, OnPollLoop<B>>();
    trials.extend(cases::<B, OnPolling<B>>());
    trials.extend(cases::<B, OnMio<B>>());
    trials.extend(cases::<B, OnCalloop<B>>());
    trials.extend(cases::<B, OnHooks<B>>());
    trials.extend(cases::<B, OnArray<B>>());
    trials.extend(on_tasks::<B, Tokio<false>>());
    trials.extend(on_tasks::<B, Tokio<true>>());
    trials.extend(on_tasks::<B, AsyncIo>());
    trials
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = side::<Sim>();
    trials.extend(side::<Xen>());
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let (Ok(Some(reason)), 1..) = (Xen::excuse(), conclusion.num_ignored) {
        eprintln!("xen: skipped, {reason} (run `cargo xtask xen --test loops`)");
    }
    conclusion.exit();
}
