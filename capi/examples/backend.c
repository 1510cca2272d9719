#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>

int backend_open(struct backend *backend, uint32_t domid)
{
    backend->requests = 0;
    backend->xce = xenevtchn_open(NULL, 0);
    if (!backend->xce)
        return -1;
    int port = xenevtchn_bind_unbound_port(backend->xce, domid);
    if (port < 0 || fcntl(xenevtchn_fd(backend->xce), F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        int error = errno;
        backend_close(backend);
        errno = error;
        return -1;
    }
    backend->port = port;
    return 0;
}

int backend_turn(struct backend *backend, int timeout_ms)
{
    struct pollfd polled = {.fd = xenevtchn_fd(backend->xce), .events = POLLIN};
    if (poll(&polled, 1, timeout_ms) < 0)
        return -1;

    int answered = 0, port;
    while ((port = xenevtchn_pending(backend->xce)) >= 0) {
        /* Unmasked first: a request that comes during the work is an event of its own. */
        if (xenevtchn_unmask(backend->xce, port) < 0)
            return -1;
        backend->requests++;
        if (xenevtchn_notify(backend->xce, port) < 0)
            return -1;
        answered++;
    }
    return errno == EAGAIN ? answered : -1;
}

void backend_close(struct backend *backend)
{
    xenevtchn_close(backend->xce);
    backend->xce = NULL;
}
