/* The reviewed system-call lists.
 *
 * A call that is in no list of a process ends it. Two kinds of rows soften that on purpose: calls
 * our libraries make only to probe (opening a locale, a random device, io_uring) return an errno,
 * so that the library takes its fallback; and calls that are safe with some arguments only carry a
 * test. Who adds a row says which function or library needs it. A row a kernel or architecture does
 * not know is skipped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "confine/confine_int.h"

#define ALL 0xffffffffull /* int arguments: the kernel looks at 32 bits */

/* glibc (malloc, stdio, pthread, abort, sysconf), OpenSSL (entropy, locks, clocks). */
static const struct confine_call base[] = {
    {"read"},
    {"readv"},
    {"write"},
    {"writev"},
    {"close"},
    {"lseek"},
    {"fstat"},
    {"newfstatat", 0, {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}}, /* fstat() of newer glibc */
    {"brk"},
    {"munmap"},
    {"mremap"},
    {"madvise"},
    {"membarrier"},
    {"futex"},
    {"futex_waitv"},
    {"set_robust_list"},
    {"get_robust_list"},
    {"rseq"},
    {"sched_yield"},
    {"sched_getaffinity"},
    {"getcpu"},
    {"clock_gettime"},
    {"clock_getres"},
    {"clock_nanosleep"},
    {"nanosleep"},
    {"gettimeofday"},
    {"time"},
    {"getrandom"},
    {"rt_sigaction"},
    {"rt_sigprocmask"},
    {"rt_sigreturn"},
    {"sigaltstack"},
    {"restart_syscall"},
    {"exit"},
    {"exit_group"},
    {"getpid"},
    {"gettid"},
    {"getppid"},
    {"getuid"},
    {"geteuid"},
    {"getgid"},
    {"getegid"},
    {"sysinfo"},
    {"uname"},
    {"getrlimit"},
    {"getrusage"},
    {"prlimit64", 0, {{2, ~0ull, 0}}}, /* reading limits; setting is not in the list */
    {"dup"},
    {"dup3"},
    {"fcntl", 0, {{1, ALL, F_DUPFD_CLOEXEC}}},
    {"fcntl", 0, {{1, ALL, F_GETFD}}},
    {"fcntl", 0, {{1, ALL, F_SETFD}}},
    {"fcntl", 0, {{1, ALL, F_GETFL}}},
    {"fcntl", 0, {{1, ALL, F_SETFL}}},
    {"ioctl", 0, {{1, ALL, FIONBIO}}},
    {"ioctl", 0, {{1, ALL, FIONREAD}}}, /* libuv */
    {"ioctl", 0, {{1, ALL, FIOCLEX}}},
    {"ioctl", ENOTTY, {{1, ALL, TCGETS}}}, /* stdio asks whether a descriptor is a terminal */
    {"prctl", 0, {{0, ALL, PR_SET_NAME}}},
    {"prctl", 0, {{0, ALL, 0x53564d41}}}, /* PR_SET_VMA: glibc names its heaps */
    /* Probes with a fallback. */
    {"clone3", ENOSYS},
    {"io_uring_setup", ENOSYS},
    {"userfaultfd", ENOSYS},
    {NULL},
};

/* For processes that hold no files: opening by name fails like a missing file. glibc opens
 * /etc/localtime, locales and /sys/devices/system/cpu; OpenSSL its configuration. */
static const struct confine_call no_files[] = {
    {"open", EACCES},
    {"openat", EACCES},
    {"openat2", EACCES},
    {"access", EACCES},
    {"faccessat", EACCES},
    {"faccessat2", EACCES},
    {"stat", EACCES},
    {"lstat", EACCES},
    {"statx", EACCES},
    {"readlink", EACCES},
    {"readlinkat", EACCES},
    {"getcwd", EACCES},
    {NULL},
};

/* Pages that were or become writable are never executable. mmap and mprotect take prot as
 * argument 2. */
static const struct confine_call no_exec_pages[] = {
    {"mmap", 0, {{2, 4 /* PROT_EXEC */, 0}}},
    {"mmap", EACCES, {{2, 4, 4}}},
    {"mprotect", 0, {{2, 4, 0}}},
    {"mprotect", EACCES, {{2, 4, 4}}},
    {NULL},
};

/* PCRE2's JIT writes code and runs it. */
static const struct confine_call exec_pages[] = {{"mmap"}, {"mprotect"}, {NULL}};

static const struct confine_call loop[] = {
    {"epoll_create1"},   {"epoll_ctl"}, {"epoll_wait"},     {"epoll_pwait"},
    {"epoll_pwait2"},    {"eventfd2"},  {"timerfd_create"}, {"timerfd_settime"},
    {"timerfd_gettime"}, {"poll"},      {"ppoll"},          {"signalfd4"},
    {"pipe2"},           {NULL},
};

/* Sockets we hold: no new ones, no new names. */
static const struct confine_call unix_sockets[] = {
    {"sendmsg"},  {"recvmsg"},    {"sendmmsg"},   {"recvmmsg"},    {"sendto"},      {"recvfrom"},
    {"shutdown"}, {"getsockopt"}, {"setsockopt"}, {"getsockname"}, {"getpeername"}, {NULL},
};

/* The type argument also carries SOCK_CLOEXEC and SOCK_NONBLOCK. */
#define KIND 0xfull
static const struct confine_call inet[] = {
    {"socket", 0, {{0, ALL, AF_INET}, {1, KIND, SOCK_STREAM}}},
    {"socket", 0, {{0, ALL, AF_INET}, {1, KIND, SOCK_DGRAM}}},
    {"socket", 0, {{0, ALL, AF_INET6}, {1, KIND, SOCK_STREAM}}},
    {"socket", 0, {{0, ALL, AF_INET6}, {1, KIND, SOCK_DGRAM}}},
    {"connect"},
    {"bind"},
    {"accept4"},
    {"sendmsg"},
    {"recvmsg"},
    {"sendmmsg"},
    {"recvmmsg"},
    {"sendto"},
    {"recvfrom"},
    {"shutdown"},
    {"getsockopt"},
    {"setsockopt"},
    {"getsockname"},
    {"getpeername"},
    {NULL},
};

/* Which files is Landlock's business. */
static const struct confine_call files[] = {
    {"open"},
    {"openat"},
    {"openat2"},
    {"access"},
    {"faccessat"},
    {"faccessat2"},
    {"stat"},
    {"lstat"},
    {"statx"},
    {"newfstatat"},
    {"fstatfs"},
    {"readlink"},
    {"readlinkat"},
    {"getcwd"},
    {"mkdir"},
    {"mkdirat"},
    {"rename"},
    {"renameat"},
    {"renameat2"},
    {"unlink"},
    {"unlinkat"},
    {"rmdir"},
    {"linkat"},
    {"fsync"},
    {"fdatasync"},
    {"sync_file_range"},
    {"fallocate"},
    {"ftruncate"},
    {"fchmod"},
    {"fadvise64"},
    {"flock"},
    {"getdents64"},
    {"pread64"},
    {"pwrite64"},
    {"preadv"},
    {"pwritev"},
    {"pwritev2"},
    {"fcntl", 0, {{1, ALL, F_OFD_SETLK}}},
    {"fcntl", 0, {{1, ALL, F_OFD_GETLK}}},
    {NULL},
};

#define NAMESPACES                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)
#define THREAD (CLONE_VM | CLONE_THREAD | CLONE_SIGHAND)
static const struct confine_call threads[] = {
    {"clone", 0, {{0, THREAD | NAMESPACES, THREAD}}},
    {"set_tid_address"},
    {NULL},
};

/* listen: libuv repeats it on the sockets it was handed. */
static const struct confine_call accept_sockets[] = {{"accept"}, {"accept4"}, {"listen"}, {NULL}};

#if CONFINE_SANITIZED
/* AddressSanitizer and LeakSanitizer. */
static const struct confine_call sanitizer[] = {
    {"clone"},
    {"ptrace"},
    {"wait4"},
    {"prctl"},
    {"process_vm_readv"},
    {"arch_prctl"},
    {"kill"},
    {"tgkill"},
    {"sched_setaffinity"},
    {"prlimit64"},
    {"ioctl"},
    {"getdents"},
    {"getdents64"},
    {"pipe2"},
    {"open"},
    {"openat"},
    {"readlink"},
    {"readlinkat"},
    {"stat"},
    {"newfstatat"},
    {"getcwd"},
    {NULL},
};
#endif

const struct confine_list confine_lists[] = {
    {0, base},
    {CONFINE_WITHOUT | GVM_CONFINE_FILES, no_files},
    {CONFINE_WITHOUT | CONFINE_W_PLUS_X, no_exec_pages},
    {CONFINE_W_PLUS_X, exec_pages},
    {GVM_CONFINE_LOOP, loop},
    {GVM_CONFINE_UNIX, unix_sockets},
    {GVM_CONFINE_INET, inet},
    {GVM_CONFINE_FILES, files},
    {GVM_CONFINE_THREADS, threads},
    {GVM_CONFINE_ACCEPT, accept_sockets},
#if CONFINE_SANITIZED
    {0, sanitizer},
#endif
    {0, NULL},
};
