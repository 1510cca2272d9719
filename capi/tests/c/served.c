/*
 * Processes on one machine, which the environment names: EVTCHN_SIM and EVTCHN_SIM_DOMID.
 *
 *   served back ANSWERS EVERY DOMID...    offers a port to each domain, prints them in one line, and answers that many
 *                                         events of each; becomes another program after EVERY answers, unless that is 0
 *   served from FD EVERY LEFT             that other program
 *   served front DOMID PORT EVENTS        sends that many events, each after the answer to the one before
 *   served fork                           a child uses the handle of its parent
 *
 * Fronts print a line after each 100 answers. All print "done" at their end. A program that hangs is ended by SIGALRM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenevtchn.h>

#define SELF 0x7ff0

static xenevtchn_handle *xce;

static void end(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerrorname_np(errno));
    exit(1);
}

static void say(const char *line)
{
    printf("%s\n", line);
    fflush(stdout);
}

/* A live update: the same program goes on with the same descriptor, while events come. */
static void become_another(int every, int left)
{
    char fd[16], turns[16], answers[16];
    snprintf(fd, sizeof(fd), "%d", xenevtchn_fd(xce));
    snprintf(turns, sizeof(turns), "%d", every);
    snprintf(answers, sizeof(answers), "%d", left);
    execl("/proc/self/exe", "served", "from", fd, turns, answers, NULL);
    end("exec");
}

static void answer(int every, int left)
{
    for (int turn = 1; left > 0; turn++) {
        struct pollfd polled = {.fd = xenevtchn_fd(xce), .events = POLLIN};
        if (poll(&polled, 1, -1) != 1 || polled.revents != POLLIN)
            end("poll");
        int port = xenevtchn_pending(xce);
        if (port < 0 || xenevtchn_unmask(xce, port) < 0 || xenevtchn_notify(xce, port) < 0)
            end("answer");
        left--;
        if (turn == every)
            become_another(every, left);
    }
    xenevtchn_close(xce);
    say("done");
}

static void back(int argc, char **argv)
{
    int every = atoi(argv[3]);
    xce = xenevtchn_open(NULL, every ? XENEVTCHN_NO_CLOEXEC : 0);
    if (!xce)
        end("open");
    for (int place = 4; place < argc; place++) {
        int port = xenevtchn_bind_unbound_port(xce, atoi(argv[place]));
        if (port < 0)
            end("bind");
        printf("%d ", port);
    }
    say("");
    answer(every, atoi(argv[2]) * (argc - 4));
}

static void from(char **argv)
{
    xce = xenevtchn_fdopen(NULL, atoi(argv[2]), 0);
    if (!xce)
        end("fdopen");
    answer(atoi(argv[3]), atoi(argv[4]));
}

static void front(char **argv)
{
    xce = xenevtchn_open(NULL, 0);
    if (!xce)
        end("open");
    int port = xenevtchn_bind_interdomain(xce, atoi(argv[2]), atoi(argv[3]));
    /* Binding brings an event. */
    if (port < 0 || xenevtchn_pending(xce) != port)
        end("bind");
    for (int event = 1; event <= atoi(argv[4]); event++) {
        if (xenevtchn_unmask(xce, port) < 0 || xenevtchn_notify(xce, port) < 0)
            end("notify");
        if (xenevtchn_pending(xce) != port)
            end("pending");
        if (event % 100 == 0)
            say("goes on");
    }
    xenevtchn_close(xce);
    say("done");
}

/* The contract allows a child to close only. On Xen nothing stops it from more, because both have the same open device. */
static void with_child(void)
{
    xce = xenevtchn_open(NULL, 0);
    if (!xce)
        end("open");
    fcntl(xenevtchn_fd(xce), F_SETFL, O_RDWR | O_NONBLOCK);
    int waiting = xenevtchn_bind_unbound_port(xce, SELF);
    int bound = xenevtchn_bind_interdomain(xce, SELF, waiting);
    int status;
    pid_t child = fork();
    if (child == 0) {
        int taken = xenevtchn_pending(xce);
        if (taken != bound || xenevtchn_unmask(xce, bound) || xenevtchn_notify(xce, waiting))
            end("a child");
        _exit(xenevtchn_close(xce));
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        end("wait");
    printf("the parent gets what the child sent: %s\n", xenevtchn_pending(xce) == bound ? "yes" : "no");
    printf("and not what the child took: %s\n", xenevtchn_pending(xce) < 0 ? strerrorname_np(errno) : "it does");

    /* A child that lives longer than its parent keeps the device open. */
    child = fork();
    if (child != 0)
        exit(0);
    xenevtchn_unmask(xce, bound);
    say(xenevtchn_notify(xce, waiting) == 0 && xenevtchn_pending(xce) == bound ? "done" : "lost");
    /* The test looks at the machine meanwhile. */
    getchar();
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";
    alarm(300);
    if (!strcmp(role, "back") && argc > 4)
        back(argc, argv);
    else if (!strcmp(role, "from") && argc == 5)
        from(argv);
    else if (!strcmp(role, "front") && argc == 5)
        front(argv);
    else if (!strcmp(role, "fork"))
        with_child();
    else
        return 2;
    return 0;
}
