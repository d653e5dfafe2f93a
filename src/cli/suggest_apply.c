/* Suggested rules into the configuration in force, or the configuration as it was. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli/suggest.h"

/* ---- where the new text goes ---- */

static size_t line_start(struct gvm_str text, uint32_t line)
{
    size_t at = 0;
    for (uint32_t n = 1; n < line && at < text.n; n++) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        if (!end)
            return text.n;
        at = (size_t)(end - text.p) + 1;
    }
    return at;
}

/* Comments that stand right above a rule belong to it. */
static size_t above_comments(struct gvm_str text, size_t at)
{
    while (at > 0) {
        size_t prev = at - 1;
        while (prev > 0 && text.p[prev - 1] != '\n')
            prev--;
        if (text.p[prev] != '#')
            break;
        at = prev;
    }
    return at;
}

/* Behind the rules that are there, before the first that takes whatever is left. */
static size_t insert_at(struct gvm_str text, const struct gvm_conf *c)
{
    for (uint32_t i = 0; i < c->nrules; i++)
        if (sug_is_catch_all(&c->rules[i]))
            return above_comments(text, line_start(text, c->rules[i].line));
    return text.n;
}

static int merge(const struct sug *s, struct gvm_str old, const struct gvm_conf *c,
                 struct gvm_buf *out)
{
    size_t at = insert_at(old, c);
    (void)gvm_buf_add(out, old.p ? old.p : "", at);
    if (at > 0 && old.p[at - 1] != '\n')
        (void)gvm_buf_addc(out, '\n');
    if (at > 1 && !(at >= 2 && old.p[at - 1] == '\n' && old.p[at - 2] == '\n'))
        (void)gvm_buf_addc(out, '\n');
    sug_write(s, old, out);
    if (at < old.n) {
        (void)gvm_buf_addc(out, '\n');
        (void)gvm_buf_add(out, old.p + at, old.n - at);
    }
    return out->failed ? -EFBIG : 0;
}

/* ---- replacing the file ---- */

struct target {
    char path[GVM_PATH_MAX], temp[GVM_PATH_MAX];
    bool exists;
    struct stat st;
};

static int open_target(const char *path, struct target *t, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    GVM_AUTOFREE char *full = realpath(path, NULL); /* a link stays one */
    if (gvm_str_copy(t->path, sizeof(t->path), gvm_str(full ? full : path)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path is too long");
    t->exists = full && stat(full, &t->st) == 0;
    memcpy(dir, t->path, sizeof(dir));
    char *slash = strrchr(dir, '/');
    if (!slash)
        return gvm_err_set(err, EINVAL, "the path of the configuration is not absolute");
    *slash = '\0';
    int r = t->exists || !*dir ? 0 : gvm_mkdirs(dir, 0700, err);
    if (r < 0)
        return r;
    if (snprintf(t->temp, sizeof(t->temp), "%s/.gvm.toml.XXXXXX", dir) >= (int)sizeof(t->temp))
        return gvm_err_set(err, ENAMETOOLONG, "the path is too long");
    return 0;
}

static int write_temp(struct target *t, struct gvm_str text, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = mkostemp(t->temp, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot write beside %s", t->path);
    int r = gvm_write_all(fd, text.p, text.n);
    /* As it was: owner first, because changing it takes mode bits away. */
    if (r == 0 && t->exists && (t->st.st_uid != geteuid() || t->st.st_gid != getegid()) &&
        fchown(fd, t->st.st_uid, t->st.st_gid) < 0)
        r = -errno;
    if (r == 0 && t->exists && fchmod(fd, t->st.st_mode & 07777) < 0)
        r = -errno;
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r == 0 ? 0 : gvm_err_sys(err, -r, "cannot write beside %s", t->path);
}

/* The result must load, compile, and have every old rule and every new one. */
static int check_temp(const struct target *t, uint32_t want, struct gvm_err *err)
{
    struct gvm_conf *c = NULL;
    struct gvm_ruleset *rs = NULL;
    int r = gvm_conf_load(t->temp, &c, err);
    if (r == 0)
        r = gvm_rules_compile(c, &rs, err);
    if (r == 0 && c->nrules != want)
        r = gvm_err_set(err, EINVAL, "%u rules instead of %u came of it", c->nrules, want);
    gvm_rules_free(rs);
    gvm_conf_free(c);
    return r < 0 ? gvm_err_wrap(err, r, "%s stays as it was, the new rules do not fit in", t->path)
                 : 0;
}

static int put_in_place(const struct target *t, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    if (rename(t->temp, t->path) < 0)
        return gvm_err_sys(err, errno, "cannot replace %s", t->path);
    memcpy(dir, t->path, sizeof(dir));
    *strrchr(dir, '/') = '\0';
    GVM_AUTOCLOSE int fd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd); /* the rename itself is done either way */
    return 0;
}

static int replace(struct target *t, struct gvm_str text, uint32_t want, struct gvm_err *err)
{
    int r = write_temp(t, text, err);
    if (r == 0)
        r = check_temp(t, want, err);
    if (r == 0)
        r = put_in_place(t, err);
    if (r < 0)
        (void)unlink(t->temp);
    return r;
}

static uint32_t count_active(const struct sug *s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->nrules; i++)
        n += s->rules[i].active;
    return n;
}

int sug_apply(const struct sug *s, const char *path, size_t *ret_n, struct gvm_err *err)
{
    struct target t = {0};
    struct gvm_buf old, text;
    struct gvm_conf *c = NULL;
    uint32_t active = count_active(s);
    int r = open_target(path, &t, err);
    if (r < 0)
        return r;
    gvm_buf_init(&old, GVM_MAX_CONFIG);
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    if (t.exists)
        r = gvm_read_file(t.path, &old, err);
    if (r == 0)
        r = t.exists ? gvm_conf_load(t.path, &c, err) : gvm_conf_default(&c, err);
    bool news = r == 0 && sug_count_new(s, gvm_buf_str(&old)) > 0;
    if (r == 0 && news && merge(s, gvm_buf_str(&old), c, &text) < 0)
        r = gvm_err_set(err, EFBIG, "%s would become too large", t.path);
    if (r == 0 && news)
        r = replace(&t, gvm_buf_str(&text), c->nrules + active, err);
    if (r == 0)
        *ret_n = active;
    gvm_conf_free(c);
    gvm_buf_wipe(&old);
    gvm_buf_wipe(&text);
    return r;
}
