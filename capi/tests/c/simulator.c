/* The functions of evtchn-sim.h, each with its answers and its errors. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evtchn-sim.h>

#define SELF 0x7ff0
#define DOM_EXC 3
#define SECOND UINT64_C(1000000000)

#define REFUSED(call, error) (assert((call) == -1), assert(errno == (error)))

static xenevtchn_handle *open_nonblocking(void)
{
    xenevtchn_handle *xce = xenevtchn_open(NULL, 0);
    assert(xce);
    assert(fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK) == 0);
    return xce;
}

static void domains(void)
{
    evtchn_sim_new(1);
    int guest = evtchn_sim_create_domain();
    assert(guest == 1);
    REFUSED(evtchn_sim_enter(0x10000), EINVAL);
    assert(evtchn_sim_enter(guest) == 0);
    xenevtchn_handle *front = open_nonblocking();
    assert(evtchn_sim_enter(0) == 0);
    xenevtchn_handle *back = open_nonblocking();
    assert(evtchn_sim_open_files() == 2);

    /* Both ends of a channel, in a program each. */
    int waiting = xenevtchn_bind_unbound_port(back, guest);
    int bound = xenevtchn_bind_interdomain(front, 0, waiting);
    assert(xenevtchn_pending(front) == bound);
    assert(xenevtchn_notify(front, bound) == 0);
    assert(xenevtchn_pending(back) == waiting);

    int exits = xenevtchn_bind_virq(back, DOM_EXC);
    assert(evtchn_sim_raise_virq(0, DOM_EXC) == 0);
    assert(xenevtchn_pending(back) == exits);
    REFUSED(evtchn_sim_raise_virq(0, 24), EINVAL);
    REFUSED(evtchn_sim_raise_virq(9, DOM_EXC), ESRCH);

    assert(evtchn_sim_destroy_domain(guest) == 0);
    REFUSED(evtchn_sim_destroy_domain(guest), ESRCH);
    REFUSED(xenevtchn_notify(front, bound), EBADF);
    evtchn_sim_enter(guest);
    assert(!xenevtchn_open(NULL, 0) && errno == ENOENT);
    evtchn_sim_enter(0);
    xenevtchn_close(front);
    xenevtchn_close(back);
}

static void kernels(void)
{
    evtchn_sim_new(1);
    int one = evtchn_sim_create_domain(), two = evtchn_sim_create_domain();
    int waiting = evtchn_sim_alloc_unbound(one, two);
    int bound = evtchn_sim_bind_interdomain(two, one, waiting);
    assert(waiting > 0 && bound > 0);
    assert(evtchn_sim_events(two, bound) == 1);
    assert(evtchn_sim_send(one, waiting) == 0);
    assert(evtchn_sim_events(two, bound) == 2);
    assert(evtchn_sim_close(two, bound) == 0);
    REFUSED(evtchn_sim_close(two, bound), ENOTCONN);
    REFUSED(evtchn_sim_events(two, bound), ENOTCONN);
    REFUSED(evtchn_sim_send(two, bound), EINVAL);
    REFUSED(evtchn_sim_alloc_unbound(9, 0), ESRCH);
    REFUSED(evtchn_sim_bind_interdomain(two, 0x10000, 1), EINVAL);
}

static void delivery(void)
{
    evtchn_sim_new(1);
    xenevtchn_handle *xce = open_nonblocking();
    int guest = evtchn_sim_create_domain();
    int ours = xenevtchn_bind_unbound_port(xce, guest);
    int theirs = evtchn_sim_bind_interdomain(guest, 0, ours);

    assert(evtchn_sim_set_delivery(EVTCHN_SIM_HELD, 0) == 0);
    evtchn_sim_send(guest, theirs);
    assert(evtchn_sim_held() == 1);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    assert(evtchn_sim_step() == 1 && evtchn_sim_step() == 0);
    assert(xenevtchn_pending(xce) == ours);
    xenevtchn_unmask(xce, ours);

    assert(evtchn_sim_set_delivery(EVTCHN_SIM_DELAYED, SECOND) == 0);
    evtchn_sim_send(guest, theirs);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    evtchn_sim_advance(SECOND);
    assert(xenevtchn_pending(xce) == ours);
    REFUSED(evtchn_sim_set_delivery(3, 0), EINVAL);
    xenevtchn_close(xce);
}

static int calls;

static void count(void *data)
{
    calls += *(int *)data;
}

struct later {
    int guest, port;
};

static void send(void *data)
{
    struct later *later = data;
    evtchn_sim_send(later->guest, later->port);
}

static void own_time(void)
{
    evtchn_sim_new(1);
    xenevtchn_handle *xce = xenevtchn_open(NULL, 0);
    int ours = xenevtchn_bind_unbound_port(xce, evtchn_sim_create_domain());
    struct later later = {1, evtchn_sim_bind_interdomain(1, 0, ours)};
    int ten = 10, hundred = 100;
    calls = 0;
    assert(evtchn_sim_after(3 * SECOND, count, &hundred) == 0);
    assert(evtchn_sim_after(SECOND, count, &ten) == 0);
    REFUSED(evtchn_sim_after(SECOND, NULL, NULL), EINVAL);
    evtchn_sim_advance(2 * SECOND);
    assert(calls == 10 && evtchn_sim_now() == 2 * SECOND);

    evtchn_sim_own_time(1);
    assert(evtchn_sim_after(5 * SECOND, send, &later) == 0);
    assert(xenevtchn_pending(xce) == ours);
    assert(calls == 110 && evtchn_sim_now() == 7 * SECOND);
    REFUSED(xenevtchn_pending(xce), EDEADLK);
    xenevtchn_unmask(xce, ours);
    evtchn_sim_set_delivery(EVTCHN_SIM_HELD, 0);
    evtchn_sim_send(later.guest, later.port);
    assert(xenevtchn_pending(xce) == ours);
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    xenevtchn_close(xce);
}

static void faults(void)
{
    evtchn_sim_new(1);
    xenevtchn_handle *xce = open_nonblocking();
    int port = xenevtchn_bind_unbound_port(xce, SELF);
    REFUSED(evtchn_sim_fail(10, EIO, 0), EINVAL);
    REFUSED(evtchn_sim_fail(-1, EIO, 0), EINVAL);
    REFUSED(evtchn_sim_fail(EVTCHN_SIM_OPEN, 0, 0), EINVAL);

    assert(evtchn_sim_fail(EVTCHN_SIM_NOTIFY, ENOMEM, 2) == 0);
    assert(xenevtchn_notify(xce, port) == 0);
    REFUSED(xenevtchn_notify(xce, port), ENOMEM);
    assert(xenevtchn_notify(xce, port) == 0);

    for (int call = EVTCHN_SIM_OPEN; call <= EVTCHN_SIM_RESET; call++)
        assert(evtchn_sim_fail(call, EIO, 0) == 0);
    assert(!xenevtchn_open(NULL, 0) && errno == EIO);
    REFUSED(xenevtchn_bind_unbound_port(xce, SELF), EIO);
    REFUSED(xenevtchn_bind_interdomain(xce, SELF, port), EIO);
    REFUSED(xenevtchn_bind_virq(xce, DOM_EXC), EIO);
    REFUSED(xenevtchn_unbind(xce, port), EIO);
    REFUSED(xenevtchn_notify(xce, port), EIO);
    REFUSED(xenevtchn_pending(xce), EIO);
    REFUSED(xenevtchn_unmask(xce, port), EIO);
    REFUSED(xenevtchn_restrict(xce, 7), EIO);
    evtchn_sim_clear_faults();
    assert(xenevtchn_notify(xce, port) == 0);
    xenevtchn_close(xce);
}

static void violations(void)
{
    char text[512], dump[4096];
    evtchn_sim_new(1);
    xenevtchn_handle *xce = open_nonblocking();
    int waiting = xenevtchn_bind_unbound_port(xce, SELF);
    int bound = xenevtchn_bind_interdomain(xce, SELF, waiting);
    assert(evtchn_sim_violations(text, sizeof(text)) == 0 && !*text);

    xenevtchn_unmask(xce, bound);
    xenevtchn_unmask(xce, bound);
    xenevtchn_unmask(xce, 999);
    xenevtchn_bind_unbound_port(xce, 0x10005);
    size_t length = evtchn_sim_violations(text, sizeof(text));
    assert(length == strlen(text));
    printf("%s", text);
    assert(evtchn_sim_violations(NULL, 0) == length);
    assert(evtchn_sim_violations(text, 5) == length && strlen(text) == 4);

    length = evtchn_sim_dump(dump, sizeof(dump));
    assert(length == strlen(dump) && strstr(dump, "unbound"));

    pid_t child = fork();
    if (child == 0) {
        xenevtchn_notify(xce, waiting);
        length = evtchn_sim_violations(text, sizeof(text));
        _exit(strstr(text, "forked child") ? 0 : 1);
    }
    int status;
    assert(waitpid(child, &status, 0) == child && status == 0);
    xenevtchn_close(xce);
}

static void restores(void)
{
    char text[512];
    evtchn_sim_new(1);
    int guest = evtchn_sim_create_domain();
    evtchn_sim_enter(guest);
    xenevtchn_handle *xce = open_nonblocking();
    int ours = xenevtchn_bind_unbound_port(xce, 0);
    int theirs = evtchn_sim_bind_interdomain(0, guest, ours);

    assert(evtchn_sim_checkpoint(guest) == 0);
    assert(evtchn_sim_send(0, theirs) == 0);
    assert(xenevtchn_pending(xce) == ours && xenevtchn_unmask(xce, ours) == 0);

    assert(evtchn_sim_save_restore(guest) == 0);
    evtchn_sim_advance(SECOND);
    struct pollfd polled = {.fd = xenevtchn_fd(xce), .events = POLLIN};
    assert(poll(&polled, 1, 0) == 0);
    assert(xenevtchn_notify(xce, ours) == 0 && xenevtchn_unmask(xce, ours) == 0);
    assert(evtchn_sim_events(0, theirs) == 1);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    /* The new domain gives the number once more, and the handle has it already. */
    REFUSED(xenevtchn_bind_unbound_port(xce, 0), EEXIST);
    xenevtchn_handle *anew = open_nonblocking();
    int port = xenevtchn_bind_unbound_port(anew, 0);
    assert(evtchn_sim_bind_interdomain(0, guest, port) > 0);
    xenevtchn_close(anew);
    evtchn_sim_violations(text, sizeof(text));
    assert(!strstr(text, "restore"));
    xenevtchn_close(xce);
    evtchn_sim_violations(text, sizeof(text));
    assert(strstr(text, "from before a restore"));
    assert(evtchn_sim_open_files() == 0);

    REFUSED(evtchn_sim_save_restore(0), EINVAL);
    REFUSED(evtchn_sim_checkpoint(9), ESRCH);
    REFUSED(evtchn_sim_save_restore(0x10000), EINVAL);
    evtchn_sim_enter(0);
}

static uint64_t run_with(uint64_t seed)
{
    evtchn_sim_new(seed);
    xenevtchn_handle *xce = open_nonblocking();
    evtchn_sim_set_delivery(EVTCHN_SIM_HELD, 0);
    for (int pair = 0; pair < 8; pair++)
        xenevtchn_bind_interdomain(xce, SELF, xenevtchn_bind_unbound_port(xce, SELF));
    while (evtchn_sim_step())
        ;
    xenevtchn_close(xce);
    return evtchn_sim_digest();
}

static void other_files(void)
{
    evtchn_sim_new(1);
    int ends[2];
    assert(pipe(ends) == 0);
    xenevtchn_handle *xce = xenevtchn_fdopen(NULL, ends[0], 0);
    REFUSED(evtchn_sim_overflow(xce), EINVAL);
    REFUSED(evtchn_sim_overflow(NULL), EINVAL);
    xenevtchn_close(xce);
    close(ends[1]);

    /* A handle of the machine before is no file of this one, but it works. */
    xenevtchn_handle *former = open_nonblocking();
    evtchn_sim_new(1);
    assert(evtchn_sim_open_files() == 0);
    assert(xenevtchn_bind_unbound_port(former, SELF) > 0);
    xenevtchn_close(former);
}

/* Handles that survive an overflow. */
static void survivors(void)
{
    evtchn_sim_new(1);
    xenevtchn_handle *plain = open_nonblocking();
    assert(setenv("EVTCHN_SURVIVE_OVERFLOW", "1", 1) == 0);
    xenevtchn_handle *xce = open_nonblocking();
    int waiting = xenevtchn_bind_unbound_port(xce, SELF);
    int bound = xenevtchn_bind_interdomain(xce, SELF, waiting);

    /* An entry of a port that was unbound is read, but the port is not owed. */
    assert(xenevtchn_unbind(xce, bound) == 0);
    assert(xenevtchn_pending(xce) == bound);
    assert(evtchn_sim_overflow(xce) == 0);
    assert(xenevtchn_pending(xce) == waiting);
    REFUSED(xenevtchn_pending(xce), EAGAIN);

    /* What is in the ring by the time of the reset is read first, and each port comes once. */
    bound = xenevtchn_bind_interdomain(xce, SELF, waiting);
    assert(evtchn_sim_overflow(xce) == 0);
    assert(xenevtchn_pending(xce) == waiting);
    assert(xenevtchn_unmask(xce, bound) == 0 && xenevtchn_notify(xce, waiting) == 0);
    assert(xenevtchn_pending(xce) == bound);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    assert(xenevtchn_close(xce) == 0);

    /* Of a handle from a program without the switch, those ports are known that were used since. */
    int used = xenevtchn_bind_unbound_port(plain, SELF);
    assert(xenevtchn_bind_unbound_port(plain, SELF) > 0);
    xce = xenevtchn_fdopen(NULL, dup(xenevtchn_fd(plain)), 0);
    assert(xenevtchn_notify(xce, used) == 0);
    assert(evtchn_sim_overflow(xce) == 0);
    assert(xenevtchn_pending(xce) == used);
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    REFUSED(xenevtchn_pending(xce), EAGAIN);
    assert(xenevtchn_close(xce) == 0 && xenevtchn_close(plain) == 0);
    assert(evtchn_sim_open_files() == 0);
    unsetenv("EVTCHN_SURVIVE_OVERFLOW");
}

static void null_handles(void)
{
    REFUSED(xenevtchn_fd(NULL), EINVAL);
    REFUSED(xenevtchn_notify(NULL, 1), EINVAL);
    REFUSED(xenevtchn_bind_unbound_port(NULL, 1), EINVAL);
    REFUSED(xenevtchn_bind_interdomain(NULL, 1, 1), EINVAL);
    REFUSED(xenevtchn_bind_virq(NULL, 1), EINVAL);
    REFUSED(xenevtchn_unbind(NULL, 1), EINVAL);
    REFUSED(xenevtchn_pending(NULL), EINVAL);
    REFUSED(xenevtchn_unmask(NULL, 1), EINVAL);
    REFUSED(xenevtchn_restrict(NULL, 1), EINVAL);
}

int main(void)
{
    domains();
    kernels();
    delivery();
    own_time();
    faults();
    violations();
    restores();
    assert(run_with(1) == run_with(1));
    assert(run_with(1) != run_with(2));
    other_files();
    survivors();
    null_handles();
    printf("all passed\n");
    return 0;
}
