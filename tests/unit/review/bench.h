/* A run in a temporary folder: workspace/, run/ with run.json and an upper layer made by hand. */
#ifndef REVIEW_BENCH_H
#define REVIEW_BENCH_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "review/review_int.h"

struct bench {
    char top[64], run[96], host[96], upper[112];
};

/* For what the test itself needs; says where it failed. */
#define must(ok) assert_true(ok)

static inline char *at(char dst[4096], const char *dir, const char *name)
{
    assert_true(snprintf(dst, 4096, "%s/%s", dir, name) < 4096);
    return dst;
}

static inline void make_dirs(const char *dir, const char *name)
{
    char path[4096];
    at(path, dir, name);
    mkdir(dir, 0755);
    for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
}

static inline void put(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[4096];
    make_dirs(dir, name);
    int fd = open(at(path, dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0);
    must(gvm_write_all(fd, text, strlen(text)) == 0);
    must(fchmod(fd, mode) == 0);
    close(fd);
}

static inline void put_dir(const char *dir, const char *name, mode_t mode)
{
    char path[4096];
    make_dirs(dir, name);
    must(mkdir(at(path, dir, name), 0755) == 0 || errno == EEXIST);
    must(chmod(path, mode) == 0);
}

static inline void put_link(const char *dir, const char *name, const char *target)
{
    char path[4096];
    make_dirs(dir, name);
    must(symlink(target, at(path, dir, name)) == 0);
}

/* A 0/0 device, as the kernel makes it; any user may since Linux 5.8. */
static inline void put_whiteout(const struct bench *b, const char *name)
{
    char path[4096];
    make_dirs(b->upper, name);
    must(mknod(at(path, b->upper, name), S_IFCHR, makedev(0, 0)) == 0);
}

static inline void put_opaque(const struct bench *b, const char *name, const char *value)
{
    char path[4096];
    put_dir(b->upper, name, 0755);
    must(setxattr(at(path, b->upper, name), "user.overlay.opaque", value, 1, 0) == 0);
}

static inline char *get(const char *dir, const char *name)
{
    static char text[65536];
    char path[4096];
    int fd = open(at(path, dir, name), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n < 0)
        return NULL; /* a folder */
    text[n] = '\0';
    return text;
}

static inline bool there(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    return lstat(at(path, dir, name), &st) == 0;
}

static inline mode_t mode_of(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    must(lstat(at(path, dir, name), &st) == 0);
    return st.st_mode;
}

/* Memory takes no time to sync, and a killed process leaves it as it leaves a disk. */
static inline void bench_use_memory(void)
{
    char path[] = "/dev/shm/gvm-review-XXXXXX";
    int fd = mkstemp(path);
    if (fd >= 0 && setxattr(path, "user.note", "x", 1, 0) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
}

/* Makes the folders; the host's files are put next, then start_run(). */
static inline void bench_init(struct bench *b)
{
    const char *where = getenv("TMPDIR");
    snprintf(b->top, sizeof(b->top), "%.40s/gvm-review-XXXXXX", where && *where ? where : "/tmp");
    must(mkdtemp(b->top) != NULL);
    snprintf(b->run, sizeof(b->run), "%s/run", b->top);
    snprintf(b->host, sizeof(b->host), "%s/workspace", b->top);
    snprintf(b->upper, sizeof(b->upper), "%s/upper", b->run);
    must(mkdir(b->run, 0700) == 0 && mkdir(b->host, 0755) == 0 && mkdir(b->upper, 0755) == 0);
}

/* The run begins: what the host gets from now on is a conflict. */
static inline void start_run(const struct bench *b)
{
    struct gvm_run_record rec = {
        .run = "20260101T000000-abcdef", .agent = "tester", .command = "agent"};
    usleep(20000); /* a file's ctime comes from a coarser clock */
    rec.started_ns = gvm_now_ns();
    rec.ended_ns = rec.started_ns + 1;
    snprintf(rec.workspace, sizeof(rec.workspace), "%s", b->host);
    struct gvm_err err = {0};
    if (gvm_run_record_write(b->run, &rec, &err) < 0)
        fail_msg("%s", err.text);
    usleep(20000);
}

static inline void bench_done(struct bench *b)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(gvm_remove_tree_at(fd, b->top + 1, NULL) == 0);
    close(fd);
}

static inline struct gvm_changes scan(const struct bench *b)
{
    struct gvm_changes c = {0};
    struct gvm_err err = {0};
    if (gvm_changes_scan(b->run, NULL, &c, &err) < 0)
        fail_msg("scan: %s", err.text);
    return c;
}

static inline const struct gvm_change *find(const struct gvm_changes *c, const char *path)
{
    for (size_t i = 0; i < c->n; i++)
        if (gvm_str_eqz(c->list[i].path, path))
            return &c->list[i];
    return NULL;
}

static inline const struct gvm_change *get_change(const struct gvm_changes *c, const char *path)
{
    const struct gvm_change *ch = find(c, path);
    if (!ch) {
        fail_msg("no change at %s", path);
        abort();
    }
    return ch;
}

static inline const struct gvm_change *want(const struct gvm_changes *c, const char *path, int kind,
                                            int class_)
{
    const struct gvm_change *ch = get_change(c, path);
    if ((int)ch->kind != kind || (int)ch->class_ != class_)
        fail_msg("%s is %s, %s (%s)", path, gvm_change_kind_name(ch->kind),
                 gvm_change_class_name(ch->class_), ch->why);
    return ch;
}

static inline bool pick_all(void *arg, const struct gvm_change *ch)
{
    (void)arg, (void)ch;
    return true;
}

static inline bool pick_path(void *arg, const struct gvm_change *ch)
{
    return gvm_str_eqz(ch->path, arg);
}

/* The commit itself, of what `path` names, or of everything. */
static inline int commit_list(const struct bench *b, const struct gvm_changes *c, const char *path,
                              bool force, size_t *ret_done, struct gvm_err *err)
{
    struct gvm_choice *choices = calloc(c->n + 1, sizeof(*choices));
    struct gvm_commit_how how = {.force = force};
    must(choices != NULL);
    for (size_t i = 0; i < c->n; i++)
        choices[i].land = !path || gvm_str_eqz(c->list[i].path, path);
    int r = gvm_changes_commit(b->run, c, choices, &how, ret_done, err);
    free(choices);
    return r;
}

static inline size_t commit(const struct bench *b, const char *path, bool force)
{
    struct gvm_changes c = scan(b);
    struct gvm_err err = {0};
    size_t done = 0;
    if (commit_list(b, &c, path, force, &done, &err) < 0)
        fail_msg("commit: %s", err.text);
    gvm_changes_done(&c);
    return done;
}

static inline size_t discard(const struct bench *b, const char *path)
{
    struct gvm_changes c = scan(b);
    struct gvm_err err = {0};
    size_t done = 0;
    char arg[4096];
    snprintf(arg, sizeof(arg), "%s", path ? path : "");
    if (gvm_changes_discard(b->run, &c, path ? pick_path : pick_all, arg, &done, &err) < 0)
        fail_msg("discard: %s", err.text);
    gvm_changes_done(&c);
    return done;
}

static inline size_t count(const struct bench *b)
{
    struct gvm_changes c = scan(b);
    size_t n = c.n;
    gvm_changes_done(&c);
    return n;
}

#endif
