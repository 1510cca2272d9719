/* The back end on a host: backend_main DOMID */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

int main(int argc, char **argv)
{
    struct backend backend;
    if (argc != 2) {
        fprintf(stderr, "usage: %s DOMID\n", argv[0]);
        return 2;
    }
    if (backend_open(&backend, strtoul(argv[1], NULL, 10)) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        return 1;
    }
    printf("port %u\n", backend.port);
    fflush(stdout);
    while (backend_turn(&backend, -1) >= 0)
        ;
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    backend_close(&backend);
    return 1;
}
