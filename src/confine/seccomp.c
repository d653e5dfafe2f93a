/* From the lists to a filter. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include "confine/confine_int.h"

#define MAX_NAMED 512

/* For the reporting filter of tests: what a signal handler may say about a refused call. */
static char *call_names[MAX_NAMED];
static const char *process_name;

static void set_result(ucontext_t *uc, long v)
{
#if defined(__x86_64__)
    uc->uc_mcontext.gregs[REG_RAX] = v;
#elif defined(__aarch64__)
    uc->uc_mcontext.regs[0] = (unsigned long long)v;
#else
    (void)uc;
    (void)v;
#endif
}

/* One line on stderr per refused call, which then returns EPERM. */
static void report(int sig, siginfo_t *si, void *context)
{
    int keep = errno;
    char line[128];
    int nr = si->si_syscall;
    const char *name = nr >= 0 && nr < MAX_NAMED && call_names[nr] ? call_names[nr] : "?";
    int n = snprintf(line, sizeof line, "%s: seccomp: refused system call %s (%d)\n", process_name,
                     name, nr);
    if (n > 0)
        (void)!write(STDERR_FILENO, line, (size_t)n);
    errno = keep;
    set_result(context, -EPERM);
}

static int install_report(const char *name, struct gvm_err *err)
{
    process_name = name;
    for (int nr = 0; nr < MAX_NAMED; nr++) {
        if (!call_names[nr])
            call_names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
    }
    struct sigaction sa = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &sa, NULL) < 0)
        return gvm_err_sys(err, errno, "cannot install the SIGSYS handler");
    return 0;
}

static int add_call(scmp_filter_ctx ctx, const struct confine_call *c, struct gvm_err *err)
{
    int nr = seccomp_syscall_resolve_name(c->name);
    if (nr < 0)
        return 0; /* not on this architecture, or newer than libseccomp: stays refused */
    struct scmp_arg_cmp cmp[3];
    unsigned n = 0;
    for (; n < 3 && c->args[n].mask; n++)
        cmp[n] = SCMP_CMP64(c->args[n].arg, SCMP_CMP_MASKED_EQ, c->args[n].mask, c->args[n].value);
    uint32_t action = c->refuse ? SCMP_ACT_ERRNO((uint16_t)c->refuse) : SCMP_ACT_ALLOW;
    int r = seccomp_rule_add_array(ctx, action, nr, n, cmp);
    return r < 0 && r != -EEXIST ? gvm_err_sys(err, -r, "cannot add %s to the filter", c->name) : 0;
}

/* abort() and raise() signal the own process; nobody else may be signalled. */
static int add_tgkill(scmp_filter_ctx ctx, struct gvm_err *err)
{
    struct confine_call own = {"tgkill", 0, {{0, 0xffffffff, (uint64_t)getpid()}}};
    return CONFINE_SANITIZED ? 0 : add_call(ctx, &own, err);
}

static bool wanted(const struct confine_list *l, unsigned have)
{
    if (l->list & CONFINE_WITHOUT)
        return !(have & (l->list & ~CONFINE_WITHOUT));
    return l->list == 0 || (have & l->list);
}

static bool anything_allows(const char *name, unsigned have)
{
    for (const struct confine_list *l = confine_lists; l->calls; l++) {
        for (const struct confine_call *c = l->calls; wanted(l, have) && c->name; c++) {
            if (!c->refuse && c->args[0].mask == 0 && strcmp(c->name, name) == 0)
                return true;
        }
    }
    return false;
}

static int fill(scmp_filter_ctx ctx, unsigned have, struct gvm_err *err)
{
    int r = add_tgkill(ctx, err);
    for (const struct confine_list *l = confine_lists; r == 0 && l->calls; l++) {
        for (const struct confine_call *c = l->calls; r == 0 && wanted(l, have) && c->name; c++) {
            /* A row without tests beats rows of the same call that have some. */
            if ((c->refuse || c->args[0].mask) && anything_allows(c->name, have))
                continue;
            r = add_call(ctx, c, err);
        }
    }
    return r;
}

static int load(scmp_filter_ctx ctx, unsigned have, struct gvm_err *err)
{
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot set up the seccomp filter");
    r = fill(ctx, have, err);
    if (r < 0)
        return r;
    r = seccomp_load(ctx);
    return r < 0 ? gvm_err_sys(err, -r, "the kernel refuses the seccomp filter") : 0;
}

int confine_seccomp(const struct gvm_confine_spec *spec, struct gvm_err *err)
{
    const char *log = getenv("GVM_CONFINE_LOG");
    bool reporting = log && strcmp(log, "1") == 0;
    if (reporting) {
        int r = install_report(spec->name, err);
        if (r < 0)
            return r;
    }
    scmp_filter_ctx ctx = seccomp_init(reporting ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS);
    if (!ctx)
        return gvm_err_set(err, ENOMEM, "cannot make a seccomp filter");
    int r = load(ctx, spec->lists | (spec->w_plus_x ? CONFINE_W_PLUS_X : 0), err);
    seccomp_release(ctx);
    return r;
}
