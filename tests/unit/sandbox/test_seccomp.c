/* The filter as the kernel would run it: what each profile lets through, and that an owner's file
 * can only take away. */
#include "../unit.h"
#include "sandbox/seccomp_int.h"

#include <errno.h>
#include <linux/audit.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif
#define REFUSED (SECCOMP_RET_ERRNO | EPERM)
#define NOSYS   (SECCOMP_RET_ERRNO | ENOSYS)
#define TOLD    SECCOMP_RET_USER_NOTIF
#define ALLOW   SECCOMP_RET_ALLOW

/* The part of classic BPF that filters use. */
static uint32_t run(const struct seccomp_program *p, const struct seccomp_data *d)
{
    uint32_t a = 0;
    for (unsigned at = 0; at < p->n; at++) {
        const struct sock_filter *i = &p->insn[at];
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k + 4 <= sizeof(*d) && i->k % 4 == 0);
            memcpy(&a, (const char *)d + i->k, 4);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_JMP | BPF_JA:
            at += i->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            at += a > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            at += a & i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %#x", i->code);
        }
    }
    fail_msg("it runs past its end");
    return 0;
}

static struct seccomp_program program;

static void build(const struct gvm_sandbox_plan *plan)
{
    static struct seccomp_table t;
    seccomp_fill(&t, plan, false);
    program.refuse = TOLD;
    assert_int_equal(seccomp_assemble(&program, &t), 0);
}

static uint32_t call(int nr, uint64_t a, uint64_t b, uint64_t c)
{
    const struct seccomp_data d = {.nr = nr, .arch = ARCH, .args = {a, b, c}};
    return run(&program, &d);
}

static struct gvm_sandbox_profile *profile_of(const char *text)
{
    struct gvm_sandbox_profile *f = NULL;
    struct gvm_err err = {0};
    if (gvm_sandbox_profile_parse(gvm_str(text), "p.json", &f, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return f;
}

static void the_default(void **state)
{
    (void)state;
    build(&(struct gvm_sandbox_plan){0});
    assert_int_equal(call(SYS_read, 0, 0, 0), ALLOW);
    assert_int_equal(call(SYS_mount, 0, 0, 0), TOLD);
    assert_int_equal(call(SYS_ptrace, 0, 0, 0), TOLD);
    assert_int_equal(call(425, 0, 0, 0), NOSYS);
    assert_int_equal(call(435, 0, 0, 0), NOSYS);
    assert_int_equal(call(SECCOMP_LAST + 1, 0, 0, 0), NOSYS);
    assert_int_equal(call(100000, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_clone, CLONE_NEWNET | 17, 0, 0), TOLD);
    assert_int_equal(call(SYS_clone, CLONE_VM | CLONE_THREAD, 0, 0), ALLOW);
    assert_int_equal(call(SYS_socket, AF_PACKET, SOCK_RAW, 0), TOLD);
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ALLOW);
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_STREAM, 262),
                     SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
    assert_int_equal(call(SYS_ioctl, 0, 0x5412, 0), TOLD);
    assert_int_equal(call(SYS_ioctl, 0, UINT64_C(0xabcd00005412), 0), TOLD); /* an int to it */
    assert_int_equal(call(SYS_ioctl, 0, 0xc0186400, 0), ALLOW);
    assert_int_equal(call(SYS_shmget, 0, 0, 0), ALLOW);
    struct seccomp_data d = {.nr = SYS_read, .arch = AUDIT_ARCH_I386};
    assert_int_equal(run(&program, &d), SECCOMP_RET_KILL_PROCESS);
#if defined(__x86_64__)
    assert_int_equal(call(0x40000000 | SYS_read, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
#endif
}

static void strict_takes_more_away(void **state)
{
    (void)state;
    build(&(struct gvm_sandbox_plan){0});
    static uint32_t before[SECCOMP_LAST + 1];
    for (int i = 0; i <= SECCOMP_LAST; i++)
        before[i] = call(i, 0, 0, 0);
    build(&(struct gvm_sandbox_plan){.strict = true});
    for (int i = 0; i <= SECCOMP_LAST; i++)
        if (before[i] != ALLOW && call(i, 0, 0, 0) == ALLOW)
            fail_msg("strict lets call %d through", i);
    assert_int_equal(call(SYS_shmget, 0, 0, 0), REFUSED);
    assert_int_equal(call(SYS_io_setup, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_ioctl, 0, 0xc0186400, 0), TOLD); /* a graphics driver's */
    assert_int_equal(call(SYS_ioctl, 0, 0x5401, 0), ALLOW);    /* TCGETS */
    assert_int_equal(call(SYS_ioctl, 0, 0x5412, 0), TOLD);
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_DGRAM, 1), TOLD); /* ping */
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_DGRAM, 17), ALLOW);
    assert_int_equal(call(SYS_socket, AF_UNIX, SOCK_STREAM, 0), ALLOW);
    assert_int_equal(call(SYS_mount, 0, 0, 0), TOLD);
}

/* Every operator, around values on both sides of 32 bits. */
static void conditions(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      5,
                                      0xffffffff,
                                      UINT64_C(0x100000000),
                                      UINT64_C(0x100000005),
                                      UINT64_C(0x500000000),
                                      UINT64_MAX};
    static const char *const ops[] = {"NE", "LT", "LE", "EQ", "GE", "GT"};
    (void)state;
    for (size_t o = 0; o < 6; o++)
        for (size_t v = 0; v < 8; v++) {
            char text[512];
            snprintf(text, sizeof(text),
                     "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"lseek\"],"
                     "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":7,\"args\":[{\"index\":1,"
                     "\"value\":%llu,\"op\":\"SCMP_CMP_%s\"}]}]}",
                     (unsigned long long)values[v], ops[o]);
            struct gvm_sandbox_profile *f = profile_of(text);
            build(&(struct gvm_sandbox_plan){.profile = f});
            for (size_t w = 0; w < 8; w++) {
                uint64_t a = values[w], b = values[v];
                const bool holds[] = {a != b, a<b, a <= b, a == b, a >= b, a> b};
                if ((call(SYS_lseek, 0, a, 0) == ALLOW) == holds[o])
                    fail_msg("%llx %s %llx", (unsigned long long)a, ops[o], (unsigned long long)b);
            }
            gvm_sandbox_profile_free(f);
        }
}

static void a_file_only_takes_away(void **state)
{
    (void)state;
    struct gvm_sandbox_profile *f = profile_of(
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
        "{\"names\":[\"mount\",\"ptrace\",\"io_uring_setup\",\"socket\"],\"action\":"
        "\"SCMP_ACT_ALLOW\"},"
        "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":0,"
        "\"op\":\"SCMP_CMP_EQ\"}]},"
        "{\"names\":[\"unlinkat\"],\"action\":\"SCMP_ACT_NOTIFY\"},"
        "{\"names\":[\"bpf\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"},"
        "{\"names\":[\"socket\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":97,\"args\":["
        "{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"},"
        "{\"index\":1,\"value\":15,\"valueTwo\":2,\"op\":\"SCMP_CMP_MASKED_EQ\"}]}]}");
    build(&(struct gvm_sandbox_plan){.profile = f});
    assert_int_equal(call(SYS_mount, 0, 0, 0), TOLD);
    assert_int_equal(call(SYS_mount, 1, 0, 0), TOLD);
    assert_int_equal(call(SYS_ptrace, 0, 0, 0), TOLD);
    assert_int_equal(call(425, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_unlinkat, 0, 0, 0), TOLD);
    assert_int_equal(call(SYS_bpf, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(call(SYS_socket, AF_PACKET, SOCK_RAW, 0), TOLD);
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_STREAM, 0), ALLOW);
    assert_int_equal(call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                     SECCOMP_RET_ERRNO | 97);
    gvm_sandbox_profile_free(f);
}

/* What container engines ship: everything refused but a list, with members of theirs. */
static void as_engines_write_them(void **state)
{
    (void)state;
    struct gvm_sandbox_profile *f = profile_of(
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\n"
        "\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":[]}],\n"
        "\"syscalls\":[{\"names\":[\"execve\",\"exit_group\",\"sendmsg\",\"read\",\"chown32\","
        "\"no_such_call\",\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[],\"comment\":\"\","
        "\"includes\":{},\"excludes\":{}},\n"
        "{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":"
        "[\"CAP_SYS_ADMIN\"]}},\n"
        "{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ALLOW\",\"excludes\":{\"caps\":"
        "[\"CAP_SYS_ADMIN\"]}},\n"
        "{\"names\":[\"getuid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":"
        "\"4.8\"}},\n"
        "{\"names\":[\"getgid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":"
        "\"400.8\"}},\n"
        "{\"names\":[\"geteuid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"arches\":"
        "[\"s390x\"]}},\n"
        "{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,"
        "\"value\":8,\"op\":\"SCMP_CMP_EQ\"}]}]}");
    build(&(struct gvm_sandbox_plan){.profile = f});
    assert_int_equal(call(SYS_read, 0, 0, 0), ALLOW);
    assert_int_equal(call(SYS_write, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_mount, 0, 0, 0), TOLD);
    assert_int_equal(call(SYS_getpid, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_getppid, 0, 0, 0), ALLOW);
    assert_int_equal(call(SYS_getuid, 0, 0, 0), ALLOW);
    assert_int_equal(call(SYS_getgid, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_geteuid, 0, 0, 0), NOSYS);
    assert_int_equal(call(SYS_personality, 8, 0, 0), TOLD); /* theirs lets it pass, ours does not */
    assert_int_equal(call(SYS_personality, 0, 0, 0), NOSYS);
    gvm_sandbox_profile_free(f);
}

static void bad_files_are_told_where(void **state)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"", "p.json:1:1: not valid JSON"},
        {"{\"defaultAction\":\n tru}", "p.json:2:2: not valid JSON"},
        {"[]", "p.json:1:1: a profile must be an object"},
        {"{}", "p.json:1:1: \"defaultAction\" is missing"},
        {"{\"defaultAction\":1}", "p.json:1:18: defaultAction must be an action"},
        {"{\"defaultAction\":\"SCMP_ACT_OPEN\"}", "p.json:1:19: defaultAction \"SCMP_ACT_OPEN\""},
        {"{\"defaultAction\":\"SCMP_ACT_TRACE\"}", "is not one a sandbox knows"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\n\"sycalls\":[]}", "p.json:2:11: \"sycalls\""},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":0}", "errno from 1 to 4095"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":{}}", "syscalls must be a list"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"action\":\"SCMP_ACT_ERRNO\"}]}",
         "\"names\" is missing"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[\n{\"names\":[\"raed\"],"
         "\"action\":\"SCMP_ACT_ERRNO\"}]}",
         "p.json:2:12: no system call is called \"raed\""},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
         "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
         "index must be a whole number from 0 to 5"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
         "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"EQ\"}]}]}",
         "op must be SCMP_CMP_"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
         "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_GT\"},"
         "{\"index\":0,\"value\":9,\"op\":\"SCMP_CMP_LT\"}]}]}",
         "argument 0 is named twice"},
        {"{\"defaultAction\":\"SCMP_ACT_ERRNO\"}", "execve must be allowed without conditions"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultAction\":\"SCMP_ACT_ALLOW\"}",
         "the same key twice"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gvm_sandbox_profile *f = NULL;
        struct gvm_err err = {0};
        if (gvm_sandbox_profile_parse(gvm_str(rows[i].text), "p.json", &f, &err) == 0)
            fail_msg("accepted: %s", rows[i].text);
        if (!strstr(err.text, rows[i].said))
            fail_msg("%s: %s", rows[i].text, err.text);
    }
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(seccomp_number(GVM_STR("openat")), SYS_openat);
    assert_int_equal(seccomp_number(GVM_STR("zzz")), -2);
    assert_int_equal(seccomp_number(GVM_STR("")), -2);
    assert_int_equal(seccomp_number(GVM_STR("s390_runtime_instr")), -1);
    assert_string_equal(seccomp_name(SYS_unshare), "unshare");
    for (int i = 424; i <= SECCOMP_LAST; i++)
        assert_non_null(seccomp_name(i));
    assert_null(seccomp_name(5000));
}

/* A listener that has hung up is over; or its owner would turn round it. */
static void a_listener_that_hung_up_is_over(void **state)
{
    struct gvm_sandbox_denied what;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(sandbox_denied_take(ends[0], &what), 0);
    close(ends[1]);
    assert_int_equal(sandbox_denied_take(ends[0], &what), -EPIPE);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_that_hung_up_is_over), cmocka_unit_test(the_default),
        cmocka_unit_test(strict_takes_more_away),          cmocka_unit_test(conditions),
        cmocka_unit_test(a_file_only_takes_away),          cmocka_unit_test(as_engines_write_them),
        cmocka_unit_test(bad_files_are_told_where),        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
