/* What a sandbox must refuse its agent at the system call border, tried from inside. Beside the
 * refusals stand the ordinary things that must go on working: a wall nobody can live behind proves
 * nothing. Rows name the cases of the attack catalogue. */
#include "sandbox/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long r)
{
    return r < 0 ? errno : 0;
}

/* a, b, c: family, type, protocol */
static int try_socket(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return result(socket((int)p->a, (int)p->b | SOCK_CLOEXEC, (int)p->c));
}

/* a: the number. With arguments of zero a call that is let through fails in another way, or works.
 */
static int try_call(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return result(syscall(p->a, 0L, 0L, 0L, 0L, 0L, 0L));
}

/* a: the number, b and c its arguments */
static int try_args(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return result(syscall(p->a, p->b, p->c, 0L, 0L, 0L, 0L));
}

/* a: flags beside SIGCHLD */
static int try_clone(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    long pid = syscall(SYS_clone, (unsigned long)p->a | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    int code = result(pid);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return code;
}

static int try_clone3(const struct probe *p, const struct probe_places *at)
{
    struct clone_args a = {.flags = (uint64_t)p->a, .exit_signal = SIGCHLD};
    (void)at;
    long pid = syscall(435, &a, sizeof(a));
    if (pid == 0)
        _exit(0);
    return result(pid);
}

static int try_mount(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_remount(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int try_umount(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(umount2("/proc", MNT_DETACH));
}

static int try_chroot(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(chroot("/tmp"));
}

static int try_setns(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? EACCES : result(setns(fd, 0));
}

static int try_pidfd_getfd(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    int fd = (int)syscall(434, getppid(), 0);
    return fd < 0 ? errno : result(syscall(438, fd, 0, 0));
}

/* a: kind of device, b and c: its numbers */
static int try_device(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return result(
        mknod("/tmp/probe-device", (mode_t)p->a | 0600, makedev((unsigned)p->b, (unsigned)p->c)));
}

/* a: the request. Descriptor 0 need not be a terminal: the filter is asked first. */
static int try_ioctl(const struct probe *p, const struct probe_places *at)
{
    char c = 3;
    (void)at;
    return result(syscall(SYS_ioctl, 0, p->a, &c));
}

static int try_capset(const struct probe *p, const struct probe_places *at)
{
    uint32_t head[2] = {0x20080522, 0}, sets[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
    (void)p;
    (void)at;
    return result(syscall(SYS_capset, head, sets));
}

static int try_setuid(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(setuid(getuid() + 1));
}

static int try_kill_init(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(kill(1, SIGKILL));
}

static int try_foreign_call(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
#if defined(__x86_64__)
    long r = 20; /* getpid of i386 */
    __asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
    return r < 0 ? (int)-r : 0;
#else
    return raise(SIGSYS); /* there is none */
#endif
}

static int try_x32(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
#if defined(__x86_64__)
    return result(syscall(0x40000000 + SYS_socket, AF_INET, SOCK_STREAM, 0));
#else
    return raise(SIGSYS);
#endif
}

/* Works when nothing beyond 0, 1 and 2 was handed down; the error is the first that was. */
static int try_descriptors(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    for (int fd = 3; fd < 1024; fd++)
        if (fd != at->report && fcntl(fd, F_GETFD) >= 0)
            return EBADF;
    return 0;
}

static int do_pair(const struct probe *p, const struct probe_places *at)
{
    int pair[2];
    (void)p;
    (void)at;
    return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

static void *nothing(void *arg)
{
    return arg;
}

static int do_thread(const struct probe *p, const struct probe_places *at)
{
    pthread_t t;
    (void)p;
    (void)at;
    int r = pthread_create(&t, NULL, nothing, NULL);
    return r ? r : pthread_join(t, NULL);
}

/* What a call names is rewritten while somebody decides about it. */
static char contested[16];
static volatile bool contest_over;

static void *rewrite(void *arg)
{
    while (!contest_over) {
        memcpy(contested, "/tmp", 5);
        memcpy(contested, "/proc", 6);
    }
    return arg;
}

static int try_race(const struct probe *p, const struct probe_places *at)
{
    pthread_t t;
    int code = EPERM;
    (void)at;
    if (pthread_create(&t, NULL, rewrite, NULL) != 0)
        return 0;
    for (long i = 0; i < p->a && code; i++)
        code = result(mount("none", contested, "tmpfs", 0, NULL));
    contest_over = true;
    pthread_join(t, NULL);
    return code;
}

static int do_exec(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    return pid < 0 || waitpid(pid, &status, 0) < 0 || status ? ECHILD : 0;
}

static int do_kill_child(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    int code = result(kill(pid, SIGKILL));
    waitpid(pid, NULL, 0);
    return code;
}

static int do_fifo(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return result(mkfifo("/tmp/probe-fifo", 0600));
}

static const struct probe probes[] = {
    {"K7", "no descriptor beyond 0, 1, 2 is handed down", PROBE_WORKS, try_descriptors, 0, 0, 0},
    {"K6 T-V03", "socket: AF_PACKET", PROBE_REFUSED, try_socket, AF_PACKET, SOCK_RAW, 3},
    {"K6", "socket: AF_VSOCK", PROBE_REFUSED, try_socket, AF_VSOCK, SOCK_STREAM, 0},
    {"K6", "socket: AF_BLUETOOTH", PROBE_REFUSED, try_socket, AF_BLUETOOTH, SOCK_RAW, 0},
    {"K6", "socket: AF_ALG", PROBE_REFUSED, try_socket, AF_ALG, SOCK_SEQPACKET, 0},
    {"K6", "socket: AF_CAN", PROBE_REFUSED, try_socket, AF_CAN, SOCK_RAW, 1},
    {"K6", "socket: AF_KEY", PROBE_REFUSED, try_socket, AF_KEY, SOCK_RAW, 2},
    {"K6", "socket: AF_XDP", PROBE_REFUSED, try_socket, AF_XDP, SOCK_RAW, 0},
    {"T-N07", "socket: raw IPv4", PROBE_REFUSED, try_socket, AF_INET, SOCK_RAW, IPPROTO_TCP},
    {"T-N07", "socket: raw IPv6", PROBE_REFUSED, try_socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6},
    {"T-N07", "socket: SCTP", PROBE_DENIED, try_socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP},
    {"T-N07", "socket: ICMP", PROBE_REFUSED, try_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
    {"K6", "netlink: netfilter", PROBE_REFUSED, try_socket, AF_NETLINK, SOCK_RAW, 12},
    {"K6", "netlink: xfrm", PROBE_REFUSED, try_socket, AF_NETLINK, SOCK_RAW, 6},
    {"K6", "netlink: kernel events", PROBE_REFUSED, try_socket, AF_NETLINK, SOCK_DGRAM, 15},
    {"K6", "netlink: generic", PROBE_REFUSED, try_socket, AF_NETLINK, SOCK_RAW, 16},
    {"K6", "netlink: audit", PROBE_REFUSED, try_socket, AF_NETLINK, SOCK_RAW, 9},
    {"-", "a TCP socket", PROBE_WORKS, try_socket, AF_INET, SOCK_STREAM, 0},
    {"-", "a UDP socket over IPv6", PROBE_WORKS, try_socket, AF_INET6, SOCK_DGRAM, 0},
    {"-", "a Unix socket", PROBE_WORKS, try_socket, AF_UNIX, SOCK_DGRAM, 0},
    {"-", "asking for routes", PROBE_WORKS, try_socket, AF_NETLINK, SOCK_RAW, 0},
    {"-", "a pair of sockets", PROBE_WORKS, do_pair, 0, 0, 0},
    {"T-V05", "mount", PROBE_REFUSED, try_mount, 0, 0, 0},
    {"K9", "a race against who refuses it", PROBE_REFUSED, try_race, 2000, 0, 0},
    {"T-V05 F11", "remount", PROBE_REFUSED, try_remount, 0, 0, 0},
    {"T-O1", "umount", PROBE_REFUSED, try_umount, 0, 0, 0},
    {"T-V05", "open_tree", PROBE_REFUSED, try_call, 428, 0, 0},
    {"T-V05", "fsopen", PROBE_REFUSED, try_call, 430, 0, 0},
    {"T-V05", "mount_setattr", PROBE_REFUSED, try_call, 442, 0, 0},
    {"T-V05", "pivot_root", PROBE_REFUSED, try_call, SYS_pivot_root, 0, 0},
    {"T-V05", "chroot", PROBE_REFUSED, try_chroot, 0, 0, 0},
    {"K11 T-V10", "unshare: mounts", PROBE_REFUSED, try_args, SYS_unshare, CLONE_NEWNS, 0},
    {"K11 T-E5", "unshare: user", PROBE_REFUSED, try_args, SYS_unshare, CLONE_NEWUSER, 0},
    {"K11", "unshare: network", PROBE_REFUSED, try_args, SYS_unshare, CLONE_NEWNET, 0},
    {"K14", "setns", PROBE_REFUSED, try_setns, 0, 0, 0},
    {"T-N02", "clone: user namespace", PROBE_REFUSED, try_clone, CLONE_NEWUSER, 0, 0},
    {"T-N02", "clone: user, pid and mount namespaces", PROBE_REFUSED, try_clone,
     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS, 0, 0},
    {"T-N02", "clone: cgroup namespace", PROBE_REFUSED, try_clone, CLONE_NEWCGROUP, 0, 0},
    {"T-N02", "clone3: user namespace", PROBE_REFUSED, try_clone3, CLONE_NEWUSER, 0, 0},
    {"-", "fork", PROBE_WORKS, try_clone, 0, 0, 0},
    {"-", "a thread", PROBE_WORKS, do_thread, 0, 0, 0},
    {"-", "a program", PROBE_WORKS, do_exec, 0, 0, 0},
    {"K10 T-V11", "ptrace: trace me", PROBE_REFUSED, try_args, SYS_ptrace, PTRACE_TRACEME, 0},
    {"K10", "ptrace: the init", PROBE_REFUSED, try_args, SYS_ptrace, PTRACE_SEIZE, 1},
    {"K10", "process_vm_readv", PROBE_REFUSED, try_args, SYS_process_vm_readv, 1, 0},
    {"K10", "process_vm_writev", PROBE_REFUSED, try_args, SYS_process_vm_writev, 1, 0},
    {"K10", "pidfd_getfd", PROBE_REFUSED, try_pidfd_getfd, 0, 0, 0},
    {"K4", "io_uring_setup", PROBE_REFUSED, try_call, 425, 0, 0},
    {"K4", "io_uring_enter", PROBE_REFUSED, try_call, 426, 0, 0},
    {"T-O1", "bpf", PROBE_REFUSED, try_call, SYS_bpf, 0, 0},
    {"-", "perf_event_open", PROBE_REFUSED, try_call, SYS_perf_event_open, 0, 0},
    {"T-N05", "keyctl", PROBE_REFUSED, try_call, SYS_keyctl, 0, 0},
    {"T-N05", "add_key", PROBE_REFUSED, try_call, SYS_add_key, 0, 0},
    {"T-N05", "request_key", PROBE_REFUSED, try_call, SYS_request_key, 0, 0},
    {"-", "userfaultfd", PROBE_REFUSED, try_call, SYS_userfaultfd, 0, 0},
    {"T-V13 T-O1", "init_module", PROBE_REFUSED, try_call, SYS_init_module, 0, 0},
    {"T-V13", "finit_module", PROBE_REFUSED, try_call, SYS_finit_module, 0, 0},
    {"T-O1", "kexec_load", PROBE_REFUSED, try_call, SYS_kexec_load, 0, 0},
    {"T-O1", "open_by_handle_at", PROBE_REFUSED, try_call, SYS_open_by_handle_at, 0, 0},
    {"-", "quotactl", PROBE_REFUSED, try_call, SYS_quotactl, 0, 0},
    {"-", "swapon", PROBE_REFUSED, try_call, SYS_swapon, 0, 0},
    {"-", "reboot", PROBE_REFUSED, try_call, SYS_reboot, 0, 0},
    {"-", "setting the clock", PROBE_REFUSED, try_call, SYS_settimeofday, 0, 0},
    {"-", "the kernel's log", PROBE_REFUSED, try_args, SYS_syslog, 3, 0},
    {"-", "fanotify", PROBE_REFUSED, try_call, SYS_fanotify_init, 0, 0},
    {"-", "a call that is not known yet", PROBE_REFUSED, try_call, 500, 0, 0},
    {"T-E2", "a character device", PROBE_REFUSED, try_device, S_IFCHR, 1, 3},
    {"T-E2", "a block device", PROBE_REFUSED, try_device, S_IFBLK, 254, 0},
    {"T-E2", "a whiteout", PROBE_REFUSED, try_device, S_IFCHR, 0, 0},
    {"-", "a FIFO", PROBE_WORKS, do_fifo, 0, 0, 0},
    {"K12 T-N04", "typing into a terminal (TIOCSTI)", PROBE_REFUSED, try_ioctl, TIOCSTI, 0, 0},
    {"K12 T-N04", "the same, number widened", PROBE_REFUSED, try_ioctl, 0x100000000L | TIOCSTI, 0,
     0},
    {"K12 T-N04", "pasting into a console (TIOCLINUX)", PROBE_REFUSED, try_ioctl, TIOCLINUX, 0, 0},
    {"-", "personality", PROBE_REFUSED, try_args, SYS_personality, 0x0400000, 0},
    {"-", "asking for the personality", PROBE_WORKS, try_args, SYS_personality, 0xffffffff, 0},
    {"-", "prctl: memory map", PROBE_REFUSED, try_args, SYS_prctl, PR_SET_MM, PR_SET_MM_BRK},
    {"T-E1 K11", "taking capabilities back", PROBE_REFUSED, try_capset, 0, 0, 0},
    {"T-E5", "becoming another user", PROBE_DENIED, try_setuid, 0, 0, 0},
    {"T-E5", "setgroups", PROBE_REFUSED, try_call, SYS_setgroups, 0, 0},
    {"T-V12", "killing the init", PROBE_REFUSED, try_kill_init, 0, 0, 0},
    {"-", "killing one's own child", PROBE_WORKS, do_kill_child, 0, 0, 0},
    {"K5", "a call of another architecture", PROBE_KILLED, try_foreign_call, 0, 0, 0},
    {"K5", "a call with an x32 number", PROBE_KILLED, try_x32, 0, 0, 0},
};

const struct probe *probe_kernel(size_t *ret_n)
{
    *ret_n = sizeof(probes) / sizeof(probes[0]);
    return probes;
}
