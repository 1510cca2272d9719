/*
 * The loop of libxl on libxenevtchn: what evtchn_fd_callback and libxl__ev_evtchn_wait do per event, rewritten.
 *
 * Left out: the lock of the context, its time of day, its other descriptors, its log. The real one is slower.
 * License: LGPL-2.1, as the library that it is linked with.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include <xenevtchn.h>

/* Rounds before the counted ones. */
#define WARM_UP 2u

struct waiter {
    evtchn_port_t port;
    bool waiting;
    unsigned int wakes;
    LIST_ENTRY(waiter) entry;
};

static xenevtchn_handle *handle;
static LIST_HEAD(, waiter) waiting = LIST_HEAD_INITIALIZER(waiting);
static struct waiter *waiters;
static evtchn_port_t *peers;
static unsigned long wakes;

static void die(const char *what)
{
    fprintf(stderr, "libxl: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* One poll, which waits without a limit or not at all. */
static bool is_readable(int timeout)
{
    struct pollfd pollfd = { .fd = xenevtchn_fd(handle), .events = POLLIN };

    if (poll(&pollfd, 1, timeout) < 0)
        die("poll");
    return pollfd.revents & POLLIN;
}

static void wait_for(struct waiter *waiter)
{
    if (xenevtchn_unmask(handle, waiter->port))
        die("unmask");
    waiter->waiting = true;
    LIST_INSERT_HEAD(&waiting, waiter, entry);
}

static void woken(struct waiter *waiter)
{
    waiter->wakes++;
    wakes++;
    wait_for(waiter);
}

/* Called when the loop's poll says that the device is readable. */
static void fd_callback(void)
{
    while (is_readable(0)) {
        xenevtchn_port_or_error_t port = xenevtchn_pending(handle);
        struct waiter *waiter;

        if (port < 0) {
            if (errno == EAGAIN)
                return;
            die("pending");
        }
        LIST_FOREACH(waiter, &waiting, entry)
            if (waiter->port == (evtchn_port_t)port)
                break;
        if (!waiter)
            continue;
        waiter->waiting = false;
        LIST_REMOVE(waiter, entry);
        woken(waiter);
    }
}

static void handle_until(unsigned long total)
{
    while (wakes < total)
        if (is_readable(-1))
            fd_callback();
}

static void notify(unsigned int index)
{
    if (xenevtchn_notify(handle, peers[index]))
        die("notify");
}

static void check(unsigned int channels, unsigned int rounds)
{
    for (unsigned int index = 0; index < channels; index++)
        if (waiters[index].wakes != rounds) {
            fprintf(stderr, "libxl: port %u was delivered %u times in %u rounds\n",
                    waiters[index].port, waiters[index].wakes, rounds);
            exit(1);
        }
}

/* Binds all channels, takes the initial event of each peer, and waits for every one. */
static void set_up(unsigned int channels)
{
    handle = xenevtchn_open(NULL, 0);
    if (!handle)
        die("open");
    waiters = calloc(channels, sizeof(*waiters));
    peers = calloc(channels, sizeof(*peers));
    if (!waiters || !peers)
        die("calloc");
    for (unsigned int index = 0; index < channels; index++) {
        xenevtchn_port_or_error_t port = xenevtchn_bind_unbound_port(handle, 0);
        xenevtchn_port_or_error_t peer;

        if (port < 0)
            die("bind_unbound_port");
        peer = xenevtchn_bind_interdomain(handle, 0, port);
        if (peer < 0)
            die("bind_interdomain");
        waiters[index].port = port;
        peers[index] = peer;
    }
    for (unsigned int index = 0; index < channels; index++)
        if (xenevtchn_pending(handle) < 0)
            die("the first events");
    if (fcntl(xenevtchn_fd(handle), F_SETFL, O_RDWR | O_NONBLOCK))
        die("fcntl");
    for (unsigned int index = channels; index-- > 0;)
        wait_for(&waiters[index]);
}

static void ping_pong(unsigned int rounds)
{
    double begun = 0;

    for (unsigned int round = 0; round < WARM_UP + rounds; round++) {
        if (round == WARM_UP)
            begun = now();
        notify(0);
        handle_until(round + 1ul);
        if (wakes != round + 1ul)
            die("a wake too many");
    }
    printf("libxl pingpong 1 total %.1f\n", (now() - begun) / rounds);
    check(1, WARM_UP + rounds);
}

static void burst(unsigned int channels, unsigned int rounds)
{
    double notify_cost = 0, drain_cost = 0, events = (double)rounds * channels;

    for (unsigned int round = 1; round <= WARM_UP + rounds; round++) {
        double begun = now(), notified, handled;

        for (unsigned int index = 0; index < channels; index++)
            notify(index);
        notified = now();
        handle_until((unsigned long)round * channels);
        handled = now();
        check(channels, round);
        if (round > WARM_UP) {
            notify_cost += notified - begun;
            drain_cost += handled - notified;
        }
    }
    printf("libxl burst %u total %.1f\n", channels, (notify_cost + drain_cost) / events);
    printf("libxl burst %u drain %.1f\n", channels, drain_cost / events);
    printf("libxl burst %u notify %.1f\n", channels, notify_cost / events);
}

int main(int argc, char **argv)
{
    unsigned int channels = argc == 4 ? atoi(argv[2]) : 0;
    unsigned int rounds = argc == 4 ? atoi(argv[3]) : 0;
    bool is_burst = argc == 4 && !strcmp(argv[1], "burst");

    if (!channels || !rounds || (!is_burst && channels != 1)) {
        fprintf(stderr, "usage: libxl pingpong|burst CHANNELS ROUNDS\n");
        return 2;
    }
    set_up(channels);
    if (is_burst)
        burst(channels, rounds);
    else
        ping_pong(rounds);
    return 0;
}
