/* The front end of a back end: frontend DOMID PORT REQUESTS */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xenevtchn.h>

/* Waits for the next event. */
static int event(xenevtchn_handle *xce)
{
    int port = xenevtchn_pending(xce);
    return port < 0 ? -1 : xenevtchn_unmask(xce, port);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s DOMID PORT REQUESTS\n", argv[0]);
        return 2;
    }
    int requests = atoi(argv[3]), answers = 0;
    xenevtchn_handle *xce = xenevtchn_open(NULL, 0);
    int port = xce ? xenevtchn_bind_interdomain(xce, atoi(argv[1]), atoi(argv[2])) : -1;
    /* A bind brings an event, which means "look". */
    int failed = port < 0 || event(xce) < 0;
    while (!failed && answers < requests) {
        failed = xenevtchn_notify(xce, port) < 0 || event(xce) < 0;
        answers += !failed;
    }
    if (failed)
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    else
        printf("%d answers\n", answers);
    xenevtchn_close(xce);
    return failed;
}
