//! The device as a C program sees it, call by call: numbers and pointers that the typed device
//! cannot pass, access modes, and threads that sleep in a read.
//!
//! Every case runs on the simulator (`sim::`) and, the same code, on `/dev/xen/evtchn` (`xen::`),
//! as the contract suite does; this one needs unsafe code. Without the device its half is ignored,
//! and with `EVTCHN_REQUIRE_XEN=1` it fails.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "cases fail by panicking, and so do their helpers"
)]

use std::env;

use evtchn_sim::Platform;
use evtchn_xen::DEVICE_PATH;
use libtest_mimic::{Arguments, Completion, Trial};

#[path = "../shared/hypercall.rs"]
#[expect(unsafe_code, reason = "hypercalls take addresses")]
mod hypercall;
mod memory;
#[path = "../shared/pair.rs"]
mod pair;
mod requests;
mod side;
mod sim;
mod sleep;
mod statics;
mod xen;

use side::Side;

macro_rules! cases {
    ($($topic:ident { $($case:ident)* })*) => {
        /// Every case on one side.
        fn cases<S: Side + 'static>(
            name: &str,
            start: fn() -> S,
            excuse: fn() -> Result<Option<String>, String>,
        ) -> Vec<Trial> {
            let trial = |topic: &'static str, case: &str, run: fn(&S)| {
                Trial::ignorable_test(format!("{name}::{case}"), move || {
                    if let Some(reason) = excuse()? {
                        return Ok(Completion::ignored_with(reason));
                    }
                    let side = start();
                    if topic == "statics" && !side.knows_static() {
                        let reason = "this Linux has no static binds";
                        return Ok(Completion::ignored_with(reason));
                    }
                    run(&side);
                    Ok(Completion::Completed)
                })
            };
            vec![$($(trial(stringify!($topic), stringify!($case), $topic::$case::<S>),)*)*]
        }
    };
}

cases! {
    requests {
        an_unknown_request_is_enosys_before_any_pointer_is_touched
        a_bad_pointer_is_efault_to_every_request
        a_restriction_comes_before_the_pointer_except_for_an_interdomain_bind
        reset_ignores_its_argument
        requests_for_every_file_are_answered_before_the_driver_is_asked
        the_hypercall_sees_16_bits_of_the_domain
        the_restriction_compares_all_32_bits
        restrict_reads_16_bits
        port_0_is_never_bound
        numbers_of_32_bits_are_einval_to_unbind_and_enotconn_to_notify
        every_request_and_poll_work_in_every_access_mode
    }
    memory {
        a_read_into_bad_memory_is_efault_and_consumes_nothing
        a_read_that_returns_nothing_needs_no_memory
        a_write_from_bad_memory_is_efault_and_enables_nothing
        a_read_of_a_file_for_writing_is_ebadf_before_everything
        a_write_of_a_file_for_reading_is_ebadf_before_everything
        a_map_is_enodev_and_eacces_without_reading
        a_vector_is_moved_segment_by_segment_until_one_is_not_filled
    }
    statics {
        a_static_bind_returns_0_and_what_was_pending_comes_at_once
        a_second_static_bind_of_one_file_is_eisconn_and_changes_nothing
        events_go_both_ways_and_are_one_until_the_port_is_enabled
        an_unbind_leaves_the_channel_open_and_its_events_to_the_next_bind
        a_close_leaves_the_channel_open_and_its_events_to_the_next_file
        an_event_that_was_read_and_not_enabled_is_over_at_the_next_bind
        a_restricted_file_binds_static_ports
        no_other_bind_takes_a_static_port
        a_static_port_whose_peer_is_gone_has_no_event_and_can_be_bound_again
    }
    sleep {
        a_blocking_read_sleeps_until_an_event
        a_signal_ends_a_read_with_eintr
        a_signal_that_restarts_leaves_the_read_asleep
        nonblocking_wakes_no_sleeper_and_ends_the_read_that_a_signal_restarts
        reset_and_unbind_wake_no_sleeper
        the_peers_close_wakes_no_sleeper
        of_two_sleepers_one_gets_the_event_and_the_other_sleeps_on
        a_write_goes_on_while_a_read_sleeps
        close_returns_while_a_read_sleeps_and_the_ports_stay_until_it_ends
    }
}

type Start = fn() -> sim::Sim;

/// The default of the simulator, and platforms on which answers differ from it.
const SIMULATED: &[(&str, Start)] = &[
    ("sim", || sim::Sim::new(Platform::LINUX_6_1_ON_XEN_4_17)),
    ("sim_6_12", || {
        sim::Sim::new(Platform::LINUX_6_12_ON_XEN_4_20)
    }),
    ("sim_arm64", || {
        sim::Sim::new(Platform::LINUX_7_3_ON_XEN_4_20_ARM64)
    }),
];

fn excuse() -> Result<Option<String>, String> {
    if std::fs::exists(DEVICE_PATH).unwrap_or(true) {
        return Ok(None);
    }
    let reason = format!("no {DEVICE_PATH}");
    match env::var_os("EVTCHN_REQUIRE_XEN") {
        Some(value) if value == "1" => Err(reason),
        _ => Ok(Some(reason)),
    }
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Port numbers belong to the whole domain, so cases take turns.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for (name, start) in SIMULATED {
        trials.extend(cases(name, *start, || Ok(None)));
    }
    trials.extend(cases("xen", xen::Xen::new, excuse));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let (Ok(Some(reason)), 1..) = (excuse(), conclusion.num_ignored) {
        eprintln!("xen: skipped, {reason} (run `cargo xtask xen`)");
    }
    conclusion.exit();
}
