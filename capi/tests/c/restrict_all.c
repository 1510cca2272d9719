/*
 * Whether xentoolcore_restrict_all reaches every open handle, and no closed one. The library that has it is loaded while the program
 * runs, so the program also builds where it is not installed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <xenevtchn.h>

#define SELF 0x7ff0

static void show(const char *what, int answer)
{
    printf("%s: %s\n", what, answer < 0 ? strerrorname_np(errno) : "works");
}

int main(void)
{
    void *library = dlopen("libxentoolcore.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*restrict_all)(domid_t) = NULL;
    if (library)
        *(void **)&restrict_all = dlsym(library, "xentoolcore_restrict_all");
    if (!restrict_all) {
        printf("no xentoolcore_restrict_all: %s\n", dlerror());
        return 1;
    }
    xenevtchn_handle *closed = xenevtchn_open(NULL, 0);
    xenevtchn_handle *one = xenevtchn_open(NULL, 0), *two = xenevtchn_open(NULL, 0);
    if (!closed || !one || !two) {
        show("open", -1);
        return 1;
    }
    show("close", xenevtchn_close(closed));
    show("bind before", xenevtchn_bind_unbound_port(one, SELF));
    show("restrict_all", restrict_all(7));
    show("bind on the first handle", xenevtchn_bind_unbound_port(one, SELF));
    show("bind on the second handle", xenevtchn_bind_unbound_port(two, SELF));
    show("restrict_all again", restrict_all(7));
    xenevtchn_handle *later = xenevtchn_open(NULL, 0);
    show("bind on a later handle", xenevtchn_bind_unbound_port(later, SELF));
    xenevtchn_close(later);
    xenevtchn_close(one);
    xenevtchn_close(two);
    show("restrict_all without a handle", restrict_all(7));
    return 0;
}
