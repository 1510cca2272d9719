/*
 * A daemon's loop over an overflow: it polls, takes one port, and ends when anything fails, as xenstored does.
 *
 *   overflow          bind ports, overflow the ring, and go on
 *   overflow exec     the same, and become another program in the middle, as a live update does
 *   overflow from FD  that other program
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xenevtchn.h>

#define SELF 0x7ff0
#define PAIRS 5
#define PORTS (2 * PAIRS)

static xenevtchn_handle *xce;
/* The ports of a new handle have consecutive numbers, from this one. */
static int first;

static void end(const char *what)
{
    printf("the daemon ends, because %s fails: %s\n", what, strerrorname_np(errno));
    exit(1);
}

/* One turn of the loop. Returns the port, or -1 if nothing is there. */
static int turn(void)
{
    struct pollfd polled = {.fd = xenevtchn_fd(xce), .events = POLLIN};
    if (poll(&polled, 1, 0) < 0)
        end("poll");
    if (!polled.revents)
        return -1;
    int port = xenevtchn_pending(xce);
    if (port < 0)
        end("pending");
    if (xenevtchn_unmask(xce, port) < 0)
        end("unmask");
    return port;
}

/* Binds pairs of ports, and reads the events that binding brings. */
static void bind_pairs(void)
{
    for (int pair = 0; pair < PAIRS; pair++) {
        int waiting = xenevtchn_bind_unbound_port(xce, SELF);
        if (waiting < 0 || xenevtchn_bind_interdomain(xce, SELF, waiting) != waiting + 1)
            end("bind");
        if (!pair)
            first = waiting;
    }
    while (turn() >= 0)
        ;
}

/* More events than the ring has room for: a port that is unmasked before it is read has an entry for each. */
static void overflow_ring(void)
{
    for (int entry = 0; entry < 65; entry++) {
        xenevtchn_notify(xce, first);
        xenevtchn_unmask(xce, first + 1);
    }
}

/* Takes what is there, at most `most` ports, and counts it by port. */
static void take(int *seen, int most)
{
    int port;
    while (most-- > 0 && (port = turn()) >= 0)
        if (port >= first && port < first + PORTS)
            seen[port - first]++;
}

static void report(const char *what, const int *seen)
{
    printf("%s:", what);
    for (int port = 0; port < PORTS; port++)
        printf(" %d", seen[port]);
    printf("\n");
    fflush(stdout);
}

static void go_on(void)
{
    int seen[PORTS] = {0};
    for (int pair = 0; pair < PAIRS; pair++)
        xenevtchn_notify(xce, first + 2 * pair);
    take(seen, 100);
    report("each pair notifies once", seen);

    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    int port = xenevtchn_pending(xce);
    printf("pending with O_NONBLOCK: %s\n", port < 0 ? strerrorname_np(errno) : "a port");
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR);
    xenevtchn_notify(xce, first);
    printf("pending without it: %s\n", xenevtchn_pending(xce) == first + 1 ? "the port" : "another");
    printf("close: %d\n", xenevtchn_close(xce));
}

int main(int argc, char **argv)
{
    int seen[PORTS] = {0};
    if (argc == 4) {
        first = atoi(argv[3]);
        xce = xenevtchn_fdopen(NULL, atoi(argv[2]), 0);
        if (!xce)
            end("fdopen");
        take(seen, 100);
        report("ports after the exec", seen);
        go_on();
        return 0;
    }
    xce = xenevtchn_open(NULL, XENEVTCHN_NO_CLOEXEC);
    if (!xce)
        end("open");
    bind_pairs();
    overflow_ring();
    if (argc == 2) {
        char fd[16], port[16];
        take(seen, 3);
        report("ports before the exec", seen);
        snprintf(fd, sizeof(fd), "%d", xenevtchn_fd(xce));
        snprintf(port, sizeof(port), "%d", first);
        execl("/proc/self/exe", argv[0], "from", fd, port, NULL);
        end("exec");
    }
    take(seen, 100);
    report("ports after the overflow", seen);
    go_on();
    return 0;
}
