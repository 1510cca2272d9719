/*
 * What calls of an event-channel library cost: nanoseconds each, the least of many batches. `cargo xtask capi --cost` runs it on a
 * machine whose clock counts instructions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <xenevtchn.h>

#define SELF 0x7ff0
#define BATCHES 40
#define CALLS 500

static xenevtchn_handle *xce;
static int waiting, bound;

static void notify_alone(void)
{
    /* The other end is masked, so no event comes of it. */
    xenevtchn_notify(xce, waiting);
}

static void unmask_alone(void)
{
    xenevtchn_unmask(xce, waiting);
}

/* An event each way: notified, read, unmasked. */
static void ping_pong(void)
{
    xenevtchn_notify(xce, waiting);
    if (xenevtchn_pending(xce) != bound)
        exit(1);
    xenevtchn_unmask(xce, bound);
    xenevtchn_notify(xce, bound);
    if (xenevtchn_pending(xce) != waiting)
        exit(1);
    xenevtchn_unmask(xce, waiting);
}

static void bind_and_unbind(void)
{
    xenevtchn_unbind(xce, xenevtchn_bind_unbound_port(xce, SELF));
}

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void measure(const char *name, void (*call)(void), int calls)
{
    long least = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        long begun = now();
        for (int made = 0; made < calls; made++)
            call();
        long taken = now() - begun;
        if (!batch || taken < least)
            least = taken;
    }
    printf("%s %ld\n", name, least / calls);
}

int main(void)
{
    xce = xenevtchn_open(NULL, 0);
    if (!xce)
        return 1;
    waiting = xenevtchn_bind_unbound_port(xce, SELF);
    bound = xenevtchn_bind_interdomain(xce, SELF, waiting);
    if (xenevtchn_pending(xce) != bound)
        return 1;
    measure("notify", notify_alone, CALLS);
    measure("unmask", unmask_alone, CALLS);
    xenevtchn_unmask(xce, bound);
    xenevtchn_pending(xce);
    xenevtchn_unmask(xce, bound);
    measure("ping-pong", ping_pong, CALLS);
    measure("bind+unbind", bind_and_unbind, 50);
    xenevtchn_close(xce);
    return 0;
}
