/* probe_kernel: asks the kernel, from inside a sandbox, for what it must refuse there, and for the
 * ordinary thing beside it. One line per probe: its name and the errno it met (0: it worked), or
 * "signal N". Each probe runs in a child of its own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* errno of a result; a descriptor is closed. */
static int result(long r)
{
    return r < 0 ? errno : 0;
}

static int open_socket(int family, int type, int protocol)
{
    return result(socket(family, type, protocol));
}

static int af_packet(void)
{
    return open_socket(AF_PACKET, SOCK_RAW, 3);
}
static int af_packet_dgram(void)
{
    return open_socket(AF_PACKET, SOCK_DGRAM, 0);
}
static int af_vsock(void)
{
    return open_socket(AF_VSOCK, SOCK_STREAM, 0);
}
static int af_bluetooth(void)
{
    return open_socket(AF_BLUETOOTH, SOCK_RAW, 0);
}
static int af_alg(void)
{
    return open_socket(AF_ALG, SOCK_SEQPACKET, 0);
}
static int af_can(void)
{
    return open_socket(AF_CAN, SOCK_RAW, 1);
}
static int af_key(void)
{
    return open_socket(AF_KEY, SOCK_RAW, 2);
}
static int af_xdp(void)
{
    return open_socket(AF_XDP, SOCK_RAW, 0);
}
static int inet_raw(void)
{
    return open_socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
}
static int inet6_raw(void)
{
    return open_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}
static int inet_sctp(void)
{
    return open_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}
static int inet_icmp(void)
{
    return open_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}
static int netlink_audit(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 9);
}
static int netlink_netfilter(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 12);
}
static int netlink_xfrm(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 6);
}
static int netlink_kobject(void)
{
    return open_socket(AF_NETLINK, SOCK_DGRAM, 15);
}
static int netlink_generic(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 16);
}
static int ok_tcp(void)
{
    return open_socket(AF_INET, SOCK_STREAM, 0);
}
static int ok_udp6(void)
{
    return open_socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
}
static int ok_unix(void)
{
    return open_socket(AF_UNIX, SOCK_DGRAM, 0);
}
static int ok_netlink_route(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int ok_socketpair(void)
{
    int pair[2];
    return result(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static int do_mount(void)
{
    return result(mount("none", "/tmp", "tmpfs", 0, NULL));
}
static int do_remount(void)
{
    return result(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int do_umount(void)
{
    return result(umount2("/proc", MNT_DETACH));
}
static int do_open_tree(void)
{
    return result(syscall(428, AT_FDCWD, "/", 1));
}
static int do_fsopen(void)
{
    return result(syscall(430, "tmpfs", 0));
}
static int do_mount_setattr(void)
{
    return result(syscall(442, AT_FDCWD, "/", 0, NULL, 0));
}
static int do_pivot_root(void)
{
    return result(syscall(SYS_pivot_root, "/", "/"));
}
static int do_chroot(void)
{
    return result(chroot("/tmp"));
}
static int unshare_mount(void)
{
    return result(unshare(CLONE_NEWNS));
}
static int unshare_user(void)
{
    return result(unshare(CLONE_NEWUSER));
}
static int unshare_net(void)
{
    return result(unshare(CLONE_NEWNET));
}

static int do_setns(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY);
    return fd < 0 ? ENOENT : result(setns(fd, 0));
}

static int raw_clone(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    int code = result(pid);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return code;
}

static int clone_user(void)
{
    return raw_clone(CLONE_NEWUSER);
}
static int clone_user_pid(void)
{
    return raw_clone(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS);
}
static int clone_cgroup(void)
{
    return raw_clone(CLONE_NEWCGROUP);
}
static int ok_fork(void)
{
    return raw_clone(0);
}

static int clone3_user(void)
{
    struct clone_args a = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(435, &a, sizeof(a));
    if (pid == 0)
        _exit(0);
    return result(pid);
}

static void *nothing(void *arg)
{
    return arg;
}

static int ok_thread(void)
{
    pthread_t t;
    int r = pthread_create(&t, NULL, nothing, NULL);
    return r ? r : pthread_join(t, NULL);
}

static int ptrace_traceme(void)
{
    return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}
static int ptrace_parent(void)
{
    return result(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}
static int ptrace_init(void)
{
    return result(ptrace(PTRACE_SEIZE, 1, NULL, NULL));
}

static int vm_read(void)
{
    char mem[8];
    struct iovec local = {mem, 8}, remote = {mem, 8};
    return result(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
}

static int vm_write(void)
{
    char mem[8] = "";
    struct iovec local = {mem, 8}, remote = {mem, 8};
    return result(process_vm_writev(getppid(), &local, 1, &remote, 1, 0));
}

static int do_pidfd_getfd(void)
{
    int fd = (int)syscall(434, getppid(), 0);
    return fd < 0 ? errno : result(syscall(438, fd, 0, 0));
}

static int io_uring(void)
{
    char p[256] = "";
    return result(syscall(425, 8, p));
}
static int io_uring_enter_(void)
{
    return result(syscall(426, 0, 0, 0, 0, NULL, 0));
}
static int do_bpf(void)
{
    char a[128] = "";
    return result(syscall(SYS_bpf, 5, a, sizeof(a)));
}
static int do_perf(void)
{
    char a[128] = "";
    return result(syscall(SYS_perf_event_open, a, 0, -1, -1, 0));
}
static int do_keyctl(void)
{
    return result(syscall(SYS_keyctl, 0, -3, 1));
}
static int do_add_key(void)
{
    return result(syscall(SYS_add_key, "user", "x", "y", 1, -3));
}
static int do_request_key(void)
{
    return result(syscall(SYS_request_key, "user", "x", NULL, -3));
}
static int do_userfaultfd(void)
{
    return result(syscall(SYS_userfaultfd, 1));
}
static int do_init_module(void)
{
    return result(syscall(SYS_init_module, "", 0, ""));
}
static int do_finit_module(void)
{
    return result(syscall(SYS_finit_module, 0, "", 0));
}
static int do_kexec(void)
{
    return result(syscall(SYS_kexec_load, 0, 0, NULL, 0));
}
static int do_handle(void)
{
    char h[128] = "";
    return result(syscall(SYS_open_by_handle_at, 0, h, 0));
}
static int do_quotactl(void)
{
    return result(syscall(SYS_quotactl, 0, NULL, 0, NULL));
}
static int do_acct(void)
{
    return result(syscall(SYS_acct, NULL));
}
static int do_swapon(void)
{
    return result(syscall(SYS_swapon, "/tmp/x", 0));
}
static int do_reboot(void)
{
    return result(syscall(SYS_reboot, 0, 0, 0, NULL));
}
static int do_settime(void)
{
    return result(syscall(SYS_settimeofday, NULL, NULL));
}
static int do_sethostname(void)
{
    return result(sethostname("x", 1));
}
static int do_syslog(void)
{
    return result(syscall(SYS_syslog, 3, NULL, 0));
}
static int do_fanotify(void)
{
    return result(syscall(SYS_fanotify_init, 0, 0));
}
static int mknod_char(void)
{
    return result(mknod("/tmp/c", S_IFCHR | 0600, makedev(1, 3)));
}
static int mknod_block(void)
{
    return result(mknod("/tmp/b", S_IFBLK | 0600, makedev(254, 0)));
}
static int mknod_whiteout(void)
{
    return result(mknod("/tmp/w", S_IFCHR, makedev(0, 0)));
}
static int ok_fifo(void)
{
    return result(mkfifo("/tmp/fifo", 0600));
}
static int tiocsti(void)
{
    return result(ioctl(0, TIOCSTI, "x"));
}
static int tiocsti_wide(void)
{
    return result(syscall(SYS_ioctl, 0, 0x100000000ul | TIOCSTI, "x"));
}
static int tioclinux(void)
{
    char c = 3;
    return result(ioctl(0, TIOCLINUX, &c));
}
static int set_personality(void)
{
    return result(syscall(SYS_personality, 0x0400000));
}
static int ok_personality(void)
{
    return result(syscall(SYS_personality, 0xffffffff));
}
static int prctl_set_mm(void)
{
    return result(prctl(PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0));
}
static int ok_prctl_name(void)
{
    return result(prctl(PR_SET_NAME, "probe", 0, 0, 0));
}
static int unknown_call(void)
{
    return result(syscall(500));
}
static int regain_caps(void)
{
    uint32_t head[2] = {0x20080522, 0}, sets[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
    return result(syscall(SYS_capset, head, sets));
}
static int do_setuid_other(void)
{
    return result(setuid(getuid() + 1));
}
static int do_setgroups(void)
{
    return result(syscall(SYS_setgroups, 0, NULL));
}
static int kill_init(void)
{
    return result(kill(1, SIGKILL));
}

static int ok_kill_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    int code = result(kill(pid, SIGKILL));
    waitpid(pid, NULL, 0);
    return code;
}

static int abstract_connect(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path + 1, name, n);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return result(connect(fd, (struct sockaddr *)&a, (socklen_t)(sizeof(sa_family_t) + 1 + n)));
}

static int abstract_host(void)
{
    return abstract_connect("gvm-attack-test");
}

static int int80(void)
{
#if defined(__x86_64__)
    long r = 20; /* getpid of i386 */
    __asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
    return r < 0 ? (int)-r : 0;
#else
    raise(SIGSYS);
    return 0;
#endif
}

static int x32_socket(void)
{
#if defined(__x86_64__)
    return result(syscall(0x40000000 + SYS_socket, AF_INET, SOCK_STREAM, 0));
#else
    raise(SIGSYS);
    return 0;
#endif
}

/* Number of the first descriptor beyond 0-2 that is open; 0 when there is none. */
static int extra_fds(void)
{
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return fd;
    return 0;
}

#define P(name)                                                                                    \
    {                                                                                              \
#name, name                                                                                \
    }
static const struct {
    const char *name;
    int (*fn)(void);
} probes[] = {
    P(extra_fds),
    P(af_packet),
    P(af_packet_dgram),
    P(af_vsock),
    P(af_bluetooth),
    P(af_alg),
    P(af_can),
    P(af_key),
    P(af_xdp),
    P(inet_raw),
    P(inet6_raw),
    P(inet_sctp),
    P(inet_icmp),
    P(netlink_audit),
    P(netlink_netfilter),
    P(netlink_xfrm),
    P(netlink_kobject),
    P(netlink_generic),
    P(ok_tcp),
    P(ok_udp6),
    P(ok_unix),
    P(ok_netlink_route),
    P(ok_socketpair),
    P(do_mount),
    P(do_remount),
    P(do_umount),
    P(do_open_tree),
    P(do_fsopen),
    P(do_mount_setattr),
    P(do_pivot_root),
    P(do_chroot),
    P(unshare_mount),
    P(unshare_user),
    P(unshare_net),
    P(do_setns),
    P(clone_user),
    P(clone_user_pid),
    P(clone_cgroup),
    P(ok_fork),
    P(clone3_user),
    P(ok_thread),
    P(ptrace_traceme),
    P(ptrace_parent),
    P(ptrace_init),
    P(vm_read),
    P(vm_write),
    P(do_pidfd_getfd),
    P(io_uring),
    P(io_uring_enter_),
    P(do_bpf),
    P(do_perf),
    P(do_keyctl),
    P(do_add_key),
    P(do_request_key),
    P(do_userfaultfd),
    P(do_init_module),
    P(do_finit_module),
    P(do_kexec),
    P(do_handle),
    P(do_quotactl),
    P(do_acct),
    P(do_swapon),
    P(do_reboot),
    P(do_settime),
    P(do_sethostname),
    P(do_syslog),
    P(do_fanotify),
    P(mknod_char),
    P(mknod_block),
    P(mknod_whiteout),
    P(ok_fifo),
    P(tiocsti),
    P(tiocsti_wide),
    P(tioclinux),
    P(set_personality),
    P(ok_personality),
    P(prctl_set_mm),
    P(ok_prctl_name),
    P(unknown_call),
    P(regain_caps),
    P(do_setuid_other),
    P(do_setgroups),
    P(kill_init),
    P(ok_kill_child),
    P(abstract_host),
    P(int80),
    P(x32_socket),
};

int main(void)
{
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            _exit(probes[i].fn());
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
            return 1;
        if (WIFSIGNALED(status))
            printf("%s signal %d\n", probes[i].name, WTERMSIG(status));
        else
            printf("%s %d\n", probes[i].name, WEXITSTATUS(status));
    }
    return 0;
}
