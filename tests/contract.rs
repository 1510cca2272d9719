//! The contract between the core, its backends and the real thing: one list of cases, run on the
//! simulator (`sim::`) and, the same code, on `/dev/xen/evtchn` (`xen::`).
//!
//! A case is a fact. If the two sides differ, the device is right.
//!
//! Without the device, or with more than one vCPU, the second half is ignored, and reported as
//! ignored; with `EVTCHN_REQUIRE_XEN=1` it fails without the device. `cargo xtask xen` boots a
//! machine that has it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "cases fail by panicking, and so do their helpers"
)]

use std::sync::Arc;

use evtchn_core::Sleep;
use libtest_mimic::{Completion, Trial};

mod batches;
mod bind;
mod blocking;
mod deliver;
mod epoll;
mod errors;
mod files;
mod half_closed;
mod life;
mod numbers;
mod overflow;
mod peers;
mod platform;
mod recovery;
mod rig;
mod ring;
mod rounds;
mod sim;
mod spy;
mod status;
mod unfit;
mod unmask;
mod waiting;
mod xen;

use platform::Platform;
use sim::Sim;
use unfit::Unfit;
use xen::Xen;

macro_rules! cases {
    ($($topic:ident { $($case:ident)* })*) => {
        /// Every case on one side. A case that is not in the list is dead code, which the compiler
        /// reports.
        fn cases<P: Platform + 'static>(side: &Side<P>) -> Vec<Trial> {
            vec![$($(side.trial(stringify!($case), $topic::$case::<P>),)*)*]
        }
    };
}

cases! {
    bind {
        an_unbound_port_has_no_event
        an_interdomain_port_has_one_event_at_once
        a_virq_port_has_no_event
        a_static_bind_is_unsupported_before_linux_6_6
        self_and_the_own_domid_name_the_same_domain
        a_port_may_wait_for_a_domain_that_does_not_exist_unless_xen_has_silo
        both_ends_may_be_on_one_device
        the_lowest_free_number_is_bound_first
        every_kind_of_bind_reuses_the_number_that_was_unbound_last
        a_virq_is_free_again_after_unbind
        closing_a_device_unbinds_its_ports
    }
    deliver {
        a_notify_is_read_once_at_the_other_end
        notifies_go_both_ways
        notifies_to_a_disabled_port_are_one_event_after_unmask
        a_port_that_was_read_is_silent_until_it_is_unmasked
        many_ports_come_in_one_read
        ports_are_read_in_the_order_of_the_notifies
        a_port_that_fires_again_goes_to_the_end
        a_short_buffer_takes_the_front_and_leaves_the_rest
        a_read_is_cut_to_whole_ports
        a_read_of_less_than_a_port_takes_nothing
        a_read_of_an_empty_ring_is_eagain
        a_read_brings_a_page_of_ports_at_most
        a_notify_before_the_peer_binds_is_lost
        a_notify_of_a_virq_port_goes_nowhere
        an_event_goes_to_the_device_that_bound_the_port
        poll_says_writable_always_and_readable_with_events
    }
    batches {
        a_hypercall_for_many_sends_to_each_in_order
        each_port_of_a_batch_has_a_result_of_its_own
        a_port_twice_in_a_batch_fires_again_after_the_unmask
        a_batch_to_ports_that_are_masked_is_one_event_each
        a_batch_asks_xen_alone_who_owns_a_port
        a_batch_of_one_is_an_ioctl
        a_device_that_was_not_asked_to_makes_an_ioctl_for_each
        a_virq_port_in_a_batch_is_einval
        a_batch_of_1100_is_two_hypercalls_and_loses_nothing
        a_restricted_device_makes_an_ioctl_for_each
        a_context_notifies_many_in_one_call_of_the_device
        a_context_names_the_channel_of_a_batch_that_is_not_bound
        a_set_of_notifiers_notifies_many_in_one_call_of_the_device
        many_statuses_are_those_of_single_questions
    }
    unmask {
        ports_come_in_the_order_in_which_they_were_written
        only_the_ports_that_were_written_are_unmasked
        a_repeated_word_counts_and_brings_no_second_event
        a_pending_port_written_twice_in_one_write_is_left_unmasked
        foreign_and_unknown_ports_count_and_stay_as_they_are
        words_that_are_not_ports_count_and_do_nothing
        a_write_is_cut_to_whole_ports
        a_write_of_less_than_a_port_does_nothing
        a_write_takes_a_page_of_ports_at_most
        a_write_that_is_too_long_by_bytes_is_cut_to_a_page
        unmasking_an_unmasked_port_does_nothing
        unmask_before_read_queues_a_second_entry
    }
    overflow {
        entry_65_overflows_a_ring_of_64
        a_full_ring_is_read_whole
        an_overflow_is_efbig_and_the_error_bit_alone
        only_reset_ends_an_overflow
        reset_unmasks_nothing
        reset_drops_what_was_not_read
        reset_of_an_empty_ring_changes_nothing
        the_ring_grows_with_the_ports
        stale_entries_overflow_a_ring_that_did_not_grow
        an_unread_entry_survives_the_unbind
        a_stale_entry_reads_as_the_next_owner_of_the_number
        a_stale_entry_comes_before_the_event_of_the_new_bind
        an_unbind_drops_the_latched_event
    }
    errors {
        a_bind_to_an_unknown_domain_is_esrch
        a_bind_to_an_unallocated_port_is_einval
        a_bind_to_a_connected_port_is_einval
        a_bind_to_a_port_meant_for_another_domain_is_einval
        a_bind_to_a_virq_port_is_einval
        a_failed_bind_takes_no_number
        a_virq_of_the_kernel_is_eexist
        a_virq_that_is_bound_is_eexist_on_every_device
        a_virq_of_24_or_more_is_einval
        a_foreign_port_is_enotconn
        an_unbound_port_is_enotconn
        a_port_of_the_kernel_is_enotconn
        a_number_out_of_range_is_einval_to_unbind_and_enotconn_to_notify
        a_second_restrict_is_eacces
        a_restrict_to_domain_0_or_a_reserved_id_is_einval
        a_restricted_device_binds_to_its_domain_alone
        a_restricted_device_keeps_the_ports_it_has
    }
    half_closed {
        the_peer_of_an_unbind_gets_no_event
        the_peer_of_a_close_gets_no_event
        a_notify_of_a_half_closed_port_goes_nowhere
        a_half_closed_port_can_be_bound_to_again
        either_end_can_be_half_closed
        an_event_sent_before_the_peer_closed_still_comes
    }
    status {
        an_unbound_port_reports_the_domain_it_waits_for
        both_ends_of_a_loopback_name_each_other
        a_virq_port_reports_its_virq
        a_port_is_closed_before_the_bind_and_after_the_unbind
        a_port_whose_peer_closed_waits_for_its_domain_again
        either_end_of_a_loopback_may_be_left_waiting
        events_and_masks_change_no_status
        the_own_domid_and_self_give_the_same_status
        a_port_beyond_the_end_of_the_table_is_einval
        a_domain_that_does_not_exist_is_esrch
        the_table_of_a_domain_has_every_port_that_is_bound
        the_kernel_has_a_port_for_each_of_its_virqs
    }
    peers {
        a_wait_ends_once_at_the_check_after_a_peer_connected
        a_peer_that_is_replaced_is_gone_and_the_new_one_connected
        a_peer_that_sent_is_found_gone_by_the_first_check
        a_wait_ends_at_the_check_after_its_peer_closed
        every_wait_ends_at_the_check_after_the_peers_device_closed
        a_channel_without_a_peer_keeps_its_wait
        a_peer_that_comes_back_can_be_lost_again
        an_event_sent_before_the_peer_closed_wakes_first
        an_interdomain_channel_is_known_connected_from_its_bind
        the_state_of_a_peer_can_be_queried_at_any_time
        a_check_during_a_block_finds_a_peer_that_closed_before
    }
    files {
        a_duplicate_shares_ports_and_ring
        each_event_goes_to_one_reader_of_two_duplicates
        closing_one_duplicate_unbinds_nothing
        closing_the_last_duplicate_unbinds
        a_restriction_holds_for_every_duplicate
        nonblocking_goes_off_and_on_for_every_duplicate
        a_blocking_read_takes_what_is_there
        a_blocking_read_is_efbig_after_an_overflow
        a_device_has_no_position
        the_number_of_readable_bytes_cannot_be_asked
    }
    epoll {
        a_level_triggered_epoll_reports_until_all_is_read
        adding_a_ready_device_to_an_edge_triggered_epoll_reports_it_once
        an_edge_triggered_epoll_is_silent_while_an_entry_is_unread
        an_edge_triggered_epoll_reports_every_change_to_not_empty
        a_write_that_delivers_an_event_is_an_edge
        a_bind_that_fires_is_an_edge
        a_oneshot_epoll_reports_once_until_it_is_armed_again
        modifying_an_edge_triggered_registration_reports_what_is_unread
        a_level_triggered_epoll_reports_an_overflow_as_an_error_alone
        an_overflow_and_a_reset_are_no_edges
        a_second_entry_is_no_edge
        adding_an_overflowed_device_to_an_edge_triggered_loop_reports_it_once
        an_error_is_reported_to_a_registration_for_nothing
        a_poll_of_two_devices_reports_the_one_that_fired
    }
    numbers {
        port_numbers_are_shared_by_all_devices
        the_kernel_holds_its_virqs_and_leaves_the_others
        an_undefined_virq_can_be_bound
        one_peer_may_be_bound_to_many_times
        a_second_bind_to_one_port_leaves_the_first_connection
        the_largest_domid_can_be_restricted_to
        a_refused_restriction_leaves_the_device_free
        a_refused_unbind_leaves_the_port
        notifies_while_half_closed_are_the_one_event_of_the_next_bind
        a_half_closed_port_can_be_unmasked
        a_loopback_notify_reaches_only_the_other_end
    }
    ring {
        one_read_spans_the_wrap_of_the_ring
        a_ring_of_128_overflows_at_entry_129
        the_ring_does_not_shrink
        events_of_all_ports_are_dropped_during_an_overflow
        unread_entries_are_gone_after_an_overflow_is_reset
        every_port_works_again_after_a_reset_and_an_unmask
        a_bind_during_an_overflow_works_and_its_event_is_lost
        unbind_and_notify_work_during_an_overflow
        a_stale_entry_stays_with_the_device_that_had_the_number
        a_stale_entry_reads_as_a_virq_that_got_the_number
        a_reset_drops_stale_entries
        the_peers_unbind_leaves_the_entry_in_the_ring
    }
    waiting {
        a_bind_registers_nothing
        a_wait_registers_and_the_last_wake_deregisters
        the_device_stays_registered_while_another_channel_waits
        cancel_of_the_last_waiter_deregisters
        cancel_without_a_wait_changes_nothing
        a_refused_registration_leaves_no_wait
        a_refused_deregistration_leaves_the_wait
        waiting_twice_is_one_wait
        an_event_before_the_first_wait_wakes_it
        an_event_read_without_a_wait_makes_the_next_wait_ready
        a_port_without_a_wait_wakes_the_loop_once
        an_interdomain_channel_has_a_wake_at_once
        unbound_and_virq_channels_have_no_wake
        a_cancelled_wait_brings_no_wake_and_loses_no_event
        a_wait_outside_a_round_unmasks_a_port_that_was_read
        a_cancelled_port_that_was_not_read_is_not_unmasked
        a_notifier_wakes_the_peer_from_another_thread
        a_peer_that_closes_wakes_no_channel_and_can_bind_again
    }
    rounds {
        a_wait_inside_the_round_costs_no_registration
        waits_inside_the_round_unmask_in_one_write
        only_ports_that_were_read_are_unmasked
        a_port_cancelled_again_inside_the_round_is_not_unmasked
        cancel_inside_the_round_skips_the_wake
        unbind_inside_the_round_skips_the_wake
        a_budget_leaves_the_rest_ready
        a_round_that_is_dropped_keeps_its_wakes
        a_panic_inside_the_round_loses_nothing
        an_event_inside_the_round_comes_in_it_or_in_the_next
        a_dispatch_without_events_is_harmless
        a_second_dispatch_is_busy_on_another_thread
        binds_and_notifies_work_inside_the_round
        more_ports_than_one_read_brings_come_in_one_round
    }
    life {
        nothing_is_opened_before_the_first_bind
        a_failed_first_bind_closes_the_device_again
        a_failed_later_bind_changes_nothing
        unbind_while_waiting_deregisters
        an_unbound_channel_gives_its_number_back
        a_stale_id_is_not_bound_though_its_number_is
        a_number_bound_again_does_not_see_the_stale_event
        events_of_other_ports_survive_a_rebind
        cancel_of_a_queued_wake_keeps_it_for_the_next_wait
        unbind_of_a_channel_drops_its_queued_wake
        a_notifier_of_an_unbound_channel_is_not_bound
        teardown_with_leftovers_lists_them_and_changes_nothing
        teardown_closes_and_the_next_bind_opens_again
        a_dropped_context_leaves_its_channels_to_their_owners
        a_restriction_before_the_open_is_set_at_the_open
        a_restriction_that_no_device_takes_is_refused_before_the_open
        a_restriction_after_the_open_leaves_the_channels
    }
    blocking {
        a_latched_event_ends_a_block_before_it_sleeps
        an_event_ends_a_block_and_nothing_stays_registered
        a_block_unmasks_a_port_that_was_read
        a_block_past_its_deadline_leaves_no_wait
        an_event_before_the_deadline_is_taken_at_the_deadline
        a_block_leaves_other_wakes_to_the_next_round
        a_block_inside_a_round_takes_only_its_own_wake
        a_block_ends_when_its_condition_does
        an_overflow_ends_a_block_with_the_cause
        a_second_waiter_is_refused_and_the_first_one_wakes
        a_refused_registration_ends_a_block
    }
    recovery {
        an_overflow_wakes_every_waiter_once_with_the_cause
        events_arrive_again_after_an_overflow
        a_port_without_a_wait_keeps_the_overflow_for_its_next_wait
        a_latched_event_stays_an_event_at_an_overflow
        a_port_masked_since_one_overflow_loses_nothing_in_the_next
        an_event_pending_in_xen_comes_after_an_overflow
        an_overflow_before_a_rebind_wakes_the_others
        a_second_entry_of_one_port_wakes_once_and_is_kept
        a_foreign_port_is_counted_and_left_alone
    }
}

/// One of the sides that the cases run on.
struct Side<P> {
    name: &'static str,
    start: Arc<dyn Fn() -> P + Send + Sync>,
    /// Why this side is left out, if it is; an error if it must not be.
    excuse: fn() -> Result<Option<String>, String>,
}

impl<P: Platform + 'static> Side<P> {
    fn trial(&self, case: &str, run: fn(&P)) -> Trial {
        let (start, excuse) = (Arc::clone(&self.start), self.excuse);
        let unfit = Unfit::of(case);
        let name = format!("contract::{}::{case}", self.name);
        Trial::ignorable_test(name, move || {
            if let Some(reason) = excuse()? {
                return Ok(Completion::ignored_with(reason));
            }
            let platform = start();
            if let Some(unfit) = unfit
                && (unfit.on)(&platform.pair())
            {
                return Ok(Completion::ignored_with(unfit.reason));
            }
            run(&platform);
            Ok(Completion::Completed)
        })
    }
}

/// Every case on a simulated machine of a pair.
fn on_sim<L: Sleep + 'static>(
    name: &'static str,
    pair: evtchn_sim::Platform,
    start: fn(evtchn_sim::Platform) -> Sim<L>,
) -> Vec<Trial> {
    cases(&Side {
        name,
        start: Arc::new(move || start(pair)),
        excuse: || Ok(None),
    })
}

/// Every case, on each side.
pub(crate) fn trials() -> Vec<Trial> {
    let usual = evtchn_sim::Platform::LINUX_6_1_ON_XEN_4_17;
    let mut trials = on_sim("sim", usual, Sim::level);
    trials.extend(on_sim("sim_edge", usual, Sim::edge));
    trials.extend(on_sim("sim_polled", usual, Sim::polled));
    for pair in evtchn_sim::Platform::ALL {
        if *pair != usual {
            trials.extend(on_sim(pair.name, *pair, Sim::level));
        }
    }
    trials.extend(cases(&Side {
        name: "xen",
        start: Arc::new(Xen::new),
        excuse: Xen::excuse,
    }));
    trials
}

/// Why the cases are not run on the device, if they are not.
pub(crate) fn excuse() -> Option<String> {
    Xen::excuse().unwrap_or_default()
}
