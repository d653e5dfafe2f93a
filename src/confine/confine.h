/* confine - our own isolation: what a gvmd child may still do once it serves.
 *
 * Owns:       nothing; changes the calling process for good.
 * Threads:    call before any thread is started.
 * On failure: the process must exit; a child that is not confined never serves.
 */
#ifndef GVM_CONFINE_H
#define GVM_CONFINE_H

#include "core/core.h"

/* Which kernel doors stay open, as a set of reviewed system-call lists (confine/lists.c). */
enum gvm_confine_list {
    GVM_CONFINE_BASE = 1u << 0, /* memory, futex, clocks, signals' return, read/write/close, exit */
    GVM_CONFINE_LOOP = 1u << 1, /* epoll, eventfd, timerfd, poll (libuv) */
    GVM_CONFINE_UNIX = 1u << 2, /* sendmsg/recvmsg on sockets we already hold */
    GVM_CONFINE_INET =
        1u << 3, /* socket(AF_INET/6, STREAM|DGRAM), connect, bind, accept4, sockopts */
    GVM_CONFINE_FILES =
        1u << 4, /* openat, mkdirat, renameat, fdatasync, fallocate, flock, getdents64 */
    GVM_CONFINE_THREADS = 1u << 5, /* clone for threads only */
    GVM_CONFINE_ACCEPT = 1u << 6,  /* accept4 on sockets we already hold */
};

struct gvm_confine_spec {
    const char *name; /* process name for messages and PR_SET_NAME: "gvmd-proxy" */
    unsigned lists;
    const int *dirs_rw; /* directory descriptors Landlock keeps writable beneath */
    unsigned ndirs_rw;
    const int *dirs_ro;
    unsigned ndirs_ro;
    bool net_connect; /* Landlock: TCP connect stays possible */
    bool w_plus_x;    /* PCRE2 JIT pages; otherwise mprotect/mmap with W and X is refused */
};

/* In order: no_new_privs, not dumpable, core size 0, all capability sets empty, Landlock at the
 * kernel's ABI (files, TCP, signals, abstract sockets), seccomp last (default: kill the process;
 * with $GVM_CONFINE_LOG=1 log and return EPERM, for tests). Missing Landlock is an error only when
 * the kernel has it and refuses. */
int gvm_confine(const struct gvm_confine_spec *spec, struct gvm_err *err) GVM_MUST_CHECK;
/* The first stage alone, for the parent: no_new_privs, not dumpable, core size 0. */
int gvm_harden(struct gvm_err *err) GVM_MUST_CHECK;
/* Landlock ABI of this kernel, 0 = none. */
int gvm_landlock_abi(void);
/* Empties effective, permitted, inheritable, ambient and bounding sets, locks securebits where it
 * can. */
int gvm_caps_drop_all(struct gvm_err *err) GVM_MUST_CHECK;

#endif
