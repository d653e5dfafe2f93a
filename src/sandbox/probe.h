/* probe.h - the self-test's probes: what is tried from inside, and what must come of it. */
#ifndef GVM_SANDBOX_PROBE_H
#define GVM_SANDBOX_PROBE_H

#include <stddef.h>
#include "sandbox/sandbox.h"

enum probe_want {
    PROBE_REFUSED, /* EPERM, EACCES or ENOSYS: somebody said no */
    PROBE_DENIED,  /* any error */
    PROBE_WORKS,
    PROBE_KILLED, /* SIGSYS */
};

/* What the outside planted, and where. Texts live as long as the process. */
struct probe_places {
    const char *home, *workspace;
    const char *mark;     /* stands in every planted secret and in the caller's environment */
    const char *socket;   /* a Unix socket of the host, listening */
    const char *abstract; /* the same, by abstract name */
    int victim;           /* pid of a process of the same user outside */
    int report;           /* descriptor the results go to */
};

struct probe {
    const char *rows; /* of the attack catalogue; "-" = none */
    const char *what;
    enum probe_want want;
    int (*fn)(const struct probe *p, const struct probe_places *at); /* errno, 0 = it worked */
    long a, b, c;
};

const struct probe *probe_kernel(size_t *ret_n);
const struct probe *probe_files(size_t *ret_n);

#endif
