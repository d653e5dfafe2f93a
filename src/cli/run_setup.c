/* From options to a running agent.
 *
 * The sandbox is cloned first: it builds its mounts while the run is being registered with the
 * daemon, and inside a sandbox it is what fails, before anything else was touched.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- paths and names ---- */

/* --continue: whose staged changes this run goes on from, and so where. */
static int find_old(struct run *r, struct gvm_err *err)
{
    char id[GVM_MAX_RUN_ID + 1];
    struct gvm_run_record old;
    if (!r->opt.go_on)
        return 0;
    int x = cli_find_run(r->opt.go_on, id, r->old_dir, err);
    if (x == 0)
        x = gvm_run_record_read(r->old_dir, &old, err);
    if (x < 0)
        return x;
    if (gvm_run_is_live(&old))
        return gvm_err_set(err, EBUSY, "the agent of run %s still runs", id);
    if (!r->opt.workspace)
        r->opt.workspace = gvm_arena_dup(r->arena, old.workspace, strlen(old.workspace));
    memcpy(r->record.continues, id, sizeof(id));
    r->record.layer_ns = old.layer_ns ? old.layer_ns : old.started_ns;
    r->old_workspace = gvm_arena_dup(r->arena, old.workspace, strlen(old.workspace));
    return r->opt.workspace && r->old_workspace ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
}

static int choose_places(struct run *r, struct gvm_err *err)
{
    char here[PATH_MAX];
    if (!getcwd(here, sizeof(here)))
        return gvm_err_sys(err, errno, "cannot tell the current directory");
    const char *wanted = r->opt.workspace ? r->opt.workspace : here;
    if (!realpath(wanted, r->workspace))
        return gvm_err_sys(err, errno, "cannot use the workspace %s", wanted);
    size_t n = strlen(r->workspace);
    bool inside = strncmp(here, r->workspace, n) == 0 && (here[n] == '/' || here[n] == '\0');
    memcpy(r->cwd, inside ? here : r->workspace, PATH_MAX);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(geteuid());
        home = pw ? pw->pw_dir : "/";
    }
    if (!realpath(home, r->home))
        memcpy(r->home, "/", 2);
    return 0;
}

/* "20261123T231300-" and six hex digits: the microsecond, and four bits of chance. Ids sort by
 * time, within a second too, and the directory that must be new makes them unique. */
static int try_id(struct run *r, struct gvm_err *err)
{
    uint8_t chance, tail[3];
    struct tm tm;
    char rest[64];
    int64_t now = gvm_now_ns();
    time_t seconds = (time_t)(now / 1000000000);
    if (getrandom(&chance, 1, 0) != 1 || !gmtime_r(&seconds, &tm))
        return gvm_err_sys(err, errno, "cannot name the run");
    uint32_t v = (uint32_t)(now % 1000000000 / 1000) << 4 | (chance & 15);
    tail[0] = (uint8_t)(v >> 16);
    tail[1] = (uint8_t)(v >> 8);
    tail[2] = (uint8_t)v;
    size_t n = strftime(r->id, sizeof(r->id), "%Y%m%dT%H%M%S-", &tm);
    gvm_hex(r->id + n, tail, sizeof(tail));
    snprintf(rest, sizeof(rest), "runs/%s", r->id);
    int x = gvm_place_path(GVM_PLACE_STATE, rest, r->dir, err);
    if (x < 0 || mkdir(r->dir, 0700) == 0)
        return x;
    x = -errno;
    return gvm_err_sys(err, -x, "cannot make %s", r->dir);
}

static int choose_id(struct run *r, struct gvm_err *err)
{
    char runs[GVM_PATH_MAX];
    int x = gvm_place_path(GVM_PLACE_STATE, "runs", runs, err);
    if (x == 0)
        x = gvm_mkdirs(runs, 0700, err);
    for (int i = 0; x == 0 && i < 8; i++) {
        x = try_id(r, err);
        if (x != -EEXIST)
            return x;
        x = 0;
    }
    return x < 0 ? x : gvm_err_set(err, EEXIST, "cannot find a name for the run");
}

int run_prepare(struct run *r, struct gvm_err *err)
{
    int x = run_choose_command(r, err);
    if (x == 0)
        x = find_old(r, err);
    if (x == 0)
        x = choose_places(r, err);
    if (x == 0 && r->old_workspace && strcmp(r->old_workspace, r->workspace) != 0)
        return gvm_err_set(err, EINVAL, "run %s worked in %s, which is another workspace",
                           r->record.continues, r->old_workspace);
    if (x == 0)
        x = cli_config_choose(r->opt.config, r->workspace, r->config, &r->has_config, stderr, err);
    if (x == 0 && r->has_config)
        x = run_read_config(r, err);
    if (x == 0 && r->has_config) /* wherever it lies, the agent neither reads nor replaces it */
        x = run_add_place(r, &r->opt.hide, r->config, strlen(r->config), err);
    if (x == 0)
        x = run_read_profile(r, err);
    if (x == 0)
        x = run_choose_kept(r, err);
    return x == 0 ? choose_id(r, err) : x;
}

/* ---- the run's record ---- */

static void join_command(struct run *r, char *dst, size_t cap)
{
    size_t n = 0;
    for (const char *const *a = r->argv; *a && n + 1 < cap; a++) {
        int more = snprintf(dst + n, cap - n, "%s%s", n ? " " : "", *a);
        n += more > 0 ? (size_t)more : 0;
    }
}

static int write_record(struct run *r, struct gvm_err *err)
{
    struct gvm_run_record *c = &r->record;
    memcpy(c->run, r->id, sizeof(c->run));
    memcpy(c->agent, r->agent, sizeof(c->agent));
    if (gvm_str_copy(c->workspace, sizeof(c->workspace), gvm_str(r->workspace)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path of the workspace is too long");
    join_command(r, c->command, sizeof(c->command));
    c->started_ns = gvm_now_ns();
    c->launcher = getpid();
    c->watch = r->opt.watch;
    return gvm_run_record_put(r->dir, c, err); /* run_loop() sees to it that it lasts */
}

/* ---- the sandbox ---- */

static void look_at_terminal(struct run *r, struct gvm_sandbox_plan *plan)
{
    static struct termios found;
    for (int fd = 0; fd < 3; fd++) {
        if (!isatty(fd))
            continue;
        plan->pty = true;
        if (!plan->winsize.ws_row && ioctl(fd, TIOCGWINSZ, &plan->winsize) < 0)
            memset(&plan->winsize, 0, sizeof(plan->winsize));
        if (!plan->termios && tcgetattr(fd, &found) == 0)
            plan->termios = &found;
    }
    if (isatty(0) && plan->termios)
        r->termios = &found;
}

#define MAX_STDIN (256u << 20) /* a file given as stdin */

/* What stands on stdin is for the agent: a pipe as it is, a file as a sealed copy, because an agent
 * that holds the owner's file could open it anew and write to it. Anything else (a socket, a
 * device) is not passed. */
static int choose_stdin(struct gvm_sandbox_plan *plan, struct gvm_err *err)
{
    struct stat st;
    if (fstat(0, &st) < 0 || (!S_ISFIFO(st.st_mode) && !S_ISREG(st.st_mode)))
        return 0;
    plan->pass_stdin = true;
    if (S_ISFIFO(st.st_mode))
        return 0;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, MAX_STDIN);
    int x = gvm_read_fd(0, &text);
    if (x < 0)
        return gvm_err_sys(err, -x, "cannot read the file on stdin");
    GVM_AUTOCLOSE int copy = gvm_memfd("stdin", gvm_buf_data(&text), text.len);
    if (copy < 0 || dup2(copy, 0) < 0)
        return gvm_err_sys(err, copy < 0 ? -copy : errno, "cannot copy the file on stdin");
    return 0;
}

static unsigned waived_by(const struct run_options *o)
{
    unsigned all = 0;
    for (unsigned i = 0; i < o->without.n; i++)
        all |= gvm_sandbox_layer(o->without.v[i]);
    return all;
}

static int create(struct run *r, struct gvm_err *err)
{
    const struct run_options *o = &r->opt;
    struct termios cooked;
    char cache[GVM_PATH_MAX];
    int x = gvm_place_path(GVM_PLACE_STATE, "cache", cache, err);
    if (x < 0)
        return x;
    struct gvm_sandbox_plan plan = {
        .run = r->id,
        .argv = r->argv,
        .workspace = r->workspace,
        .cwd = r->cwd,
        .home = r->home,
        .run_dir = r->dir,
        .cache = cache,
        .hide = o->hide.v,
        .reveal = o->reveal.v,
        .mounts = o->mounts.v,
        .devices = o->devices.v,
        .persist = o->persist.v,
        .kept = r->kept,
        .pass = o->pass.v,
        .max_pids = o->max_pids,
        .max_files = o->max_files,
        .max_disk = o->max_disk,
        .max_memory = o->max_memory,
        .publish = o->publish.n > 0,
        .waived = waived_by(o),
        .strict = o->seccomp && strcmp(o->seccomp, "strict") == 0,
        .profile = r->profile,
        .record = true,
        .max_cpus = o->max_cpus,
    };
    look_at_terminal(r, &plan);
    if (plan.termios && !r->termios) {
        /* Output only: the person's terminal goes on turning line ends itself, once is enough. */
        cooked = *plan.termios;
        cooked.c_oflag &= ~(tcflag_t)OPOST;
        plan.termios = &cooked;
    }
    x = choose_stdin(&plan, err);
    if (x == 0)
        x = gvm_sandbox_env(r->arena, &plan, &plan.env, err);
    if (x == 0)
        x = run_output_open(r, err);
    if (x == 0)
        x = gvm_sandbox_create(&plan, &r->sandbox, err);
    run_output_back(r);
    return x;
}

static void tell_notes(const struct run *r)
{
    for (const char *p = gvm_sandbox_notes(r->sandbox); *p;) {
        size_t n = strcspn(p, "\n");
        cli_say("%.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

/* The record comes first: with the layers, what was staged is this run's. */
static int take_over(struct run *r, struct gvm_err *err)
{
    if (!r->old_workspace)
        return 0;
    int x = write_record(r, err);
    if (x == 0)
        x = gvm_run_record_write(r->dir, &r->record, err);
    if (x < 0)
        return x;
    r->took_over = true;
    return gvm_run_hand_over(r->old_dir, r->dir, err);
}

int run_launch(struct run *r, struct gvm_err *err)
{
    struct gvm_str pem = {0};
    int x = take_over(r, err);
    if (x == 0)
        x = create(r, err);
    if (x == 0)
        x = cli_connect(true, &r->chan, err);
    if (x == 0 && (r->opt.watch || r->opt.ask))
        x = run_watch_open(r, err);
    if (x == 0)
        x = run_register(r, err);
    if (x == 0)
        x = write_record(r, err); /* while the daemon works */
    if (x == 0)
        x = gvm_sandbox_help(r->sandbox, err);
    if (x == 0)
        x = run_await_ready(r, &pem, err);
    if (x == 0)
        x = run_block_signals(r, err); /* from the agent's first moment on they are meant for it */
    if (x == 0)
        x = gvm_sandbox_start(r->sandbox, pem, err);
    if (x < 0)
        return x;
    tell_notes(r);
    run_tell_worktree(r);
    if (gvm_sandbox_exec_error(r->sandbox))
        cli_say("%s", gvm_sandbox_exec_error(r->sandbox));
    return 0;
}
