/*
 * Xen event channels: the interface of libxenevtchn.so.1.
 *
 * A call that fails returns -1, or a null pointer, and errno says why: it is the errno of the system call that was made. A null handle
 * is EINVAL. No function prints or logs.
 *
 * Threads may share a handle. With O_NONBLOCK off, a thread in xenevtchn_pending sleeps until a port fires; of several threads one
 * gets it.
 *
 * After fork(2) the child may only close the handle: it has the same open device as its parent, so it would take the parent's
 * events. It opens a handle of its own.
 */
#ifndef XENEVTCHN_H
#define XENEVTCHN_H

#include <stdint.h>

#ifdef __has_include
#if __has_include(<xen/event_channel.h>)
#define EVTCHN_HAS_XEN_HEADERS
#include <xen/event_channel.h>
#endif
#endif
#ifndef EVTCHN_HAS_XEN_HEADERS
typedef uint32_t evtchn_port_t;
typedef uint16_t domid_t;
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A port, which fits in 31 bits, or -1. */
typedef int xenevtchn_port_or_error_t;

typedef struct xenevtchn_handle xenevtchn_handle;

struct xentoollog_logger;

/* The descriptor stays open when the process executes another program. */
#define XENEVTCHN_NO_CLOEXEC (1 << 0)

/* Opens the device, for reading without O_NONBLOCK. The logger may be null, and is not used. EINVAL for another flag. */
xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags);

/*
 * Makes a handle of a descriptor that a former program of this process got from xenevtchn_fd, after XENEVTCHN_NO_CLOEXEC. The
 * ports that it had bound stay bound. The handle owns the descriptor. EINVAL for any flag.
 */
xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd, unsigned int flags);

/* Closes a handle, which unbinds its ports. Does nothing for a null pointer. */
int xenevtchn_close(xenevtchn_handle *xce);

/*
 * The descriptor, to poll for reading and to set O_NONBLOCK on.
 *
 * After an overflow of the driver's ring every xenevtchn_pending fails with EFBIG, for good. If the environment has
 * EVTCHN_SURVIVE_OVERFLOW=1 when the handle is opened, that does not happen: xenevtchn_pending then returns each bound port once, and
 * the handle goes on. The descriptor is an epoll instance in this case, and shows readiness only.
 */
int xenevtchn_fd(xenevtchn_handle *xce);

/* Sends an event to the other end of a port. ENOTCONN for a port that the handle has not bound. */
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port);

/* Allocates a port that a domain may bind to, and returns it. */
xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *xce, uint32_t domid);

/* Binds a new port to a port of a domain, and returns it. The new port has an event at once, which no peer has sent. */
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote_port);

/* Binds a new port to a virtual interrupt, and returns it. */
xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq);

/* Unbinds a port. */
int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port);

/*
 * Returns a port that has fired. It stays masked until xenevtchn_unmask: events that come meanwhile are one more event then. Without
 * such a port it sleeps, or fails with EAGAIN if O_NONBLOCK is set. A signal ends the sleep with EINTR.
 */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce);

/* Unmasks a port that xenevtchn_pending has returned. It also succeeds, without effect, for a port that the handle has not bound. */
int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port);

/* Restricts the handle to one domain, for good. */
int xenevtchn_restrict(xenevtchn_handle *xce, domid_t domid);

#ifdef __cplusplus
}
#endif

#endif
