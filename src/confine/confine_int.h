/* confine - between the files of this room. */
#ifndef GVM_CONFINE_INT_H
#define GVM_CONFINE_INT_H

#include <seccomp.h>

#include "confine/confine.h"

/* A build with AddressSanitizer is a test build: its runtime reads /proc, and looks for leaks at
 * exit from a cloned tracer. Such a build keeps those doors; lists.c and confine.c say which. */
#if defined(__SANITIZE_ADDRESS__)
#define CONFINE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONFINE_SANITIZED 1
#endif
#endif
#ifndef CONFINE_SANITIZED
#define CONFINE_SANITIZED 0
#endif

/* One argument test: (arg & mask) == value. mask 0 ends the list. */
struct confine_arg {
    unsigned arg;
    uint64_t mask, value;
};

/* One system call of a list. A call may stand in several rows: any of them lets it through. */
struct confine_call {
    const char *name;
    int refuse; /* 0: allowed; else it returns this errno instead of ending the process */
    struct confine_arg args[3];
};

/* Beside enum gvm_confine_list: the spec's w_plus_x, and "when that list is absent". */
#define CONFINE_W_PLUS_X (1u << 30)
#define CONFINE_WITHOUT  (1u << 31)

struct confine_list {
    unsigned list; /* 0 = always */
    const struct confine_call *calls;
};

/* Ended by calls == NULL. */
extern const struct confine_list confine_lists[];

/* An ordinary user may empty its bounding set only in a user namespace of its own (the same uid
 * mapped to itself). Does nothing for who has CAP_SETPCAP and where namespaces are not to be had.
 */
int confine_user_namespace(struct gvm_err *err) GVM_MUST_CHECK;
int confine_landlock(const struct gvm_confine_spec *spec, struct gvm_err *err) GVM_MUST_CHECK;
int confine_seccomp(const struct gvm_confine_spec *spec, struct gvm_err *err) GVM_MUST_CHECK;

#endif
