/*
 * The simulated machine of libxenevtchn-sim: what a test does to it while its program runs on the functions of xenevtchn.h.
 *
 * There is one machine at a time, with a domain 0, and it is deterministic: the same seed and the same calls give the same run. A call
 * that fails returns -1 and sets errno. The functions may be called from any thread.
 *
 * A simulated descriptor is a socket, which is only good for poll, select, epoll and F_SETFL. After an overflow it shows POLLOUT beside
 * POLLERR. A forked child has a copy of the machine: what it does there changes nothing for its parent.
 *
 * With EVTCHN_SIM=PATH in the environment, a program that does not call evtchn_sim_new is on the machine that `evtchn sim --listen PATH`
 * serves to several processes. It opens its handles in the domain that EVTCHN_SIM_DOMID names, or in 0. A descriptor is then inherited over
 * a fork and an exec as on Xen, and xenevtchn_fdopen of it works. The functions below act on that machine, except evtchn_sim_after, which
 * fails with EOPNOTSUPP, and evtchn_sim_own_time, which has no effect there. If the server goes away, every call fails with EIO.
 */
#ifndef EVTCHN_SIM_H
#define EVTCHN_SIM_H

#include <stddef.h>
#include <stdint.h>

#include <xenevtchn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A new machine, in this process. Handles that are open stay on the former one. */
void evtchn_sim_new(uint64_t seed);

/* Creates a guest, and returns its domid. */
int evtchn_sim_create_domain(void);

/* Destroys a domain. Its peers get no event, as on Xen; VIRQ_DOM_EXC is raised. */
int evtchn_sim_destroy_domain(uint32_t domid);

/*
 * Saves a domain, other than 0, and restores it at once, as when it is migrated. Ports that handles had bound there are dead: notify and
 * unmask succeed without effect, and no event comes. A bind gives a port of the new domain, or fails with EEXIST where its number is that
 * of a dead port of the handle. To unbind a dead port, or to close a handle that has some, is a violation, because a kernel need not
 * survive it.
 */
int evtchn_sim_save_restore(uint32_t domid);

/* Saves a domain that goes on afterwards, with its ports. */
int evtchn_sim_checkpoint(uint32_t domid);

/* From now on xenevtchn_open opens devices in this domain; in domain 0 before the first call. */
int evtchn_sim_enter(uint32_t domid);

/*
 * What the kernel of a domain does, for example a guest with its front ends: it allocates a port that `remote` may bind to, binds to a
 * port of `remote`, sends through a port, closes a port. The first two return the port. The last one returns how many events
 * the kernel has handled on a port of its own.
 */
int evtchn_sim_alloc_unbound(uint32_t domid, uint32_t remote);
int evtchn_sim_bind_interdomain(uint32_t domid, uint32_t remote, uint32_t remote_port);
int evtchn_sim_send(uint32_t domid, uint32_t port);
int evtchn_sim_close(uint32_t domid, uint32_t port);
int evtchn_sim_events(uint32_t domid, uint32_t port);

/* Raises a virtual interrupt for a domain. */
int evtchn_sim_raise_virq(uint32_t domid, unsigned int virq);

enum evtchn_sim_delivery {
    EVTCHN_SIM_IMMEDIATE, /* events arrive before the call that caused them returns */
    EVTCHN_SIM_HELD,      /* one at a time, by evtchn_sim_step */
    EVTCHN_SIM_DELAYED,   /* within `most_ns` of virtual time, when the seed says */
};
int evtchn_sim_set_delivery(int delivery, uint64_t most_ns);

/* Lets one event arrive, which the seed chooses. Returns 1, or 0 if none is under way. */
int evtchn_sim_step(void);

/* How many ports have an event under way. */
int evtchn_sim_held(void);

enum evtchn_sim_call {
    EVTCHN_SIM_OPEN,
    EVTCHN_SIM_BIND_UNBOUND_PORT,
    EVTCHN_SIM_BIND_INTERDOMAIN,
    EVTCHN_SIM_BIND_VIRQ,
    EVTCHN_SIM_UNBIND,
    EVTCHN_SIM_NOTIFY,
    EVTCHN_SIM_PENDING,
    EVTCHN_SIM_UNMASK,
    EVTCHN_SIM_RESTRICT,
    EVTCHN_SIM_RESET,
};

/* Makes the `nth` such call from now on fail with this errno, and do nothing. 1 is the next one, and 0 means every one. */
int evtchn_sim_fail(int call, int error, uint64_t nth);
void evtchn_sim_clear_faults(void);

/* The ring of a handle overflows, as if an event had found it full. */
int evtchn_sim_overflow(xenevtchn_handle *xce);

/*
 * Virtual time, in nanoseconds since the start of the machine. It passes when a test lets it pass. `act` is called once `delay` has
 * passed, by evtchn_sim_advance or in a sleep in own time, and may call everything.
 */
uint64_t evtchn_sim_now(void);
void evtchn_sim_advance(uint64_t by);
int evtchn_sim_after(uint64_t delay, void (*act)(void *data), void *data);

/*
 * On: a sleep in xenevtchn_pending lets happen what is due next, at once, and fails with EDEADLK if nothing could ever end it. Off, as
 * at first: it sleeps until another thread acts, or a signal comes.
 */
void evtchn_sim_own_time(int is_on);

/* How many devices are open in all domains. */
int evtchn_sim_open_files(void);

/* A hash over all that happened: equal if and only if two runs were the same. */
uint64_t evtchn_sim_digest(void);

/*
 * Text, as from snprintf: at most `size` bytes with the final zero, and the length of all of it is returned. The dump has a line for
 * each port that is not free and for each open device. A violation is a call that xenevtchn.h forbids, or that does something else
 * than it seems: an unmask of a port whose event is unread or that is not bound, a domid over 16 bits, a handle used in a forked child,
 * ports from before a restore that are unbound or closed. On a machine that is served, unmasks and ports from before a restore are not
 * looked at.
 */
size_t evtchn_sim_dump(char *buffer, size_t size);
size_t evtchn_sim_violations(char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
