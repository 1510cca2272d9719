/* The unit test of the back end, on a simulated machine. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <evtchn-sim.h>

#include "backend.h"

#define MINUTE UINT64_C(60000000000)

/* A new machine with a guest, a back end for it, and the guest's port. */
struct rig {
    struct backend back;
    int guest, theirs;
};

static struct rig new_rig(void)
{
    struct rig rig;
    evtchn_sim_new(1);
    rig.guest = evtchn_sim_create_domain();
    assert(backend_open(&rig.back, rig.guest) == 0);
    rig.theirs = evtchn_sim_bind_interdomain(rig.guest, 0, rig.back.port);
    assert(rig.theirs > 0);
    return rig;
}

/* Nothing is left open, and the back end did nothing that the contract forbids. */
static void end_rig(struct rig *rig)
{
    backend_close(&rig->back);
    assert(evtchn_sim_open_files() == 0);
    assert(evtchn_sim_violations(NULL, 0) == 0);
}

static void each_request_gets_an_answer(void)
{
    struct rig rig = new_rig();
    for (int request = 0; request < 3; request++) {
        assert(evtchn_sim_send(rig.guest, rig.theirs) == 0);
        assert(backend_turn(&rig.back, 0) == 1);
    }
    /* The bind brings an event of its own. */
    assert(evtchn_sim_events(rig.guest, rig.theirs) == 1 + 3);
    end_rig(&rig);
}

static void requests_that_coalesce_get_one_answer(void)
{
    struct rig rig = new_rig();
    for (int request = 0; request < 5; request++)
        evtchn_sim_send(rig.guest, rig.theirs);
    /* The port is masked once it has fired; the other four are one more event. */
    assert(backend_turn(&rig.back, 0) == 2);
    end_rig(&rig);
}

static void a_request_under_way_is_answered_when_it_arrives(void)
{
    struct rig rig = new_rig();
    evtchn_sim_set_delivery(EVTCHN_SIM_HELD, 0);
    evtchn_sim_send(rig.guest, rig.theirs);
    assert(backend_turn(&rig.back, 0) == 0);
    assert(evtchn_sim_step() == 1);
    assert(backend_turn(&rig.back, 0) == 1);
    end_rig(&rig);
}

static void send_later(void *data)
{
    struct rig *rig = data;
    evtchn_sim_send(rig->guest, rig->theirs);
}

static void a_request_comes_in_virtual_time(void)
{
    struct rig rig = new_rig();
    evtchn_sim_after(MINUTE, send_later, &rig);
    evtchn_sim_advance(MINUTE - 1);
    assert(backend_turn(&rig.back, 0) == 0);
    evtchn_sim_advance(1);
    assert(backend_turn(&rig.back, 0) == 1);
    end_rig(&rig);
}

static void a_call_that_fails_is_reported_and_loses_no_later_request(void)
{
    struct rig rig = new_rig();
    evtchn_sim_fail(EVTCHN_SIM_NOTIFY, EIO, 1);
    evtchn_sim_send(rig.guest, rig.theirs);
    assert(backend_turn(&rig.back, 0) == -1 && errno == EIO);
    evtchn_sim_send(rig.guest, rig.theirs);
    assert(backend_turn(&rig.back, 0) == 1);
    end_rig(&rig);
}

static void an_overflow_is_an_error(void)
{
    struct rig rig = new_rig();
    assert(evtchn_sim_overflow(rig.back.xce) == 0);
    assert(backend_turn(&rig.back, 0) == -1 && errno == EFBIG);
    end_rig(&rig);
}

static void a_guest_that_dies_sends_nothing(void)
{
    struct rig rig = new_rig();
    assert(evtchn_sim_destroy_domain(rig.guest) == 0);
    assert(backend_turn(&rig.back, 0) == 0);
    end_rig(&rig);
}

static void what_fails_while_opening_leaves_nothing_open(void)
{
    struct backend back;
    evtchn_sim_new(1);
    evtchn_sim_fail(EVTCHN_SIM_BIND_UNBOUND_PORT, ENOSPC, 1);
    assert(backend_open(&back, 7) == -1 && errno == ENOSPC);
    assert(evtchn_sim_open_files() == 0);
}

int main(void)
{
    each_request_gets_an_answer();
    requests_that_coalesce_get_one_answer();
    a_request_under_way_is_answered_when_it_arrives();
    a_request_comes_in_virtual_time();
    a_call_that_fails_is_reported_and_loses_no_later_request();
    an_overflow_is_an_error();
    a_guest_that_dies_sends_nothing();
    what_fails_while_opening_leaves_nothing_open();
    printf("all passed\n");
    return 0;
}
