/* Which system calls a sandbox has.
 *
 * Every call that existed when this was written is allowed unless the tables below say otherwise;
 * numbers beyond are ENOSYS, so that a new kernel does not open new doors. Calls whose arguments
 * matter have a check of their own: clone (namespaces), socket and socketpair (families, types,
 * protocols), ioctl (typing into terminals), prctl, personality, mknod (devices). Arguments are
 * compared by their low 32 bits where the kernel takes an int.
 *
 * "strict" is a second table on top: what an agent that edits, builds and tests has no use for. A
 * profile of the owner's (profile.c) comes on top of the first. Nothing on top can open what lies
 * beneath.
 *
 * A refusal worth knowing about (RECORD, and most of those by argument) is a user notification: the
 * launcher hears who called what, and answers EPERM (denied.c). It never answers that the call may
 * go on, so what a thread writes over the arguments meanwhile changes nothing; with the launcher
 * gone the kernel answers ENOSYS.
 */
#include "sandbox/seccomp_int.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ERROR(code) (SECCOMP_RET_ERRNO | (uint32_t)(code))

/* ---- by argument ---- */

static void refuse(struct seccomp_program *p)
{
    seccomp_return(p, p->refuse);
}

static void check_clone(struct seccomp_program *p)
{
    const uint32_t any_namespace = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    seccomp_load_arg(p, 0);
    seccomp_emit(p, BPF_JMP | BPF_JSET | BPF_K, any_namespace, 0, 1);
    refuse(p);
    seccomp_return(p, SECCOMP_RET_ALLOW);
}

static void check_socket(struct seccomp_program *p)
{
    seccomp_load_arg(p, 0);
    seccomp_return_if(p, AF_UNIX, SECCOMP_RET_ALLOW);
    unsigned at =
        seccomp_begin_if(p, AF_NETLINK); /* only to ask about links, addresses and routes */
    seccomp_load_arg(p, 2);
    seccomp_return_if(p, NETLINK_ROUTE, SECCOMP_RET_ALLOW);
    refuse(p);
    seccomp_end_if(p, at);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    refuse(p);
    seccomp_load_arg(p, 1);
    seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
    at = seccomp_begin_if(p, SOCK_STREAM);
    seccomp_load_arg(p, 2);
    seccomp_return_if(p, 0, SECCOMP_RET_ALLOW);
    seccomp_return_if(p, IPPROTO_TCP, SECCOMP_RET_ALLOW);
    seccomp_return(p, ERROR(EPROTONOSUPPORT)); /* MPTCP, SCTP: Go and others then take TCP */
    seccomp_end_if(p, at);
    at = seccomp_begin_if(p, SOCK_DGRAM);
    seccomp_load_arg(p, 2);
    seccomp_return_if(p, 0, SECCOMP_RET_ALLOW);
    seccomp_return_if(p, IPPROTO_UDP, SECCOMP_RET_ALLOW);
    seccomp_return_if(p, IPPROTO_ICMP,
                      SECCOMP_RET_ALLOW); /* ping: refused by the kernel's own group range */
    seccomp_return_if(p, IPPROTO_ICMPV6, SECCOMP_RET_ALLOW);
    seccomp_return(p, ERROR(EPROTONOSUPPORT));
    seccomp_end_if(p, at);
    refuse(p);
}

static void check_socketpair(struct seccomp_program *p)
{
    seccomp_load_arg(p, 0);
    seccomp_return_if(p, AF_UNIX, SECCOMP_RET_ALLOW);
    refuse(p);
}

/* Argument `i` may be anything but one of `values`. */
static void check_none_of(struct seccomp_program *p, unsigned i, const uint32_t *values, size_t n)
{
    seccomp_load_arg(p, i);
    for (size_t k = 0; k < n; k++)
        seccomp_return_if(p, values[k], p->refuse);
    seccomp_return(p, SECCOMP_RET_ALLOW);
}

static void check_ioctl(struct seccomp_program *p)
{
    /* TIOCSTI, TIOCLINUX (typing for somebody else), TIOCCONS, TIOCSETD (line disciplines) */
    static const uint32_t refused[] = {0x5412, 0x541C, 0x541D, 0x5423};
    check_none_of(p, 1, refused, 4);
}

static void check_prctl(struct seccomp_program *p)
{
    /* PR_MCE_KILL, PR_SET_MM, PR_SET_IO_FLUSHER, PR_SET_SYSCALL_USER_DISPATCH, PR_SCHED_CORE */
    static const uint32_t refused[] = {33, 35, 57, 59, 62};
    check_none_of(p, 0, refused, 5);
}

static void check_personality(struct seccomp_program *p)
{
    seccomp_load_arg(p, 0);
    seccomp_return_if(p, 0, SECCOMP_RET_ALLOW);
    seccomp_return_if(p, 0xffffffff, SECCOMP_RET_ALLOW); /* only asks */
    seccomp_return_if(p, 0x40000,
                      SECCOMP_RET_ALLOW); /* ADDR_NO_RANDOMIZE, for debuggers of own children */
    refuse(p);
}

static void check_mode(struct seccomp_program *p, unsigned mode_arg)
{
    seccomp_load_arg(p, mode_arg);
    seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, S_IFMT, 0, 0);
    seccomp_return_if(p, S_IFCHR, p->refuse);
    seccomp_return_if(p, S_IFBLK, p->refuse);
    seccomp_return(p, SECCOMP_RET_ALLOW);
}

static void check_mknod(struct seccomp_program *p)
{
    check_mode(p, 1);
}

static void check_mknodat(struct seccomp_program *p)
{
    check_mode(p, 2);
}

/* ---- the table ---- */

enum action { NOSYS, REFUSE, RECORD, BY_ARGUMENT };

static const uint32_t returns[] = {[NOSYS] = ERROR(ENOSYS),
                                   [REFUSE] = ERROR(EPERM),
                                   [RECORD] =
                                       SECCOMP_RET_USER_NOTIF, /* or EPERM, see emit_outcome() */
                                   [BY_ARGUMENT] = SECCOMP_RET_ALLOW};

struct row {
    int number;
    enum action action;
    seccomp_check_fn *check;
};

static const struct row rows[] = {
    /* namespaces and mounts */
    {SYS_unshare, RECORD, NULL},
    {SYS_setns, RECORD, NULL},
    {SYS_clone, BY_ARGUMENT, check_clone},
    {435 /* clone3 */, NOSYS, NULL},
    {SYS_mount, RECORD, NULL},
    {SYS_umount2, RECORD, NULL},
    {SYS_pivot_root, RECORD, NULL},
    {SYS_chroot, RECORD, NULL},
    {428 /* open_tree */, RECORD, NULL},
    {429 /* move_mount */, RECORD, NULL},
    {430 /* fsopen */, RECORD, NULL},
    {431 /* fsconfig */, RECORD, NULL},
    {432 /* fsmount */, RECORD, NULL},
    {433 /* fspick */, RECORD, NULL},
    {442 /* mount_setattr */, RECORD, NULL},
    {457 /* statmount */, REFUSE, NULL},
    {458 /* listmount */, REFUSE, NULL},
    {467 /* open_tree_attr */, REFUSE, NULL},
    /* other processes */
    {SYS_ptrace, RECORD, NULL},
    {SYS_process_vm_readv, RECORD, NULL},
    {SYS_process_vm_writev, RECORD, NULL},
    {438 /* pidfd_getfd */, RECORD, NULL},
    {440 /* process_madvise */, REFUSE, NULL},
    {448 /* process_mrelease */, REFUSE, NULL},
    {SYS_kcmp, REFUSE, NULL},
    /* the kernel itself */
    {SYS_bpf, RECORD, NULL},
    {SYS_perf_event_open, RECORD, NULL},
    {SYS_userfaultfd, RECORD, NULL},
    {SYS_add_key, RECORD, NULL},
    {SYS_request_key, RECORD, NULL},
    {SYS_keyctl, RECORD, NULL},
    {SYS_init_module, RECORD, NULL},
    {SYS_finit_module, RECORD, NULL},
    {SYS_delete_module, RECORD, NULL},
    {SYS_kexec_load, RECORD, NULL},
    {SYS_kexec_file_load, RECORD, NULL},
    {SYS_syslog, REFUSE, NULL},
    {SYS_lookup_dcookie, REFUSE, NULL},
    {SYS_nfsservctl, REFUSE, NULL},
    {459 /* lsm_get_self_attr */, REFUSE, NULL},
    {460 /* lsm_set_self_attr */, REFUSE, NULL},
    {461 /* lsm_list_modules */, REFUSE, NULL},
    {425 /* io_uring_setup */, NOSYS, NULL},
    {426 /* io_uring_enter */, NOSYS, NULL},
    {427 /* io_uring_register */, NOSYS, NULL},
    /* the machine */
    {SYS_acct, RECORD, NULL},
    {SYS_swapon, RECORD, NULL},
    {SYS_swapoff, RECORD, NULL},
    {SYS_reboot, RECORD, NULL},
    {SYS_settimeofday, RECORD, NULL},
    {SYS_clock_settime, RECORD, NULL},
    {SYS_adjtimex, REFUSE, NULL},
    {SYS_clock_adjtime, REFUSE, NULL},
    {SYS_sethostname, RECORD, NULL},
    {SYS_setdomainname, RECORD, NULL},
    {SYS_vhangup, REFUSE, NULL},
    {SYS_quotactl, RECORD, NULL},
    {443 /* quotactl_fd */, RECORD, NULL},
    /* files by other ways than their path */
    {SYS_open_by_handle_at, RECORD, NULL},
    {SYS_name_to_handle_at, REFUSE, NULL},
    {SYS_fanotify_init, RECORD, NULL},
    {SYS_fanotify_mark, REFUSE, NULL},
    /* by argument */
    {SYS_socket, BY_ARGUMENT, check_socket},
    {SYS_socketpair, BY_ARGUMENT, check_socketpair},
    {SYS_ioctl, BY_ARGUMENT, check_ioctl},
    {SYS_prctl, BY_ARGUMENT, check_prctl},
    {SYS_personality, BY_ARGUMENT, check_personality},
    {SYS_mknodat, BY_ARGUMENT, check_mknodat},
#if defined(__x86_64__)
    {SYS_mknod, BY_ARGUMENT, check_mknod},
    {SYS_iopl, RECORD, NULL},
    {SYS_ioperm, RECORD, NULL},
    {SYS_modify_ldt, REFUSE, NULL},
    {SYS_uselib, REFUSE, NULL},
    {SYS__sysctl, REFUSE, NULL},
    {SYS_create_module, RECORD, NULL},
    {SYS_query_module, REFUSE, NULL},
    {SYS_get_kernel_syms, REFUSE, NULL},
    {SYS_ustat, REFUSE, NULL},
    {SYS_sysfs, REFUSE, NULL},
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

/* ---- strict ---- */

/* Socket files and pairs, TCP and UDP, and the kernel's word on links and routes: no ping. */
static void check_socket_strict(struct seccomp_program *p)
{
    static const uint32_t icmp[] = {IPPROTO_ICMP, IPPROTO_ICMPV6};
    for (size_t i = 0; i < 2; i++) {
        seccomp_load_arg(p, 2);
        unsigned at = seccomp_begin_if(p, icmp[i]);
        seccomp_load_arg(p, 1);
        seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
        seccomp_return_if(p, SOCK_DGRAM, p->refuse);
        seccomp_end_if(p, at);
    }
    check_socket(p);
}

/* Terminals and what all files have (0x54), sockets (0x89), copies and flags of files (0x94, 'f'):
 * no driver is spoken to. */
static void check_ioctl_strict(struct seccomp_program *p)
{
    static const uint32_t kinds[] = {0x54, 0x89, 0x94, 'f'};
    seccomp_load_arg(p, 1);
    seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, 0xff00, 0, 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        unsigned at = seccomp_begin_if(p, kinds[i] << 8);
        check_ioctl(p);
        seccomp_end_if(p, at);
    }
    refuse(p);
}

static void check_personality_strict(struct seccomp_program *p)
{
    seccomp_load_arg(p, 0);
    seccomp_return_if(p, 0, SECCOMP_RET_ALLOW);
    seccomp_return_if(p, 0xffffffff, SECCOMP_RET_ALLOW);
    refuse(p);
}

static const struct row strict_rows[] = {
    {SYS_socket, BY_ARGUMENT, check_socket_strict},
    {SYS_ioctl, BY_ARGUMENT, check_ioctl_strict},
    {SYS_personality, BY_ARGUMENT, check_personality_strict},
    /* programs that are no file */
    {SYS_execveat, RECORD, NULL},
    {447 /* memfd_secret */, REFUSE, NULL},
    /* System V and POSIX queues, semaphores, shared memory */
    {SYS_shmget, REFUSE, NULL},
    {SYS_shmat, REFUSE, NULL},
    {SYS_shmctl, REFUSE, NULL},
    {SYS_semget, REFUSE, NULL},
    {SYS_semctl, REFUSE, NULL},
    {SYS_semop, REFUSE, NULL},
    {SYS_semtimedop, REFUSE, NULL},
    {SYS_msgget, REFUSE, NULL},
    {SYS_msgctl, REFUSE, NULL},
    {SYS_msgsnd, REFUSE, NULL},
    {SYS_msgrcv, REFUSE, NULL},
    {SYS_mq_open, REFUSE, NULL},
    {SYS_mq_unlink, REFUSE, NULL},
    {SYS_mq_notify, REFUSE, NULL},
    /* the older way of input and output without waiting */
    {SYS_io_setup, NOSYS, NULL},
    {SYS_io_destroy, NOSYS, NULL},
    {SYS_io_submit, NOSYS, NULL},
    {SYS_io_cancel, NOSYS, NULL},
    {SYS_io_getevents, NOSYS, NULL},
    {SYS_io_pgetevents, NOSYS, NULL},
    /* where memory lies, and whose */
    {SYS_move_pages, REFUSE, NULL},
    {SYS_migrate_pages, REFUSE, NULL},
    {SYS_mbind, REFUSE, NULL},
    {SYS_set_mempolicy, REFUSE, NULL},
    {450 /* set_mempolicy_home_node */, REFUSE, NULL},
    {SYS_remap_file_pages, REFUSE, NULL},
    {SYS_vmsplice, REFUSE, NULL},
    {SYS_mlockall, REFUSE, NULL},
    /* going before others */
    {SYS_sched_setscheduler, REFUSE, NULL},
    {SYS_sched_setattr, REFUSE, NULL},
    {SYS_ioprio_set, REFUSE, NULL},
};

/* ---- putting it together ---- */

static void set_rows(struct seccomp_table *t, const struct row *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->call[list[i].number] =
            (struct seccomp_entry){.ret = returns[list[i].action], .check = list[i].check};
}

#define SET_ROWS(t, list) set_rows(t, list, sizeof(list) / sizeof((list)[0]))

/* One call under the owner's profile. What GVM refuses by itself stays as it is, unless the owner
 * would end the process. */
static void narrow(struct seccomp_entry *e, const struct gvm_sandbox_profile *f, unsigned number)
{
    bool refused = !e->check && e->ret != SECCOMP_RET_ALLOW;
    uint32_t otherwise = f->call[number].plain ? f->call[number].ret : f->otherwise;
    if (f->call[number].rules && !refused) {
        e->rules = f->call[number].rules;
        e->otherwise = otherwise;
    } else if (!f->call[number].rules && otherwise != SECCOMP_RET_ALLOW &&
               (!refused || seccomp_stricter(otherwise, e->ret))) {
        *e = (struct seccomp_entry){.ret = otherwise};
    }
}

void seccomp_fill(struct seccomp_table *t, const struct gvm_sandbox_plan *plan, bool own_limits)
{
    t->beyond = ERROR(ENOSYS);
    for (unsigned i = 0; i <= SECCOMP_LAST; i++)
        t->call[i] = (struct seccomp_entry){.ret = SECCOMP_RET_ALLOW};
    SET_ROWS(t, rows);
    if (plan->strict)
        SET_ROWS(t, strict_rows);
    if (own_limits && plan->max_cpus) /* it is what holds the agent to its processors */
        t->call[SYS_sched_setaffinity] = (struct seccomp_entry){.ret = ERROR(EPERM)};
    for (unsigned i = 0; plan->profile && i <= SECCOMP_LAST; i++)
        narrow(&t->call[i], plan->profile, i);
    if (plan->profile && seccomp_stricter(plan->profile->otherwise, t->beyond))
        t->beyond = plan->profile->otherwise;
}

/* Loads it; returns the listener's descriptor when one was asked for, else 0. */
static int load(const struct seccomp_program *p, unsigned flags, struct gvm_err *err)
{
    struct sock_fprog prog = {(unsigned short)p->n, (struct sock_filter *)(uintptr_t)p->insn};
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
    return r < 0 ? gvm_err_sys(err, errno, "the kernel refused the seccomp filter") : (int)r;
}

int sandbox_seccomp_agent(struct sandbox_init *in, int *ret_listener, struct gvm_err *err)
{
    static struct seccomp_program p;
    static struct seccomp_table t;
    struct gvm_err why = {0};
    seccomp_fill(&t, in->plan, in->own_limits);
    p.refuse = in->plan->record ? SECCOMP_RET_USER_NOTIF : ERROR(EPERM);
    if (seccomp_assemble(&p, &t) < 0)
        return gvm_err_set(err, E2BIG, "the seccomp filter is too long for the kernel");
    int fd = in->plan->record && !sandbox_test_fails("listener")
                 ? load(&p, SECCOMP_FILTER_FLAG_NEW_LISTENER, &why)
                 : -1;
    *ret_listener = fd >= 0 ? fd : -1;
    if (fd >= 0)
        return 0;
    /* No listener to be had (another one listens from further out): refused without a record. */
    p.refuse = ERROR(EPERM);
    if (seccomp_assemble(&p, &t) < 0)
        return gvm_err_set(err, E2BIG, "the seccomp filter is too long for the kernel");
    return load(&p, 0, err);
}

int sandbox_seccomp_init(struct sandbox_init *in, struct gvm_err *err)
{
    static struct seccomp_program p;
    static struct seccomp_table t;
    t.beyond = p.refuse = SECCOMP_RET_KILL_PROCESS;
    for (unsigned i = 0; i <= SECCOMP_LAST; i++)
        t.call[i] = (struct seccomp_entry){.ret = SECCOMP_RET_KILL_PROCESS};
    for (size_t i = 0; i < sizeof(init_calls) / sizeof(init_calls[0]); i++)
        t.call[init_calls[i]].ret = SECCOMP_RET_ALLOW;
    if (in->plan->publish)
        t.call[SYS_socket] = (struct seccomp_entry){.check = check_socket};
    int r = seccomp_assemble(&p, &t);
    if (r < 0)
        return gvm_err_sys(err, -r, "the seccomp filter is too long");
    return load(&p, 0, err);
}
