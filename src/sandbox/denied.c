/* Refused system calls that are worth a record: who called what.
 *
 * The agent's filter hands them to us and the calling thread waits. Nothing the answer depends on
 * is read from the caller: it is always EPERM, never "go on", so there is nothing to race for. What
 * is read besides (names in /proc) says who it was and is asked for while the caller waits; if it
 * was killed meanwhile its number may be another's by now, so the kernel is asked once more.
 */
#include "sandbox/seccomp_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Which argument of a call says what it was about; -1 = none does. */
static int telling_argument(int number)
{
    static const struct {
        int number, arg;
    } known[] = {
        {SYS_clone, 0},
        {SYS_unshare, 0},
        {SYS_socket, 0},
        {SYS_socketpair, 0},
        {SYS_ptrace, 0},
        {SYS_prctl, 0},
        {SYS_bpf, 0},
        {SYS_keyctl, 0},
        {SYS_personality, 0},
        {SYS_ioctl, 1},
        {SYS_setns, 1},
        {SYS_mknodat, 2},
#if defined(__x86_64__)
        {SYS_mknod, 1},
#endif
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].number == number)
            return known[i].arg;
    return -1;
}

/* "Name:" and the innermost number of "NSpid:". */
static void read_status(struct gvm_sandbox_denied *d, pid_t pid, struct gvm_buf *mem)
{
    char path[64];
    struct gvm_str text, line, key, word;
    uint64_t inside;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (gvm_read_file(path, mem, NULL) < 0)
        return;
    for (text = gvm_buf_str(mem); text.n;) {
        gvm_str_cut(&text, '\n', &line);
        gvm_str_cut(&line, ':', &key);
        if (gvm_str_eqz(key, "Name") && line.n > 1)
            if (gvm_str_copy(d->comm, sizeof(d->comm), (struct gvm_str){line.p + 1, line.n - 1}) <
                0)
                d->comm[0] = '\0';
        while (gvm_str_eqz(key, "NSpid") && line.n) {
            gvm_str_cut(&line, '\t', &word);
            if (gvm_parse_u64(word, INT32_MAX, &inside) == 0)
                d->pid = (pid_t)inside;
        }
    }
}

static void say_who(struct gvm_sandbox_denied *d, pid_t pid)
{
    char path[64];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mem;
    gvm_buf_init(&mem, 64u << 10);
    read_status(d, pid, &mem);
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(path, d->exe, sizeof(d->exe) - 1);
    d->exe[n > 0 ? n : 0] = '\0';
}

int sandbox_denied_take(int listener, struct gvm_sandbox_denied *ret)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    struct seccomp_notif ask = {0}; /* the kernel wants it empty */
    if (poll(&p, 1, 0) <= 0)
        return 0;
    if (!(p.revents & POLLIN))
        return -EPIPE; /* nobody under the filter is left */
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0)
        return 0;
    struct gvm_sandbox_denied d = {0};
    int arg = telling_argument(ask.data.nr);
    const char *name = seccomp_name(ask.data.nr);
    say_who(&d, (pid_t)ask.pid);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &ask.id) < 0) {
        d.comm[0] = d.exe[0] = '\0';
        d.pid = 0;
    }
    if (name)
        snprintf(d.call, sizeof(d.call), "%s", name);
    else
        snprintf(d.call, sizeof(d.call), "%d", ask.data.nr);
    d.has_arg = arg >= 0;
    d.arg = arg >= 0 ? (uint32_t)ask.data.args[arg] : 0;
    struct seccomp_notif_resp answer = {.id = ask.id, .error = -EPERM};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT)
        return -errno;
    *ret = d;
    return 1;
}
