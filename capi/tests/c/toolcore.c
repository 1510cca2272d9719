/*
 * A stand-in for libxentoolcore.so.1: the functions that a handle is registered with, and the one that restricts all. It has none of
 * the library's locks.
 */
#include <stddef.h>
#include <stdint.h>

struct active {
    int (*restrict_one)(struct active *active, uint16_t domid);
    struct active *next, **link;
};

static struct active *first;

void xentoolcore__register_active_handle(struct active *active)
{
    active->next = first;
    active->link = &first;
    if (first)
        first->link = &active->next;
    first = active;
}

void xentoolcore__deregister_active_handle(struct active *active)
{
    *active->link = active->next;
    if (active->next)
        active->next->link = active->link;
}

int xentoolcore_restrict_all(uint16_t domid)
{
    for (struct active *active = first; active; active = active->next)
        if (active->restrict_one(active, domid) < 0)
            return -1;
    return 0;
}
