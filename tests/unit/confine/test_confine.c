/* Each case forks: the child confines itself for good, tries one thing and tells by exit code; a
 * forbidden system call shows as death by SIGSYS. Every refusal stands beside what must still work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "confine/confine_int.h"

#define KILLED 1000 /* death by SIGSYS */

typedef int (*body)(void *arg);

/* Exit code of `fn` run under `spec` in a child; 99 when confinement failed; KILLED + signal -
 * SIGSYS. */
static int under(struct gvm_confine_spec spec, body fn, void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct gvm_err err = {0};
        spec.name = "gvmd-test";
        if (gvm_confine(&spec, &err) < 0) {
            fprintf(stderr, "# %s\n", err.text);
            _exit(99);
        }
        _exit(fn(arg));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return KILLED + WTERMSIG(status) - SIGSYS;
    return WEXITSTATUS(status);
}

static int try_nothing(void *arg)
{
    void *p = malloc(1 << 20);
    char *q = realloc(p, 3 << 20);
    int ok = q != NULL;
    free(q);
    struct timespec ts = {.tv_nsec = 1000};
    nanosleep(&ts, NULL);
    return ok ? 0 : 1;
}

static int try_exec(void *arg)
{
    char *const argv[] = {(char *)"true", NULL};
    execv("/bin/true", argv);
    return 1;
}

static int try_fork(void *arg)
{
    pid_t p = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (p == 0)
        _exit(0);
    return 1;
}

static int try_kill_parent(void *arg)
{
    return kill(getppid(), 0) < 0 ? 1 : 2;
}

static int try_socket(void *arg)
{
    const int *a = arg;
    int fd = socket(a[0], a[1], a[2]);
    return fd >= 0 ? 0 : 1;
}

static int try_open(void *arg)
{
    int fd = open(arg, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? 0 : errno;
}

static int try_wx(void *arg)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? errno : 0;
}

static int try_make_exec(void *arg)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 98;
    return mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

static int try_prctl(void *arg)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? 1 : 2;
}

static int try_setrlimit(void *arg)
{
    struct rlimit r = {0, 0};
    return syscall(SYS_prlimit64, 0, RLIMIT_CPU, &r, NULL) < 0 ? 1 : 2;
}

static int try_abort(void *arg)
{
    abort();
}

static void *thread_main(void *arg)
{
    *(int *)arg = 7;
    return NULL;
}

static int try_thread(void *arg)
{
    pthread_t t;
    int seen = 0;
    int r = pthread_create(&t, NULL, thread_main, &seen);
    if (r)
        return r;
    pthread_join(t, NULL);
    return seen == 7 ? 0 : 97;
}

static int try_new_user(void *arg)
{
    return (int)syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWUSER, 0, 0, 0,
                        0);
}

static int try_epoll(void *arg)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e;
    return fd >= 0 && epoll_wait(fd, &e, 1, 0) == 0 ? 0 : 1;
}

static const struct gvm_confine_spec base = {.lists = GVM_CONFINE_BASE};

static void ordinary_work_goes_on(void **state)
{
    assert_int_equal(under(base, try_nothing, NULL), 0);
}

static void base_forbids(void **state)
{
    if (CONFINE_SANITIZED)
        return; /* its doors are open for the sanitizer */
    static const body bodies[] = {try_exec,      try_fork,  try_kill_parent, try_prctl,
                                  try_setrlimit, try_epoll, try_thread};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies - 1; i++)
        assert_int_equal(under(base, bodies[i], NULL), KILLED);
    assert_int_equal(under(base, try_abort, NULL), KILLED + SIGABRT - SIGSYS);
}

static void threads_only_with_their_list(void **state)
{
    if (CONFINE_SANITIZED)
        return;
    struct gvm_confine_spec with = {.lists = GVM_CONFINE_BASE | GVM_CONFINE_THREADS};
    assert_int_equal(under(with, try_thread, NULL), 0);
    assert_int_equal(under(base, try_thread, NULL), KILLED);
    assert_int_equal(under(with, try_fork, NULL), KILLED);
    assert_int_equal(under(with, try_new_user, NULL), KILLED);
    assert_int_equal(under(with, try_exec, NULL), KILLED);
}

static void loop_list(void **state)
{
    struct gvm_confine_spec with = {.lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP};
    assert_int_equal(under(with, try_epoll, NULL), 0);
}

static void inet_list_checks_the_domain(void **state)
{
    struct gvm_confine_spec with = {.lists = GVM_CONFINE_BASE | GVM_CONFINE_INET};
    int tcp4[] = {AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0};
    int udp6[] = {AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0};
    int local[] = {AF_UNIX, SOCK_STREAM, 0};
    int netlink[] = {AF_NETLINK, SOCK_RAW, 0};
    int packet[] = {AF_PACKET, SOCK_RAW, 0};
    int raw[] = {AF_INET, SOCK_RAW, IPPROTO_ICMP};
    assert_int_equal(under(with, try_socket, tcp4), 0);
    assert_int_equal(under(with, try_socket, udp6), 0);
    assert_int_equal(under(with, try_socket, local), KILLED);
    assert_int_equal(under(with, try_socket, netlink), KILLED);
    assert_int_equal(under(with, try_socket, packet), KILLED);
    assert_int_equal(under(with, try_socket, raw), KILLED);
    assert_int_equal(under(base, try_socket, tcp4), KILLED);
}

static void pages_are_never_both(void **state)
{
    struct gvm_confine_spec jit = base;
    jit.w_plus_x = true;
    assert_int_equal(under(base, try_wx, NULL), EACCES);
    assert_int_equal(under(base, try_make_exec, NULL), EACCES);
    assert_int_equal(under(jit, try_wx, NULL), 0);
    assert_int_equal(under(jit, try_make_exec, NULL), 0);
}

static void opening_without_files_is_an_errno(void **state)
{
    if (!CONFINE_SANITIZED)
        assert_int_equal(under(base, try_open, (void *)(uintptr_t) "/etc/passwd"), EACCES);
}

/* ---- Landlock ---- */

static int make_file(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int r = write(fd, "x", 1) == 1 && fdatasync(fd) == 0 ? 0 : errno;
    close(fd);
    return r;
}

static int try_make(void *arg)
{
    return make_file(*(int *)arg, "made");
}

static int try_list(void *arg)
{
    int fd = openat(*(int *)arg, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char buf[512];
    return fd >= 0 && syscall(SYS_getdents64, fd, buf, sizeof buf) > 0 ? 0 : errno;
}

static int try_device(void *arg)
{
    return mknodat(*(int *)arg, "fifo", S_IFIFO | 0600, 0) < 0 ? errno : 0;
}

static int temp_dir(char path[64])
{
    snprintf(path, 64, "/tmp/gvm-confine-XXXXXX");
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void landlock_keeps_to_the_directories(void **state)
{
    if (gvm_landlock_abi() == 0)
        skip();
    char rw_path[64], ro_path[64];
    int rw = temp_dir(rw_path), ro = temp_dir(ro_path);
    assert_int_equal(make_file(ro, "there"), 0);
    struct gvm_confine_spec s = {.lists = GVM_CONFINE_BASE | GVM_CONFINE_FILES,
                                 .dirs_rw = &rw,
                                 .ndirs_rw = 1,
                                 .dirs_ro = &ro,
                                 .ndirs_ro = 1};
    assert_int_equal(under(s, try_make, &rw), 0);
    assert_int_equal(under(s, try_list, &rw), 0);
    assert_int_equal(under(s, try_list, &ro), 0);
    assert_int_equal(under(s, try_make, &ro), EACCES);
    assert_int_equal(under(s, try_open, (void *)(uintptr_t) "/etc/passwd"), EACCES);
    assert_int_equal(under(s, try_open, (void *)(uintptr_t) "/"), EACCES);
    if (!CONFINE_SANITIZED)
        assert_int_equal(under(s, try_device, &rw), KILLED);
    unlinkat(rw, "made", 0);
    unlinkat(ro, "there", 0);
    close(rw);
    close(ro);
    rmdir(rw_path);
    rmdir(ro_path);
}

static int try_connect(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, arg, sizeof(struct sockaddr_in)) == 0 ? 0 : errno;
}

static int try_bind(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : errno;
}

static void landlock_network(void **state)
{
    if (gvm_landlock_abi() < 4)
        skip();
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(l, 4), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &n), 0);
    struct gvm_confine_spec s = {.lists = GVM_CONFINE_BASE | GVM_CONFINE_INET, .net_connect = true};
    assert_int_equal(under(s, try_connect, &sa), 0);
    assert_int_equal(under(s, try_bind, NULL), EACCES);
    s.net_connect = false;
    assert_int_equal(under(s, try_connect, &sa), EACCES);
    close(l);
}

/* ---- capabilities and process state ---- */

static int caps_left(void *arg)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2];
    if (syscall(SYS_capget, &h, d) < 0)
        return 90;
    if (d[0].effective | d[0].permitted | d[0].inheritable | d[1].effective | d[1].permitted |
        d[1].inheritable)
        return 1;
    for (unsigned long c = 0; geteuid() == 0 && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) {
        if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1)
            return 2;
    }
    for (unsigned long c = 0; c < 41; c++) {
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == 1)
            return 3;
    }
    return 0;
}

static void capabilities_are_gone(void **state)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct gvm_err err = {0};
        if (gvm_caps_drop_all(&err) < 0)
            _exit(99);
        _exit(caps_left(NULL));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int state_left(void *arg)
{
    char text[4096] = "";
    ssize_t n = pread(*(int *)arg, text, sizeof text - 1, 0);
    if (n <= 0)
        return 90;
    static const char *const wanted[] = {
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!strstr(text, wanted[i]))
            return 1 + (int)i;
    }
    return 0;
}

static int open_status_then(void *arg)
{
    return state_left(arg);
}

static void process_state_as_the_kernel_sees_it(void **state)
{
    /* The status file must be opened by the child itself, before it is confined. */
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        struct gvm_err err = {0};
        struct gvm_confine_spec s = {.name = "gvmd-test",
                                     .lists = GVM_CONFINE_BASE | GVM_CONFINE_FILES};
        _exit(fd < 0 || gvm_confine(&s, &err) < 0 ? 99 : open_status_then(&fd));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int exec_returns_eperm(void *arg)
{
    errno = 0;
    char *const argv[] = {(char *)"true", NULL};
    execv("/bin/true", argv);
    return errno == EPERM ? 0 : 1;
}

static void reporting_mode_refuses_and_lives(void **state)
{
    setenv("GVM_CONFINE_LOG", "1", 1);
    assert_int_equal(under(base, exec_returns_eperm, NULL), 0);
    unsetenv("GVM_CONFINE_LOG");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_work_goes_on),
        cmocka_unit_test(base_forbids),
        cmocka_unit_test(threads_only_with_their_list),
        cmocka_unit_test(loop_list),
        cmocka_unit_test(inet_list_checks_the_domain),
        cmocka_unit_test(pages_are_never_both),
        cmocka_unit_test(opening_without_files_is_an_errno),
        cmocka_unit_test(landlock_keeps_to_the_directories),
        cmocka_unit_test(landlock_network),
        cmocka_unit_test(capabilities_are_gone),
        cmocka_unit_test(process_state_as_the_kernel_sees_it),
        cmocka_unit_test(reporting_mode_refuses_and_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
