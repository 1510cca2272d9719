/* A back end that answers each request of one front end. */
#ifndef BACKEND_H
#define BACKEND_H

#include <xenevtchn.h>

struct backend {
    xenevtchn_handle *xce;
    evtchn_port_t port;
    unsigned int requests;
};

/* Opens the device and a port for a front end. Returns 0, or -1 with errno, with nothing open. */
int backend_open(struct backend *backend, uint32_t domid);

/* Waits at most this long, and answers what has come. Returns how many events it answered, or -1 with errno. */
int backend_turn(struct backend *backend, int timeout_ms);

void backend_close(struct backend *backend);

#endif
