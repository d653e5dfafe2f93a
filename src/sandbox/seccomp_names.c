/* System calls by name and by number. */
#include "sandbox/seccomp_int.h"

static int compare(struct gvm_str a, const char *z)
{
    size_t n = strlen(z);
    int order = memcmp(a.p, z, a.n < n ? a.n : n);
    return order ? order : (a.n > n) - (a.n < n);
}

int seccomp_number(struct gvm_str name)
{
    size_t lo = 0, hi = seccomp_ncalls;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = compare(name, seccomp_calls[mid].name);
        if (order == 0)
            return seccomp_calls[mid].number;
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return -2;
}

const char *seccomp_name(int number)
{
    for (size_t i = 0; number >= 0 && i < seccomp_ncalls; i++)
        if (seccomp_calls[i].number == number)
            return seccomp_calls[i].name;
    return NULL;
}
