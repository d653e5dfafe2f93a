/* sandbox_drive [-t] WORKSPACE RUN_DIR COMMAND...: the sandbox room alone, without daemon or
 * launcher. Nobody answers on the listeners; $GVM_DRIVE_CACHE is the cache. With -t it prints how
 * long each half took, on stderr. Exit code as gvm run gives it. */
#include "sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ca[] = "-----BEGIN CERTIFICATE-----\nZHJpdmU=\n-----END CERTIFICATE-----\n";

static int fail(const struct gvm_err *err)
{
    fprintf(stderr, "sandbox_drive: %s\n", err->text);
    return 125;
}

static void tell(bool timed, const char *what, int64_t since)
{
    if (timed)
        fprintf(stderr, "%-8s %6.2f ms\n", what, (double)(gvm_mono_ns() - since) / 1e6);
}

int main(int argc, char **argv)
{
    bool timed = argc > 1 && strcmp(argv[1], "-t") == 0;
    argv += timed;
    argc -= timed;
    if (argc < 4) {
        fputs("usage: sandbox_drive [-t] WORKSPACE RUN_DIR COMMAND...\n", stderr);
        return 2;
    }
    struct gvm_err err = {0};
    struct gvm_arena *a = gvm_arena_new(4u << 20);
    struct gvm_sandbox_plan plan = {.run = "drive",
                                    .argv = (const char *const *)(argv + 3),
                                    .workspace = argv[1],
                                    .home = getenv("HOME"),
                                    .run_dir = argv[2],
                                    .cache = getenv("GVM_DRIVE_CACHE")};
    struct gvm_sandbox *s = NULL;
    int code = 125;
    int64_t t = gvm_mono_ns();
    int r = gvm_sandbox_env(a, &plan, &plan.env, &err);
    if (r == 0)
        r = gvm_sandbox_create(&plan, &s, &err);
    tell(timed, "create", t);
    t = gvm_mono_ns();
    if (r == 0)
        r = gvm_sandbox_start(s, (struct gvm_str){ca, sizeof(ca) - 1}, &err);
    tell(timed, "start", t);
    t = gvm_mono_ns();
    if (r == 0)
        r = gvm_sandbox_wait(s, &code, &err);
    tell(timed, "wait", t);
    t = gvm_mono_ns();
    if (s && *gvm_sandbox_notes(s))
        fputs(gvm_sandbox_notes(s), stderr);
    if (s && gvm_sandbox_exec_error(s))
        fprintf(stderr, "%s\n", gvm_sandbox_exec_error(s));
    gvm_sandbox_free(s);
    tell(timed, "free", t);
    gvm_arena_free(a);
    return r < 0 ? fail(&err) : code;
}
