/*
 * What a C program sees of an event-channel library, a line for each case: the flags of a handle, each errno that a program can
 * provoke, the order of events, O_NONBLOCK, signals, an overflow, poll, fork. It prints the same on every right library.
 *
 * A handle of the simulator, of this library on the device and of Xen's library on the device are to print conformance.txt. Not here,
 * because they cannot be the same: a null handle, on which Xen's library crashes, and a forked child that reads, which on the
 * simulator has a copy of the machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenevtchn.h>

#define SELF 0x7ff0
#define NO_SUCH_DOMAIN 1234
#define NO_SUCH_PORT 77777
#define DOM_EXC 3

static const char *name_of(int error)
{
    const char *name = strerrorname_np(error);
    return name ? name : "?";
}

/* Prints what a call returned: a name for its errno, and only for a port that it is one. */
static int show(const char *what, int answer)
{
    if (answer < 0)
        printf("%s: %s\n", what, name_of(errno));
    else
        printf("%s: %s\n", what, answer ? "a port" : "0");
    return answer;
}

static void compare(const char *what, int is_so)
{
    printf("%s: %s\n", what, is_so ? "yes" : "no");
}

static xenevtchn_handle *open_handle(unsigned int flags)
{
    xenevtchn_handle *xce = xenevtchn_open(NULL, flags);
    if (!xce) {
        printf("cannot open: %s\n", name_of(errno));
        exit(1);
    }
    return xce;
}

static xenevtchn_handle *open_nonblocking(void)
{
    xenevtchn_handle *xce = open_handle(0);
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    return xce;
}

/* Two ports of one handle that are connected, with no event left. */
struct pair {
    int waiting, bound;
};

static struct pair connect_ports(xenevtchn_handle *xce)
{
    struct pair pair;
    pair.waiting = xenevtchn_bind_unbound_port(xce, SELF);
    pair.bound = xenevtchn_bind_interdomain(xce, SELF, pair.waiting);
    if (xenevtchn_pending(xce) != pair.bound)
        printf("no first event\n");
    xenevtchn_unmask(xce, pair.bound);
    return pair;
}

static int poll_for(xenevtchn_handle *xce, short events)
{
    struct pollfd polled = {.fd = xenevtchn_fd(xce), .events = events};
    return poll(&polled, 1, 0) < 0 ? -1 : polled.revents;
}

static void opening(void)
{
    show("open with an unknown flag", xenevtchn_open(NULL, 2) ? 0 : -1);
    show("fdopen with a flag", xenevtchn_fdopen(NULL, 0, XENEVTCHN_NO_CLOEXEC) ? 0 : -1);

    xenevtchn_handle *xce = open_handle(0);
    int fd = xenevtchn_fd(xce);
    compare("open is close-on-exec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
    compare("open is non-blocking", fcntl(fd, F_GETFL) & O_NONBLOCK);
    compare("open is for reading and writing", (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    show("close", xenevtchn_close(xce));
    compare("the descriptor is open after close", fcntl(fd, F_GETFD) >= 0);

    xce = open_handle(XENEVTCHN_NO_CLOEXEC);
    compare("open with NO_CLOEXEC is close-on-exec", fcntl(xenevtchn_fd(xce), F_GETFD) & FD_CLOEXEC);
    xenevtchn_close(xce);
    show("close of null", xenevtchn_close(NULL));
}

static void adopting(void)
{
    xenevtchn_handle *xce = xenevtchn_fdopen(NULL, -1, 0);
    compare("fdopen of -1 gives a handle", xce != NULL);
    show("notify on it", xenevtchn_notify(xce, 1));
    show("pending on it", xenevtchn_pending(xce));
    show("unmask on it", xenevtchn_unmask(xce, 1));
    show("close of it", xenevtchn_close(xce));

    xce = xenevtchn_fdopen(NULL, 999, 0);
    compare("fdopen of a closed number gives a handle", xce != NULL);
    show("bind on it", xenevtchn_bind_unbound_port(xce, SELF));
    show("close of it", xenevtchn_close(xce));

    int ends[2];
    if (pipe(ends) < 0)
        exit(1);
    xce = xenevtchn_fdopen(NULL, ends[0], 0);
    show("bind on a pipe", xenevtchn_bind_virq(xce, DOM_EXC));
    show("restrict of a pipe", xenevtchn_restrict(xce, 7));
    show("unmask on the end for reading", xenevtchn_unmask(xce, 1));
    show("close of a pipe", xenevtchn_close(xce));
    compare("the pipe is open after that", fcntl(ends[0], F_GETFD) >= 0);
    close(ends[1]);

    xenevtchn_handle *first = open_handle(0);
    struct pair pair = connect_ports(first);
    int copy = dup(xenevtchn_fd(first));
    xce = xenevtchn_fdopen(NULL, copy, 0);
    compare("fdopen keeps the number", xenevtchn_fd(xce) == copy);
    compare("fdopen sets close-on-exec", fcntl(copy, F_GETFD) & FD_CLOEXEC);
    show("notify of a port that the first handle bound", xenevtchn_notify(xce, pair.waiting));
    show("close of the first handle", xenevtchn_close(first));
    compare("the event comes on the second", xenevtchn_pending(xce) == pair.bound);
    show("close of the second handle", xenevtchn_close(xce));
}

static void binding(void)
{
    xenevtchn_handle *xce = open_nonblocking(), *other = open_nonblocking();
    int waiting = show("bind_unbound_port for itself", xenevtchn_bind_unbound_port(xce, SELF));
    show("bind_unbound_port for a domain that is not there", xenevtchn_bind_unbound_port(xce, NO_SUCH_DOMAIN));
    int theirs = show("bind_unbound_port with a domid over 16 bits", xenevtchn_bind_unbound_port(xce, 0x10000 | NO_SUCH_DOMAIN));

    show("bind_interdomain to a domain that is not there", xenevtchn_bind_interdomain(xce, NO_SUCH_DOMAIN, 1));
    show("bind_interdomain to port 0", xenevtchn_bind_interdomain(xce, SELF, 0));
    show("bind_interdomain to a port that is not there", xenevtchn_bind_interdomain(xce, SELF, NO_SUCH_PORT));
    show("bind_interdomain to a port for another domain", xenevtchn_bind_interdomain(xce, SELF, theirs));
    int bound = show("bind_interdomain to a waiting port", xenevtchn_bind_interdomain(xce, SELF, waiting));
    show("bind_interdomain to a port in use", xenevtchn_bind_interdomain(other, SELF, waiting));

    show("bind_virq beyond the last", xenevtchn_bind_virq(xce, 24));
    show("bind_virq of -1", xenevtchn_bind_virq(xce, -1));
    show("bind_virq of the kernel's", xenevtchn_bind_virq(xce, 0));
    int virq = show("bind_virq of DOM_EXC", xenevtchn_bind_virq(xce, DOM_EXC));
    show("bind_virq of it again", xenevtchn_bind_virq(xce, DOM_EXC));
    show("bind_virq of it on another handle", xenevtchn_bind_virq(other, DOM_EXC));
    show("unbind of it", xenevtchn_unbind(xce, virq));
    show("bind_virq of it after that", xenevtchn_bind_virq(other, DOM_EXC));

    show("notify", xenevtchn_notify(xce, bound));
    show("notify of a port without a peer", xenevtchn_notify(xce, theirs));
    show("notify on another handle", xenevtchn_notify(other, bound));
    show("notify of port 0", xenevtchn_notify(xce, 0));
    show("notify of a port that is not there", xenevtchn_notify(xce, NO_SUCH_PORT));
    show("notify of port -1", xenevtchn_notify(xce, -1));
    show("unbind on another handle", xenevtchn_unbind(other, bound));
    show("unbind of port 0", xenevtchn_unbind(xce, 0));
    show("unbind of a port that is not there", xenevtchn_unbind(xce, NO_SUCH_PORT));
    show("unbind", xenevtchn_unbind(xce, bound));
    show("unbind again", xenevtchn_unbind(xce, bound));
    show("notify after unbind", xenevtchn_notify(xce, bound));
    show("unmask after unbind", xenevtchn_unmask(xce, bound));
    show("unmask of port 0", xenevtchn_unmask(xce, 0));
    show("unmask of a port that is not there", xenevtchn_unmask(xce, NO_SUCH_PORT));
    compare("bind_interdomain gives the number again", xenevtchn_bind_interdomain(xce, SELF, waiting) == bound);
    xenevtchn_close(xce);
    xenevtchn_close(other);
}

static void restricting(void)
{
    xenevtchn_handle *xce = open_nonblocking();
    struct pair pair = connect_ports(xce);
    show("restrict to domain 0", xenevtchn_restrict(xce, 0));
    show("restrict to a reserved domain", xenevtchn_restrict(xce, SELF));
    show("restrict", xenevtchn_restrict(xce, 7));
    show("restrict to the same domain again", xenevtchn_restrict(xce, 7));
    show("restrict to another", xenevtchn_restrict(xce, 8));
    show("bind_unbound_port, restricted", xenevtchn_bind_unbound_port(xce, 7));
    show("bind_virq, restricted", xenevtchn_bind_virq(xce, DOM_EXC));
    show("bind_interdomain to another domain, restricted", xenevtchn_bind_interdomain(xce, 8, 1));
    show("bind_interdomain to that domain over 16 bits", xenevtchn_bind_interdomain(xce, 0x10007, 1));
    show("bind_interdomain to that domain", xenevtchn_bind_interdomain(xce, 7, 1));
    show("notify, restricted", xenevtchn_notify(xce, pair.waiting));
    compare("pending, restricted", xenevtchn_pending(xce) == pair.bound);
    show("unbind, restricted", xenevtchn_unbind(xce, pair.waiting));
    xenevtchn_close(xce);
}

static void reading(void)
{
    xenevtchn_handle *xce = open_nonblocking();
    show("pending without a port", xenevtchn_pending(xce));
    struct pair one = connect_ports(xce), two = connect_ports(xce);
    show("pending without an event", xenevtchn_pending(xce));

    xenevtchn_notify(xce, two.waiting);
    xenevtchn_notify(xce, one.waiting);
    xenevtchn_notify(xce, two.waiting);
    compare("the first event is read first", xenevtchn_pending(xce) == two.bound);
    compare("and the second one then", xenevtchn_pending(xce) == one.bound);
    show("three notifies of two ports are two events", xenevtchn_pending(xce));
    show("unmask", xenevtchn_unmask(xce, two.bound));
    compare("the third is an event after the unmask", xenevtchn_pending(xce) == two.bound);
    xenevtchn_notify(xce, one.waiting);
    show("an event of a masked port", xenevtchn_pending(xce));
    xenevtchn_unmask(xce, one.bound);
    compare("it comes after the unmask", xenevtchn_pending(xce) == one.bound);

    xenevtchn_unmask(xce, one.bound);
    xenevtchn_notify(xce, one.waiting);
    xenevtchn_unbind(xce, one.bound);
    compare("an event survives the unbind of its port", xenevtchn_pending(xce) == one.bound);
    show("and is the last", xenevtchn_pending(xce));
    xenevtchn_close(xce);
}

static void polling(void)
{
    xenevtchn_handle *xce = open_nonblocking();
    struct pair one = connect_ports(xce), two = connect_ports(xce);
    int fd = xenevtchn_fd(xce);
    printf("poll of an empty ring for reading: %x\n", poll_for(xce, POLLIN));
    printf("poll of an empty ring for writing: %x\n", poll_for(xce, POLLOUT));

    int edges = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    epoll_ctl(edges, EPOLL_CTL_ADD, fd, &event);
    printf("edges of an empty ring: %d\n", epoll_wait(edges, &event, 1, 0));
    xenevtchn_notify(xce, one.waiting);
    printf("poll of an event: %x\n", poll_for(xce, POLLIN));
    printf("edges of an event: %d\n", epoll_wait(edges, &event, 1, 0));
    xenevtchn_notify(xce, two.waiting);
    printf("edges of a second event: %d\n", epoll_wait(edges, &event, 1, 0));
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(fd, &readable);
    struct timeval now = {0};
    printf("select: %d\n", select(fd + 1, &readable, NULL, NULL, &now));
    xenevtchn_pending(xce);
    printf("poll after one of two: %x\n", poll_for(xce, POLLIN));
    xenevtchn_pending(xce);
    printf("poll after both: %x\n", poll_for(xce, POLLIN));
    close(edges);
    xenevtchn_close(xce);
}

static void overflowing(void)
{
    xenevtchn_handle *xce = open_nonblocking();
    struct pair pair = connect_ports(xce);
    for (int entry = 0; entry < 65; entry++) {
        xenevtchn_notify(xce, pair.waiting);
        if (entry == 63)
            printf("poll of a full ring: %x\n", poll_for(xce, POLLIN));
        xenevtchn_unmask(xce, pair.bound);
    }
    printf("poll of an overflow: %x\n", poll_for(xce, POLLIN));
    show("pending", xenevtchn_pending(xce));
    show("pending again", xenevtchn_pending(xce));
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR);
    show("pending, blocking", xenevtchn_pending(xce));
    show("notify after an overflow", xenevtchn_notify(xce, pair.waiting));
    show("unmask after an overflow", xenevtchn_unmask(xce, pair.bound));
    int another = show("bind after an overflow", xenevtchn_bind_unbound_port(xce, SELF));
    show("unbind after an overflow", xenevtchn_unbind(xce, another));
    show("pending after all of that", xenevtchn_pending(xce));
    xenevtchn_close(xce);
}

/* A thread that sends signals to the first one, and perhaps an event. */
struct sender {
    xenevtchn_handle *xce;
    pthread_t sleeper;
    int signals, notified;
    atomic_int is_over;
};

static void ignore(int signal)
{
    (void)signal;
}

static void *send_signals(void *data)
{
    struct sender *sender = data;
    for (int sent = 0; sender->signals < 0 ? !atomic_load(&sender->is_over) : sent < sender->signals; sent++) {
        pthread_kill(sender->sleeper, SIGUSR1);
        sched_yield();
    }
    if (sender->notified)
        xenevtchn_notify(sender->xce, sender->notified);
    return NULL;
}

static void *sleep_for_ever(void *data)
{
    xenevtchn_pending(data);
    return NULL;
}

static void sleeping(void)
{
    xenevtchn_handle *xce = open_handle(0);
    struct pair pair = connect_ports(xce);
    struct sender sender = {.xce = xce, .sleeper = pthread_self(), .signals = -1};
    struct sigaction action = {.sa_handler = ignore};
    pthread_t thread;

    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, send_signals, &sender);
    show("a signal in a sleep", xenevtchn_pending(xce));
    atomic_store(&sender.is_over, 1);
    pthread_join(thread, NULL);

    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    sender.signals = 20;
    sender.notified = pair.waiting;
    pthread_create(&thread, NULL, send_signals, &sender);
    compare("a signal that restarts, and then an event", xenevtchn_pending(xce) == pair.bound);
    pthread_join(thread, NULL);

    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    show("O_NONBLOCK set later", xenevtchn_pending(xce));
    xenevtchn_unmask(xce, pair.bound);
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR);
    sender.signals = 0;
    pthread_create(&thread, NULL, send_signals, &sender);
    compare("O_NONBLOCK unset, and then an event", xenevtchn_pending(xce) == pair.bound);
    pthread_join(thread, NULL);

    void *result;
    pthread_create(&thread, NULL, sleep_for_ever, xce);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    compare("a thread is cancelled in its sleep", result == PTHREAD_CANCELED);
    xenevtchn_close(xce);
}

static void forking(void)
{
    xenevtchn_handle *xce = open_nonblocking();
    struct pair pair = connect_ports(xce);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(xenevtchn_close(xce) == 0 ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    compare("a child closes", status == 0);
    show("the parent notifies", xenevtchn_notify(xce, pair.waiting));
    compare("and gets the event", xenevtchn_pending(xce) == pair.bound);
    show("the parent closes", xenevtchn_close(xce));
}

int main(void)
{
    opening();
    adopting();
    binding();
    restricting();
    reading();
    polling();
    overflowing();
    sleeping();
    forking();
    return 0;
}
