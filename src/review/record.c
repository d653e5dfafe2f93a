/* run.json: one object, replaced durably. A workspace whose name is not UTF-8 is also kept as
 * base64. */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RECORD_MAX (64u << 10)

static void free_arena(struct gvm_arena **a)
{
    gvm_arena_free(*a);
}

static void put_workspace(struct gvm_jw *w, const char *path)
{
    struct gvm_str s = gvm_str(path);
    gvm_jw_kstr(w, "workspace", s);
    if (gvm_utf8_valid(s))
        return;
    char text[GVM_B64_LEN(4096) + 1];
    gvm_b64(text, s.p, s.n);
    gvm_jw_kstrz(w, "workspace_base64", text);
}

static int encode(const struct gvm_run_record *r, struct gvm_buf *out, struct gvm_err *err)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "v", 1);
    gvm_jw_kstrz(&w, "run", r->run);
    gvm_jw_kstrz(&w, "agent", r->agent);
    put_workspace(&w, r->workspace);
    gvm_jw_kstrz(&w, "command", r->command);
    gvm_jw_kint(&w, "started_ns", r->started_ns);
    gvm_jw_kint(&w, "ended_ns", r->ended_ns);
    if (r->layer_ns)
        gvm_jw_kint(&w, "layer_ns", r->layer_ns);
    if (r->continues[0])
        gvm_jw_kstrz(&w, "continues", r->continues);
    gvm_jw_kint(&w, "exit", r->exit_code);
    if (r->why[0])
        gvm_jw_kstrz(&w, "why", r->why);
    gvm_jw_kint(&w, "launcher", r->launcher);
    gvm_jw_kbool(&w, "watch", r->watch);
    gvm_jw_object_end(&w);
    if (gvm_buf_addc(out, '\n') < 0 || out->failed)
        return gvm_err_set(err, ENOMEM, "out of memory writing the run's record");
    return 0;
}

int gvm_run_record_write(const char *run_dir, const struct gvm_run_record *r, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, RECORD_MAX);
    int x = encode(r, &out, err);
    if (x < 0)
        return x;
    GVM_AUTOCLOSE int dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return gvm_err_sys(err, errno, "cannot open %s", run_dir);
    return gvm_write_file_at(dir, "run.json", gvm_buf_data(&out), out.len, 0600, err);
}

int gvm_run_record_put(const char *run_dir, const struct gvm_run_record *r, struct gvm_err *err)
{
    static const char next[] = ".run.json.next";
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, RECORD_MAX);
    int x = encode(r, &out, err);
    if (x < 0)
        return x;
    GVM_AUTOCLOSE int dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return gvm_err_sys(err, errno, "cannot open %s", run_dir);
    GVM_AUTOCLOSE int fd =
        openat(dir, next, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    x = fd < 0 ? -errno : gvm_write_all(fd, gvm_buf_data(&out), out.len);
    if (x == 0 && renameat(dir, next, dir, "run.json") < 0)
        x = -errno;
    return x < 0 ? gvm_err_sys(err, -x, "cannot write %s/run.json", run_dir) : 0;
}

static int get_workspace(const struct gvm_json *v, char dst[4096])
{
    const char *b64 = gvm_json_text(v, "workspace_base64", NULL);
    if (!b64)
        return gvm_str_copy(dst, 4096, gvm_str(gvm_json_text(v, "workspace", "")));
    size_t n = 0;
    int r = gvm_unb64(dst, 4095, gvm_str(b64), &n);
    if (r == 0)
        dst[n] = '\0';
    return r;
}

static int fill(struct gvm_run_record *r, const struct gvm_json *v)
{
    int bad = gvm_str_copy(r->run, sizeof(r->run), gvm_str(gvm_json_text(v, "run", "")));
    bad |= gvm_str_copy(r->agent, sizeof(r->agent), gvm_str(gvm_json_text(v, "agent", "")));
    bad |= gvm_str_copy(r->command, sizeof(r->command), gvm_str(gvm_json_text(v, "command", "")));
    bad |= get_workspace(v, r->workspace);
    bad |= gvm_str_copy(r->continues, sizeof(r->continues),
                        gvm_str(gvm_json_text(v, "continues", "")));
    r->layer_ns = gvm_json_int(v, "layer_ns", 0);
    r->started_ns = gvm_json_int(v, "started_ns", 0);
    r->ended_ns = gvm_json_int(v, "ended_ns", 0);
    r->exit_code = (int)gvm_json_int(v, "exit", 0);
    if (gvm_str_copy(r->why, sizeof(r->why), gvm_str(gvm_json_text(v, "why", ""))) < 0)
        r->why[0] = '\0';
    r->launcher = (pid_t)gvm_json_int(v, "launcher", 0);
    r->watch = gvm_json_bool(v, "watch", false);
    return bad || gvm_json_int(v, "v", 0) != 1 || r->workspace[0] != '/' || r->started_ns <= 0
               ? -EINVAL
               : 0;
}

int gvm_run_record_read(const char *run_dir, struct gvm_run_record *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/run.json", run_dir) >= (int)sizeof(path))
        return gvm_err_set(err, ENAMETOOLONG, "%s is too long a name", run_dir);
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, RECORD_MAX);
    int r = gvm_read_file(path, &text, err);
    if (r < 0)
        return r;
    GVM_CLEANUP(free_arena) struct gvm_arena *a = gvm_arena_new(4 * RECORD_MAX);
    struct gvm_json *v = NULL;
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r = gvm_json_parse(a, gvm_buf_str(&text), &v, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "%s", path);
    struct gvm_run_record rec = {0};
    r = fill(&rec, v);
    if (r < 0)
        return gvm_err_set(err, -r, "%s is not a run's record", path);
    *ret = rec;
    return 0;
}

/* When the process began, in nanoseconds since 1970; 0 when there is none or it is a corpse. */
static int64_t process_start(pid_t pid)
{
    char path[64], *text;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 4096);
    if (gvm_read_file(path, &out, NULL) < 0)
        return 0;
    /* Field 2 is the name in parentheses and may hold anything; 3 is the state, 22 the start in
     * ticks. */
    text = strrchr(gvm_buf_cstr(&out), ')');
    if (!text || text[1] != ' ' || text[2] == 'Z' || text[2] == 'X')
        return 0;
    struct gvm_str rest = gvm_str(text + 2), field = {0};
    for (int i = 3; i <= 22; i++)
        if (!gvm_str_cut(&rest, ' ', &field))
            return 0;
    uint64_t ticks = 0;
    struct timespec up;
    if (gvm_parse_u64(field, INT64_MAX / 1000000000, &ticks) < 0 ||
        clock_gettime(CLOCK_BOOTTIME, &up) < 0)
        return 0;
    int64_t boot = gvm_now_ns() - (up.tv_sec * INT64_C(1000000000) + up.tv_nsec);
    return boot + (int64_t)((double)ticks / (double)sysconf(_SC_CLK_TCK) * 1e9);
}

bool gvm_run_is_live(const struct gvm_run_record *r)
{
    if (r->ended_ns || r->launcher <= 0)
        return false;
    int64_t began = process_start(r->launcher);
    /* A process younger than the run got the launcher's number later. Two seconds for steps of the
     * clock. */
    return began > 0 && began <= r->started_ns + INT64_C(2000000000);
}
