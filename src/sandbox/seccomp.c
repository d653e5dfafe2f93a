/* Which system calls a sandbox has.
 *
 * The filter is assembled here, as a binary search over ranges of call numbers: about 150
 * instructions in a few microseconds, where libseccomp takes 1-2 ms for the same list on every
 * start of a run. Every call that existed when this was written is allowed unless the tables below
 * say otherwise; numbers beyond are ENOSYS, so that a new kernel does not open new doors. On x86-64
 * the x32 numbers, and everywhere a call from another architecture (int 0x80), kill the process.
 *
 * Calls whose arguments matter have a check of their own: clone (namespaces), socket and socketpair
 * (families, types, protocols), ioctl (typing into terminals), prctl, personality, mknod (devices).
 * Arguments are compared by their low 32 bits where the kernel takes an int.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef NATIVE_ARCH
_Static_assert(0, "no system call table for this architecture");
#define NATIVE_ARCH 0
#endif

#define LAST_KNOWN                                                                                 \
    468 /* file_getattr, Linux 6.17; 424 and up are the same on every architecture                 \
         */
#define MAX_INSNS 1024

enum action {
    NOSYS = 0,
    ALLOW,
    REFUSE,
    KILL,
    CHECK_CLONE,
    CHECK_SOCKET,
    CHECK_SOCKETPAIR,
    CHECK_IOCTL,
    CHECK_PRCTL,
    CHECK_PERSONALITY,
    CHECK_MKNOD,
    CHECK_MKNODAT
};

struct row {
    int nr;
    enum action action;
};

static const struct row rows[] = {
    /* namespaces and mounts */
    {SYS_unshare, REFUSE},
    {SYS_setns, REFUSE},
    {SYS_clone, CHECK_CLONE},
    {435 /* clone3 */, NOSYS},
    {SYS_mount, REFUSE},
    {SYS_umount2, REFUSE},
    {SYS_pivot_root, REFUSE},
    {SYS_chroot, REFUSE},
    {428 /* open_tree */, REFUSE},
    {429 /* move_mount */, REFUSE},
    {430 /* fsopen */, REFUSE},
    {431 /* fsconfig */, REFUSE},
    {432 /* fsmount */, REFUSE},
    {433 /* fspick */, REFUSE},
    {442 /* mount_setattr */, REFUSE},
    {457 /* statmount */, REFUSE},
    {458 /* listmount */, REFUSE},
    {467 /* open_tree_attr */, REFUSE},
    /* other processes */
    {SYS_ptrace, REFUSE},
    {SYS_process_vm_readv, REFUSE},
    {SYS_process_vm_writev, REFUSE},
    {438 /* pidfd_getfd */, REFUSE},
    {440 /* process_madvise */, REFUSE},
    {448 /* process_mrelease */, REFUSE},
    {SYS_kcmp, REFUSE},
    /* the kernel itself */
    {SYS_bpf, REFUSE},
    {SYS_perf_event_open, REFUSE},
    {SYS_userfaultfd, REFUSE},
    {SYS_add_key, REFUSE},
    {SYS_request_key, REFUSE},
    {SYS_keyctl, REFUSE},
    {SYS_init_module, REFUSE},
    {SYS_finit_module, REFUSE},
    {SYS_delete_module, REFUSE},
    {SYS_kexec_load, REFUSE},
    {SYS_kexec_file_load, REFUSE},
    {SYS_syslog, REFUSE},
    {SYS_lookup_dcookie, REFUSE},
    {SYS_nfsservctl, REFUSE},
    {459 /* lsm_get_self_attr */, REFUSE},
    {460 /* lsm_set_self_attr */, REFUSE},
    {461 /* lsm_list_modules */, REFUSE},
    {425 /* io_uring_setup */, NOSYS},
    {426 /* io_uring_enter */, NOSYS},
    {427 /* io_uring_register */, NOSYS},
    /* the machine */
    {SYS_acct, REFUSE},
    {SYS_swapon, REFUSE},
    {SYS_swapoff, REFUSE},
    {SYS_reboot, REFUSE},
    {SYS_settimeofday, REFUSE},
    {SYS_clock_settime, REFUSE},
    {SYS_adjtimex, REFUSE},
    {SYS_clock_adjtime, REFUSE},
    {SYS_sethostname, REFUSE},
    {SYS_setdomainname, REFUSE},
    {SYS_vhangup, REFUSE},
    {SYS_quotactl, REFUSE},
    {443 /* quotactl_fd */, REFUSE},
    /* files by other ways than their path */
    {SYS_open_by_handle_at, REFUSE},
    {SYS_name_to_handle_at, REFUSE},
    {SYS_fanotify_init, REFUSE},
    {SYS_fanotify_mark, REFUSE},
    /* by argument */
    {SYS_socket, CHECK_SOCKET},
    {SYS_socketpair, CHECK_SOCKETPAIR},
    {SYS_ioctl, CHECK_IOCTL},
    {SYS_prctl, CHECK_PRCTL},
    {SYS_personality, CHECK_PERSONALITY},
    {SYS_mknodat, CHECK_MKNODAT},
#if defined(__x86_64__)
    {SYS_mknod, CHECK_MKNOD},
    {SYS_iopl, REFUSE},
    {SYS_ioperm, REFUSE},
    {SYS_modify_ldt, REFUSE},
    {SYS_uselib, REFUSE},
    {SYS__sysctl, REFUSE},
    {SYS_create_module, REFUSE},
    {SYS_query_module, REFUSE},
    {SYS_get_kernel_syms, REFUSE},
    {SYS_ustat, REFUSE},
    {SYS_sysfs, REFUSE},
#endif
};

/* What pid 1 needs once the agent runs. */
static const int init_calls[] = {
    SYS_read,           SYS_write,           SYS_close,  SYS_ppoll,
    SYS_recvmsg,        SYS_sendmsg,         SYS_wait4,  SYS_waitid,
    SYS_kill,           SYS_exit_group,      SYS_exit,   SYS_rt_sigreturn,
    SYS_rt_sigprocmask, SYS_restart_syscall, SYS_getpid, SYS_gettid,
    SYS_futex,          SYS_munmap,          SYS_brk,
#if defined(__x86_64__)
    SYS_poll,
#endif
};

/* ---- assembling ---- */

struct program {
    struct sock_filter insn[MAX_INSNS];
    unsigned n;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (p->n < MAX_INSNS)
        p->insn[p->n] = (struct sock_filter){code, jt, jf, k};
    p->n++;
}

static void emit_return(struct program *p, uint32_t value)
{
    emit(p, BPF_RET | BPF_K, value, 0, 0);
}

static void emit_error(struct program *p, int code)
{
    emit_return(p, SECCOMP_RET_ERRNO | (uint32_t)code);
}

/* Loads the low half of argument `i`. Both architectures are little-endian. */
static void load_arg(struct program *p, unsigned i)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + i * 8), 0,
         0);
}

/* If the accumulator equals `v`, ends with `ret`. */
static void return_if(struct program *p, uint32_t v, uint32_t ret)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, v, 0, 1);
    emit_return(p, ret);
}

/* The next instructions run only when the accumulator equals `v`; end_if() closes the block. */
static unsigned begin_if(struct program *p, uint32_t v)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, v, 0, 0);
    return p->n - 1;
}

static void end_if(struct program *p, unsigned at)
{
    if (at < MAX_INSNS)
        p->insn[at].jf = (uint8_t)(p->n - at - 1);
}

static void check_clone(struct program *p)
{
    const uint32_t any_namespace = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    load_arg(p, 0);
    emit(p, BPF_JMP | BPF_JSET | BPF_K, any_namespace, 0, 1);
    emit_error(p, EPERM);
    emit_return(p, SECCOMP_RET_ALLOW);
}

static void check_socket(struct program *p)
{
    load_arg(p, 0);
    return_if(p, AF_UNIX, SECCOMP_RET_ALLOW);
    unsigned at = begin_if(p, AF_NETLINK); /* only to ask about links, addresses and routes */
    load_arg(p, 2);
    return_if(p, NETLINK_ROUTE, SECCOMP_RET_ALLOW);
    emit_error(p, EPERM);
    end_if(p, at);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    emit_error(p, EPERM);
    load_arg(p, 1);
    emit(p, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
    at = begin_if(p, SOCK_STREAM);
    load_arg(p, 2);
    return_if(p, 0, SECCOMP_RET_ALLOW);
    return_if(p, IPPROTO_TCP, SECCOMP_RET_ALLOW);
    emit_error(p, EPROTONOSUPPORT); /* MPTCP, SCTP: Go and others then take TCP */
    end_if(p, at);
    at = begin_if(p, SOCK_DGRAM);
    load_arg(p, 2);
    return_if(p, 0, SECCOMP_RET_ALLOW);
    return_if(p, IPPROTO_UDP, SECCOMP_RET_ALLOW);
    return_if(p, IPPROTO_ICMP,
              SECCOMP_RET_ALLOW); /* ping: refused by the kernel's own group range */
    return_if(p, IPPROTO_ICMPV6, SECCOMP_RET_ALLOW);
    emit_error(p, EPROTONOSUPPORT);
    end_if(p, at);
    emit_error(p, EPERM);
}

static void check_socketpair(struct program *p)
{
    load_arg(p, 0);
    return_if(p, AF_UNIX, SECCOMP_RET_ALLOW);
    emit_error(p, EPERM);
}

/* Argument `i` may be anything but one of `values`. */
static void check_none_of(struct program *p, unsigned i, const uint32_t *values, size_t n)
{
    load_arg(p, i);
    for (size_t k = 0; k < n; k++)
        return_if(p, values[k], SECCOMP_RET_ERRNO | EPERM);
    emit_return(p, SECCOMP_RET_ALLOW);
}

static void check_ioctl(struct program *p)
{
    /* TIOCSTI, TIOCLINUX (typing for somebody else), TIOCCONS, TIOCSETD (line disciplines) */
    static const uint32_t refused[] = {0x5412, 0x541C, 0x541D, 0x5423};
    check_none_of(p, 1, refused, 4);
}

static void check_prctl(struct program *p)
{
    /* PR_MCE_KILL, PR_SET_MM, PR_SET_IO_FLUSHER, PR_SET_SYSCALL_USER_DISPATCH, PR_SCHED_CORE */
    static const uint32_t refused[] = {33, 35, 57, 59, 62};
    check_none_of(p, 0, refused, 5);
}

static void check_personality(struct program *p)
{
    load_arg(p, 0);
    return_if(p, 0, SECCOMP_RET_ALLOW);
    return_if(p, 0xffffffff, SECCOMP_RET_ALLOW); /* only asks */
    return_if(p, 0x40000, SECCOMP_RET_ALLOW); /* ADDR_NO_RANDOMIZE, for debuggers of own children */
    emit_error(p, EPERM);
}

static void check_mknod(struct program *p, unsigned mode_arg)
{
    load_arg(p, mode_arg);
    emit(p, BPF_ALU | BPF_AND | BPF_K, S_IFMT, 0, 0);
    return_if(p, S_IFCHR, SECCOMP_RET_ERRNO | EPERM);
    return_if(p, S_IFBLK, SECCOMP_RET_ERRNO | EPERM);
    emit_return(p, SECCOMP_RET_ALLOW);
}

static void emit_action(struct program *p, enum action a)
{
    switch (a) {
    case ALLOW:
        emit_return(p, SECCOMP_RET_ALLOW);
        break;
    case REFUSE:
        emit_error(p, EPERM);
        break;
    case KILL:
        emit_return(p, SECCOMP_RET_KILL_PROCESS);
        break;
    case CHECK_CLONE:
        check_clone(p);
        break;
    case CHECK_SOCKET:
        check_socket(p);
        break;
    case CHECK_SOCKETPAIR:
        check_socketpair(p);
        break;
    case CHECK_IOCTL:
        check_ioctl(p);
        break;
    case CHECK_PRCTL:
        check_prctl(p);
        break;
    case CHECK_PERSONALITY:
        check_personality(p);
        break;
    case CHECK_MKNOD:
        check_mknod(p, 1);
        break;
    case CHECK_MKNODAT:
        check_mknod(p, 2);
        break;
    case NOSYS:
    default:
        emit_error(p, ENOSYS);
        break;
    }
}

struct range {
    uint32_t from;
    enum action action;
};

/* Neighbours with the same plain action share a range. Ends with one that has no upper bound. */
static unsigned make_ranges(const uint8_t action[LAST_KNOWN + 1], enum action beyond,
                            struct range *out)
{
    unsigned n = 0;
    for (uint32_t nr = 0; nr <= LAST_KNOWN + 1u; nr++) {
        enum action a = nr > LAST_KNOWN ? beyond : (enum action)action[nr];
        if (n == 0 || out[n - 1].action != a || a >= CHECK_CLONE)
            out[n++] = (struct range){nr, a};
    }
    return n;
}

/* Binary search over ranges [lo, hi): no recursion deeper than log2 of their number. The far side
 * is reached with a long jump, as conditional ones span 255 instructions at most. */
static void emit_search(struct program *p, const struct range *r, unsigned lo, unsigned hi)
{
    if (hi - lo == 1) {
        emit_action(p, r[lo].action);
        return;
    }
    unsigned mid = lo + (hi - lo) / 2;
    emit(p, BPF_JMP | BPF_JGE | BPF_K, r[mid].from, 0, 1);
    emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
    unsigned jump = p->n - 1;
    emit_search(p, r, lo, mid);
    if (jump < MAX_INSNS)
        p->insn[jump].k = p->n - jump - 1;
    emit_search(p, r, mid, hi);
}

static int build(struct program *p, const uint8_t action[LAST_KNOWN + 1], enum action beyond)
{
    struct range ranges[LAST_KNOWN + 2];
    unsigned n = make_ranges(action, beyond, ranges);
    p->n = 0;
    emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
    emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
#if defined(__x86_64__)
    emit(p, BPF_JMP | BPF_JSET | BPF_K, 0x40000000, 0, 1); /* x32 */
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
#endif
    emit_search(p, ranges, 0, n);
    return p->n <= MAX_INSNS ? 0 : -E2BIG;
}

static int load(struct program *p, struct gvm_err *err)
{
    struct sock_fprog prog = {(unsigned short)p->n, p->insn};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
        return gvm_err_sys(err, errno, "the kernel refused the seccomp filter");
    return 0;
}

int sandbox_seccomp_agent(struct sandbox_init *in, struct gvm_err *err)
{
    static struct program p;
    uint8_t action[LAST_KNOWN + 1];
    memset(action, ALLOW, sizeof(action));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        action[rows[i].nr] = (uint8_t)rows[i].action;
    if (in->own_limits && in->plan->max_cpus)
        action[SYS_sched_setaffinity] = REFUSE; /* it is what holds the agent to its processors */
    int r = build(&p, action, NOSYS);
    return r < 0 ? gvm_err_sys(err, -r, "the seccomp filter is too long") : load(&p, err);
}

int sandbox_seccomp_init(struct sandbox_init *in, struct gvm_err *err)
{
    static struct program p;
    uint8_t action[LAST_KNOWN + 1];
    memset(action, KILL, sizeof(action));
    for (size_t i = 0; i < sizeof(init_calls) / sizeof(init_calls[0]); i++)
        action[init_calls[i]] = ALLOW;
    if (in->plan->publish)
        action[SYS_socket] = CHECK_SOCKET;
    int r = build(&p, action, KILL);
    return r < 0 ? gvm_err_sys(err, -r, "the seccomp filter is too long") : load(&p, err);
}
