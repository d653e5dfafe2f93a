/* From the upper layer to the list of changes.
 *
 * Only folders that are in the layer are walked, so the cost follows what the agent touched. Each
 * entry is compared with the owner's file as it is now: what is equal in content, mode and kind is
 * no change. A deletion of a whole folder is listed name by name. There is no recursion: folders
 * wait on a list, and each is opened anew from the root, so that depth costs neither stack nor
 * descriptors.
 *
 * Conflict: the owner's file has a ctime after the run's start, so what the agent saw may not be
 * what is there. A ctime cannot be set back by a program.
 */
#include "review/review_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_SETTINGS (1u << 20) /* bytes of a file looked through for placeholders */

struct todo { /* a folder still to be walked */
    struct todo *next;
    struct gvm_str path;
    bool gone;    /* of the host: everything in it is deleted by the layer */
    bool on_host; /* the host has this folder too */
    bool created; /* a change of its own if it turns out to be empty */
};
struct item {
    struct item *next;
    struct gvm_change ch;
};
struct scan {
    const struct review_run *run;
    const struct gvm_review_patterns *patterns;
    struct gvm_arena *arena;
    struct todo *todo;
    struct item *items;
    size_t n;
};
/* One name, as both sides have it. */
struct pair {
    struct gvm_str path;
    const char *name;
    int up_dir, host_dir; /* O_PATH or readable; host_dir -1: the host has no such folder */
    struct stat up, host;
    bool on_host;
};

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static struct gvm_str join(struct gvm_arena *a, struct gvm_str dir, const char *name)
{
    size_t n = strlen(name), skip = dir.n ? dir.n + 1 : 0;
    char *p = gvm_arena_alloc(a, skip + n + 1);
    if (!p)
        return (struct gvm_str){NULL, 0};
    if (dir.n) {
        memcpy(p, dir.p, dir.n);
        p[dir.n] = '/';
    }
    memcpy(p + skip, name, n + 1);
    return (struct gvm_str){p, skip + n};
}

static int push(struct scan *s, struct todo t)
{
    struct todo *mem = gvm_arena_alloc(s->arena, sizeof(*mem));
    if (!mem)
        return -E2BIG;
    *mem = t;
    mem->next = s->todo;
    s->todo = mem;
    return 0;
}

static int add(struct scan *s, struct gvm_change ch, const struct review_facts *f)
{
    struct item *it = s->n < REVIEW_MAX_CHANGES ? gvm_arena_alloc(s->arena, sizeof(*it)) : NULL;
    if (!it)
        return -E2BIG;
    if (f->now) {
        ch.mode = f->now->st_mode;
        ch.size = S_ISREG(ch.mode) ? (uint64_t)f->now->st_size : 0;
        ch.copied = f->origin;
        ch.links = S_ISREG(ch.mode) ? f->now->st_nlink : 1;
    }
    if (f->host) {
        ch.host_mode = f->host->st_mode;
        /* A folder's ctime moves with every name in it; what is new inside keeps it from being
         * removed. */
        const struct review_state host = {
            .mode = f->host->st_mode,
            .ctime_ns = f->host->st_ctim.tv_sec * INT64_C(1000000000) + f->host->st_ctim.tv_nsec};
        ch.conflict = review_is_conflict(s->run, ch.path, &host);
    }
    review_classify(&ch, f, s->patterns);
    it->ch = ch;
    it->next = s->items;
    s->items = it;
    s->n++;
    return 0;
}

/* ---- what the layer deletes ---- */

static int add_gone(struct scan *s, struct gvm_str path, const struct stat *host)
{
    struct review_facts f = {.host = host};
    int r = add(s, (struct gvm_change){.path = path, .kind = GVM_CHANGE_DELETED}, &f);
    if (r == 0 && S_ISDIR(host->st_mode))
        r = push(s, (struct todo){.path = path, .gone = true});
    return r;
}

/* Every name of the host's folder that the layer (`up_dir`, -1: nothing) has not. */
static int walk_gone(struct scan *s, struct gvm_str path, int host_dir, int up_dir)
{
    GVM_AUTOCLOSE int fd = openat(host_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    GVM_CLEANUP(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return -errno;
    gvm_steal_fd(&fd);
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat host, up;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (up_dir >= 0 && fstatat(up_dir, e->d_name, &up, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (fstatat(host_dir, e->d_name, &host, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        struct gvm_str at = join(s->arena, path, e->d_name);
        int r = at.p ? add_gone(s, at, &host) : -E2BIG;
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- what the layer holds ---- */

static ssize_t read_block(int fd, char *p, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t k = read(fd, p + have, n - have);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        have += (size_t)k;
    }
    return (ssize_t)have;
}

/* user.* of both sides. What cannot be compared is not the same. */
static bool same_attributes(struct scan *s, const struct pair *p)
{
    struct gvm_str up, host;
    if (S_ISLNK(p->up.st_mode))
        return true;
    return review_xattrs_read(p->up_dir, p->name, REVIEW_XATTRS_USER, s->arena, &up) == 0 &&
           review_xattrs_read(p->host_dir, p->name, REVIEW_XATTRS_USER, s->arena, &host) == 0 &&
           gvm_str_eq(up, host);
}

static int same_file(const struct pair *p)
{
    if (p->up.st_size != p->host.st_size)
        return 0;
    GVM_AUTOCLOSE int a = -1;
    GVM_AUTOCLOSE int b = -1;
    struct stat st;
    if (review_open_file(p->up_dir, p->name, &a, &st) < 0 ||
        review_open_file(p->host_dir, p->name, &b, &st) < 0)
        return 0;
    return review_same_bytes(a, b);
}

static ssize_t read_link(int dir, const char *name, char dst[GVM_PATH_MAX])
{
    ssize_t n = readlinkat(dir, name, dst, GVM_PATH_MAX - 1);
    if (n >= 0)
        dst[n] = '\0';
    return n;
}

static int same_link(const struct pair *p, const char *target)
{
    char theirs[GVM_PATH_MAX];
    return read_link(p->host_dir, p->name, theirs) >= 0 && strcmp(theirs, target) == 0;
}

static struct gvm_str read_head(const struct pair *p, char mem[REVIEW_HEAD])
{
    GVM_AUTOCLOSE int fd = -1;
    struct stat st;
    if (p->up.st_size == 0 || review_open_file(p->up_dir, p->name, &fd, &st) < 0)
        return (struct gvm_str){mem, 0};
    ssize_t n = read_block(fd, mem, REVIEW_HEAD);
    return (struct gvm_str){mem, n > 0 ? (size_t)n : 0};
}

/* The agent saw its owner's settings (.env) with placeholders for values (sandbox/settings.c), and
 * so holds what it wrote over them: landing that would destroy the values. */
static bool holds_placeholders(const struct pair *p)
{
    struct gvm_str name = gvm_str(p->name);
    if (!gvm_glob(GVM_STR(".env*"), name) && !gvm_glob(GVM_STR("*.env"), name))
        return false;
    GVM_AUTOCLOSE int fd = -1;
    struct stat st;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, MAX_SETTINGS);
    if (review_open_file(p->up_dir, p->name, &fd, &st) < 0 || gvm_read_fd(fd, &text) < 0)
        return true; /* cannot be told */
    return text.len && memmem(gvm_buf_data(&text), text.len, "gvm-ph-", 7);
}

/* Everything but a folder. */
static int visit_leaf(struct scan *s, const struct pair *p)
{
    char target[GVM_PATH_MAX], head[REVIEW_HEAD];
    struct review_facts f = {.now = &p->up,
                             .host = p->on_host ? &p->host : NULL,
                             .origin = review_has_origin(p->up_dir, p->name)};
    target[0] = '\0';
    if (S_ISLNK(p->up.st_mode) && read_link(p->up_dir, p->name, target) < 0)
        return -errno;
    f.target = gvm_str(target);
    struct gvm_change ch = {.path = p->path, .kind = GVM_CHANGE_CREATED};
    if (p->on_host && (p->host.st_mode & S_IFMT) != (p->up.st_mode & S_IFMT)) {
        ch.kind = GVM_CHANGE_TYPE;
    } else if (p->on_host) {
        int same = S_ISREG(p->up.st_mode)   ? same_file(p)
                   : S_ISLNK(p->up.st_mode) ? same_link(p, target)
                                            : p->up.st_rdev == p->host.st_rdev;
        if (same < 0)
            return same;
        bool mode = S_ISLNK(p->up.st_mode) || (p->up.st_mode & 07777) == (p->host.st_mode & 07777);
        bool attributes = !same || same_attributes(s, p);
        if (same && mode && attributes)
            return 0;
        ch.kind = !same ? GVM_CHANGE_MODIFIED : mode ? GVM_CHANGE_ATTRIBUTES : GVM_CHANGE_MODE;
    }
    if (S_ISREG(p->up.st_mode))
        f.head = read_head(p, head);
    f.placeholders =
        S_ISREG(p->up.st_mode) && ch.kind == GVM_CHANGE_MODIFIED && holds_placeholders(p);
    int r = add(s, ch, &f);
    if (r == 0 && ch.kind == GVM_CHANGE_TYPE && S_ISDIR(p->host.st_mode))
        r = push(s, (struct todo){.path = p->path, .gone = true});
    return r;
}

/* A folder nobody can list: one change that can only be thrown away. */
static int add_closed(struct scan *s, const struct pair *p, const char *refusal)
{
    struct review_facts f = {.now = &p->up, .host = p->on_host ? &p->host : NULL};
    struct gvm_change ch = {.path = p->path,
                            .kind = p->on_host ? GVM_CHANGE_MODE : GVM_CHANGE_CREATED};
    int r = add(s, ch, &f);
    if (r == 0) {
        s->items->ch.refusal = refusal;
        s->items->ch.class_ = GVM_CLASS_MANUAL;
        s->items->ch.why = refusal;
    }
    return r;
}

static int visit_dir(struct scan *s, const struct pair *p)
{
    if (p->path.n > REVIEW_MAX_PATH)
        return add_closed(s, p, "nested too deeply to be shown");
    if (faccessat(p->up_dir, p->name, R_OK | X_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0)
        return add_closed(s, p, "a folder whose mode lets nobody look inside");
    struct todo t = {.path = p->path};
    struct review_facts f = {.now = &p->up, .host = p->on_host ? &p->host : NULL};
    int r = 0;
    if (!p->on_host) {
        t.created = true;
    } else if (!S_ISDIR(p->host.st_mode)) {
        r = add(s, (struct gvm_change){.path = p->path, .kind = GVM_CHANGE_TYPE}, &f);
    } else {
        t.on_host = true;
        bool mode = (p->up.st_mode & 07777) == (p->host.st_mode & 07777);
        enum gvm_change_kind kind = mode ? GVM_CHANGE_ATTRIBUTES : GVM_CHANGE_MODE;
        if (!mode || !same_attributes(s, p))
            r = add(s, (struct gvm_change){.path = p->path, .kind = kind}, &f);
    }
    return r < 0 ? r : push(s, t);
}

static int visit(struct scan *s, struct pair *p, char opaque)
{
    if (fstatat(p->up_dir, p->name, &p->up, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    p->on_host =
        p->host_dir >= 0 && fstatat(p->host_dir, p->name, &p->host, AT_SYMLINK_NOFOLLOW) == 0;
    if (review_is_whiteout(p->up_dir, p->name, &p->up, opaque))
        return p->on_host ? add_gone(s, p->path, &p->host) : 0;
    return S_ISDIR(p->up.st_mode) ? visit_dir(s, p) : visit_leaf(s, p);
}

static int add_empty(struct scan *s, const struct todo *t, int dir)
{
    struct stat st;
    if (fstat(dir, &st) < 0)
        return -errno;
    struct review_facts f = {.now = &st};
    return add(s, (struct gvm_change){.path = t->path, .kind = GVM_CHANGE_CREATED}, &f);
}

static int walk_layer(struct scan *s, const struct todo *t)
{
    GVM_AUTOCLOSE int fd = review_open_dir(s->run->upper, t->path, true);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    GVM_AUTOCLOSE int host = t->on_host ? review_open_dir(s->run->host, t->path, false) : -1;
    int up = fd;
    GVM_CLEANUP(close_dir) DIR *d = fdopendir(fd);
    if (!d)
        return -errno;
    gvm_steal_fd(&fd);
    char opaque = review_opaque(up);
    bool empty = true;
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        empty = false;
        struct pair p = {.path = join(s->arena, t->path, e->d_name),
                         .name = e->d_name,
                         .up_dir = up,
                         .host_dir = host};
        int r = p.path.p ? visit(s, &p, opaque) : -E2BIG;
        if (r < 0)
            return r;
    }
    if (t->created && empty)
        return add_empty(s, t, up);
    return opaque == 'y' && host >= 0 ? walk_gone(s, t->path, host, up) : 0;
}

static int walk(struct scan *s, const struct todo *t)
{
    if (!t->gone)
        return walk_layer(s, t);
    GVM_AUTOCLOSE int host = review_open_dir(s->run->host, t->path, false);
    if (host < 0)
        return host == -ENOENT || host == -ENOTDIR || host == -ELOOP ? 0 : host;
    return walk_gone(s, t->path, host, -1);
}

/* ---- the list ---- */

static int by_path(const void *a, const void *b)
{
    struct gvm_str x = ((const struct gvm_change *)a)->path,
                   y = ((const struct gvm_change *)b)->path;
    int r = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return r ? r : (x.n > y.n) - (x.n < y.n);
}

static int finish(struct scan *s, struct gvm_changes *ret)
{
    struct gvm_change *list = gvm_arena_alloc(s->arena, (s->n ? s->n : 1) * sizeof(*list));
    if (!list)
        return -E2BIG;
    size_t n = 0;
    for (const struct item *it = s->items; it; it = it->next)
        list[n++] = it->ch;
    qsort(list, n, sizeof(*list), by_path);
    *ret = (struct gvm_changes){.list = list, .n = n, .arena = s->arena};
    return 0;
}

static int scan_run(const struct review_run *run, const struct gvm_review_patterns *patterns,
                    struct gvm_changes *ret, struct gvm_err *err)
{
    struct scan s = {.run = run, .patterns = patterns, .arena = gvm_arena_new(REVIEW_MAX_MEMORY)};
    if (!s.arena)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = run->upper < 0 ? 0 : push(&s, (struct todo){.path = GVM_STR(""), .on_host = true});
    struct gvm_str at = GVM_STR("");
    while (r == 0 && s.todo) {
        const struct todo *t = s.todo;
        s.todo = t->next;
        at = t->path;
        r = walk(&s, t);
    }
    if (r == 0)
        r = finish(&s, ret);
    if (r == 0)
        r = review_find_renames(run, ret);
    if (r == 0)
        return 0;
    gvm_arena_free(s.arena);
    if (r == -E2BIG)
        return gvm_err_set(err, E2BIG, "run %s has more changes than can be listed", run->rec.run);
    return gvm_err_sys(err, -r, "cannot list the changes of run %s below '%.*s'", run->rec.run,
                       at.n < 200 ? (int)at.n : 200, at.p);
}

int gvm_changes_scan(const char *run_dir, const struct gvm_review_patterns *patterns,
                     struct gvm_changes *ret, struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int lock = -1;
    if (review_needs_recovery(&run)) {
        /* A lock that is held: that commit is not dead but at work, and its journal is its own. */
        if (review_lock(&run, false, &lock, NULL) == 0)
            r = review_recover(&run, err);
    }
    if (r == 0)
        r = scan_run(&run, patterns, ret, err);
    review_close(&run);
    return r;
}

void gvm_changes_done(struct gvm_changes *c)
{
    gvm_arena_free(c->arena);
    *c = (struct gvm_changes){0};
}
