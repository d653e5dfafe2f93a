/* Looking for secrets in a workspace without reading all of it every time.
 *
 * Directories are walked level by level. What each holds that matters (files whose names say
 * something, and its subdirectories) is kept with the directory's inode number and change time.
 * Adding, removing or renaming an entry changes that time, and nobody can set it, so a directory
 * found with the same one is not read again: a start costs one fstatat(2) a directory. Files are
 * judged by their content each time, their directory does not tell when it changes.
 *
 * A directory that changed less than two seconds before it was read may change again within the
 * same tick of the clock; it counts as unknown next time. On file systems whose times come from
 * another machine nothing is kept.
 *
 * The kept piece: u32 directories, u32 finds, then per directory in the order of the walk
 *   u64 inode, i64 change time (ns, 0 = unknown), u32 subdirectories, u32 finds, u16 length, path
 * and per find, directory by directory, u8 look, u16 length, name. Subdirectories of one directory
 * stand together, in the order of their parents.
 */
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MAX_DIRS    100000
#define MAX_ENTRIES 4000000
#define MAX_FINDS   50000
#define WORTH_IT    500 /* entries from which on keeping is cheaper than reading */
#define RACY_NS     INT64_C(2000000000)
#define UNKNOWN     UINT32_MAX

struct dir {
    const char *rel; /* "" is the top */
    uint64_t ino;
    int64_t changed;
    uint32_t first_sub, subs, first_find, finds;
    uint32_t old; /* the same directory in the kept walk, or UNKNOWN */
};

struct find {
    const char *name;
    enum sandbox_look look;
};

struct walk {
    struct dir *dirs;
    uint32_t ndirs, dirs_room;
    struct find *finds;
    uint32_t nfinds, finds_room;
};

struct scan {
    struct gvm_arena *a;
    int top;
    uid_t uid;
    gid_t gid;
    bool keep;        /* the file system's times can be trusted */
    bool news;        /* something was read that is not kept yet */
    bool cut;         /* a limit was met */
    const char *own;  /* GVM's state directory, when it lies beneath the top; NULL = it does not */
    uint32_t seen;    /* entries read */
    uint32_t foreign; /* directories of another user or group ... */
    const char *stranger; /* ... and the first of them */
    int64_t began;
    struct walk now, old;
};

static void walk_done(struct walk *w)
{
    free(w->dirs);
    free(w->finds);
}

/* One more element of an array that doubles; NULL at the limit or without memory. */
static void *one_more(void **array, uint32_t *n, uint32_t *room, size_t size, uint32_t max)
{
    if (*n == max)
        return NULL;
    if (*n == *room) {
        uint32_t more = *room ? *room * 2 : 64;
        void *p = reallocarray(*array, more, size);
        if (!p)
            return NULL;
        *array = p;
        *room = more;
    }
    return (char *)*array + (size_t)(*n)++ * size;
}

static struct dir *add_dir(struct walk *w)
{
    void *array = w->dirs;
    struct dir *d = one_more(&array, &w->ndirs, &w->dirs_room, sizeof(*d), MAX_DIRS);
    w->dirs = array;
    if (d)
        *d = (struct dir){.old = UNKNOWN};
    return d;
}

static struct find *add_find(struct walk *w)
{
    void *array = w->finds;
    struct find *f = one_more(&array, &w->nfinds, &w->finds_room, sizeof(*f), MAX_FINDS);
    w->finds = array;
    return f;
}

/* ---- reading a directory ---- */

/* The directory `rel` of the kept walk among the subdirectories of `parent`; they mostly come in
 * the same order, so the search goes on where it ended. */
static uint32_t find_old(const struct scan *s, uint32_t parent, const char *rel, uint32_t *hint)
{
    if (parent == UNKNOWN)
        return UNKNOWN;
    const struct dir *p = &s->old.dirs[parent];
    for (uint32_t i = 0; i < p->subs; i++) {
        uint32_t k = p->first_sub + (*hint + i) % p->subs;
        if (strcmp(s->old.dirs[k].rel, rel) == 0) {
            *hint = k - p->first_sub + 1;
            return k;
        }
    }
    return UNKNOWN;
}

static int note_entry(struct scan *s, uint32_t at, int fd, const struct dirent *e, uint32_t *hint)
{
    struct stat st;
    const char *name = e->d_name;
    unsigned char type = e->d_type;
    if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
        return 0;
    if (type == DT_UNKNOWN && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = IFTODT(st.st_mode);
    if (type == DT_DIR) {
        if (sandbox_scan_skips(name))
            return 0;
        const char *dir = s->now.dirs[at].rel;
        const char *rel = gvm_arena_printf(s->a, "%s%s%s", dir, *dir ? "/" : "", name);
        struct dir *d = rel ? add_dir(&s->now) : NULL;
        if (!d)
            return -E2BIG;
        d->rel = rel;
        d->old = find_old(s, s->now.dirs[at].old, rel, hint);
        s->now.dirs[at].subs++;
        return 0;
    }
    enum sandbox_look look = type == DT_SOCK ? SANDBOX_LOOK_HIDE : sandbox_look_at(name);
    if (look == SANDBOX_LOOK_NO)
        return 0;
    struct find *f = add_find(&s->now);
    if (!f)
        return -E2BIG;
    f->look = look;
    f->name = gvm_arena_dup(s->a, name, strlen(name));
    s->now.dirs[at].finds++;
    return f->name ? 0 : -E2BIG;
}

static void read_dir(struct scan *s, uint32_t at)
{
    const char *rel = s->now.dirs[at].rel;
    uint32_t hint = 0;
    int fd = openat(s->top, *rel ? rel : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        gvm_close(&fd);
        return;
    }
    s->news = true;
    for (const struct dirent *e; !s->cut && (e = readdir(d));)
        s->cut = ++s->seen > MAX_ENTRIES || note_entry(s, at, fd, e, &hint) < 0;
    closedir(d);
}

/* What the kept walk knows about it. */
static void take_old(struct scan *s, uint32_t at)
{
    const struct dir *o = &s->old.dirs[s->now.dirs[at].old];
    for (uint32_t i = 0; i < o->subs && !s->cut; i++) {
        struct dir *d = add_dir(&s->now);
        s->cut = !d;
        if (d) {
            d->rel = s->old.dirs[o->first_sub + i].rel;
            d->old = o->first_sub + i;
            s->now.dirs[at].subs++;
        }
    }
    for (uint32_t i = 0; i < o->finds && !s->cut; i++) {
        struct find *f = add_find(&s->now);
        s->cut = !f;
        if (f) {
            *f = s->old.finds[o->first_find + i];
            s->now.dirs[at].finds++;
        }
    }
}

static void visit(struct scan *s, uint32_t at)
{
    struct dir *d = &s->now.dirs[at];
    struct stat st;
    d->first_sub = s->now.ndirs;
    d->first_find = s->now.nfinds;
    /* Hidden as a whole; and this very sandbox's root, with all of the system in it, is mounted in
     * there. */
    if (s->own && strcmp(d->rel, s->own) == 0)
        return;
    if (fstatat(s->top, *d->rel ? d->rel : ".", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISDIR(st.st_mode)) {
        s->news = true;
        return;
    }
    if ((st.st_uid != s->uid || st.st_gid != s->gid) && s->foreign++ == 0)
        s->stranger = d->rel;
    int64_t changed = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    const struct dir *o = d->old == UNKNOWN ? NULL : &s->old.dirs[d->old];
    d->ino = st.st_ino;
    d->changed = changed < s->began - RACY_NS ? changed : 0;
    if (o && o->changed && o->changed == changed && o->ino == st.st_ino)
        take_old(s, at);
    else
        read_dir(s, at);
}

/* ---- the kept walk ---- */

struct reader {
    const uint8_t *p;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *p = r->p;
    if (r->bad || n > r->left) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t take32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    return p ? gvm_get32(p) : 0;
}

static uint64_t take64(struct reader *r)
{
    uint64_t high = take32(r);
    return high << 32 | take32(r);
}

static const char *take_text(struct reader *r, struct gvm_arena *a)
{
    const uint8_t *n = take(r, 2);
    const uint8_t *p = n ? take(r, gvm_get16(n)) : NULL;
    const char *copy = p ? gvm_arena_dup(a, p, gvm_get16(n)) : NULL;
    r->bad |= !copy;
    return copy;
}

/* Fills s->old; false when the piece is not what put_walk() writes. */
static bool read_walk(struct scan *s, struct gvm_str piece)
{
    struct reader r = {(const uint8_t *)piece.p, piece.n, false};
    uint32_t ndirs = take32(&r), nfinds = take32(&r), subs = 1, finds = 0;
    for (uint32_t i = 0; i < ndirs && !r.bad; i++) {
        struct dir *d = add_dir(&s->old);
        if (!d)
            return false;
        d->ino = take64(&r);
        d->changed = (int64_t)take64(&r);
        d->subs = take32(&r);
        d->finds = take32(&r);
        d->rel = take_text(&r, s->a);
        d->first_sub = subs;
        d->first_find = finds;
        if (d->subs > ndirs - subs || d->finds > nfinds - finds)
            return false;
        subs += d->subs;
        finds += d->finds;
    }
    for (uint32_t i = 0; i < nfinds && !r.bad; i++) {
        struct find *f = add_find(&s->old);
        const uint8_t *look = take(&r, 1);
        if (!f || !look || *look == SANDBOX_LOOK_NO || *look >= SANDBOX_LOOKS)
            return false;
        f->look = (enum sandbox_look) * look;
        f->name = take_text(&r, s->a);
    }
    return !r.bad && r.left == 0 && ndirs > 0 && subs == ndirs && finds == nfinds;
}

static void put32(struct gvm_buf *b, uint32_t v)
{
    uint8_t p[4];
    gvm_put32(p, v);
    gvm_buf_add(b, p, sizeof(p));
}

static void put64(struct gvm_buf *b, uint64_t v)
{
    put32(b, (uint32_t)(v >> 32));
    put32(b, (uint32_t)v);
}

static void put_text(struct gvm_buf *b, const char *z)
{
    uint8_t p[2];
    gvm_put16(p, (uint16_t)strlen(z));
    gvm_buf_add(b, p, sizeof(p));
    gvm_buf_addz(b, z);
}

static void put_walk(const struct walk *w, struct gvm_buf *out)
{
    put32(out, w->ndirs);
    put32(out, w->nfinds);
    for (uint32_t i = 0; i < w->ndirs; i++) {
        const struct dir *d = &w->dirs[i];
        put64(out, d->ino);
        put64(out, (uint64_t)d->changed);
        put32(out, d->subs);
        put32(out, d->finds);
        put_text(out, d->rel);
    }
    for (uint32_t i = 0; i < w->nfinds; i++) {
        gvm_buf_addc(out, (char)w->finds[i].look);
        put_text(out, w->finds[i].name);
    }
}

/* File systems whose change times this kernel makes itself. */
static bool times_are_ours(int fd)
{
    static const long known[] = {0xEF53 /* ext */,
                                 0x58465342 /* xfs */,
                                 0x9123683E /* btrfs */,
                                 0x01021994 /* tmpfs */,
                                 0xF2F52010 /* f2fs */,
                                 0xCA451A4E /* bcachefs */,
                                 0x2FC12FC1 /* zfs */};
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if ((long)fs.f_type == known[i])
            return true;
    return false;
}

/* A piece for every workspace: its name is a number made of the path, the path itself the key. */
static void name_piece(const char *top, char dst[32])
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = top; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    snprintf(dst, 32, "scan-%016llx", (unsigned long long)h);
}

static void load(struct scan *s, struct sandbox_init *in, const char *top)
{
    char name[32];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf piece;
    gvm_buf_init(&piece, 32u << 20);
    name_piece(top, name);
    if (!s->keep || !sandbox_cache_get(in, name, gvm_str(top), &piece))
        return;
    if (read_walk(s, gvm_buf_str(&piece))) {
        s->now.dirs[0].old = 0;
    } else {
        walk_done(&s->old);
        s->old = (struct walk){0};
    }
}

static void keep(const struct scan *s, struct sandbox_init *in, const char *top)
{
    char name[32];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf piece;
    if (!s->keep || !s->news || s->cut || (s->seen < WORTH_IT && !s->old.ndirs))
        return;
    gvm_buf_init(&piece, 32u << 20);
    name_piece(top, name);
    put_walk(&s->now, &piece);
    if (!piece.failed)
        sandbox_cache_put(in, name, gvm_str(top), gvm_buf_str(&piece));
}

static int report(struct scan *s, sandbox_found_fn *found, void *arg, struct gvm_err *err)
{
    char rel[GVM_PATH_MAX];
    int r = 0;
    for (uint32_t i = 0; i < s->now.ndirs && r == 0; i++) {
        const struct dir *d = &s->now.dirs[i];
        for (uint32_t k = 0; k < d->finds && r == 0; k++) {
            const struct find *f = &s->now.finds[d->first_find + k];
            if (snprintf(rel, sizeof(rel), "%s%s%s", d->rel, *d->rel ? "/" : "", f->name) >=
                (int)sizeof(rel))
                continue; /* no program could name it either */
            r = found(arg, rel, f->look, err);
        }
    }
    return r;
}

/* What is kept of the walk is kept in there, so the next run leaves out the same. */
static const char *own_place(struct sandbox_init *in, struct gvm_arena *a, const char *top)
{
    const char *cache = in->plan->cache, *slash = cache ? strrchr(cache, '/') : NULL;
    char *state = slash ? gvm_arena_dup(a, cache, (size_t)(slash - cache)) : NULL;
    size_t n = strlen(top);
    return state && sandbox_beneath(state, top) && state[n] == '/' ? state + n + 1 : NULL;
}

int sandbox_scan(struct sandbox_init *in, const char *top, sandbox_found_fn *found, void *arg,
                 struct gvm_err *err)
{
    struct scan s = {
        .a = gvm_arena_new(64u << 20), .began = gvm_now_ns(), .uid = in->uid, .gid = in->gid};
    s.top = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dir *first = s.a ? add_dir(&s.now) : NULL;
    int r = 0;
    if (s.top < 0)
        r = gvm_err_sys(err, errno, "cannot read %s", top);
    else if (!first)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0 && first) {
        first->rel = "";
        s.own = own_place(in, s.a, top);
        s.keep = times_are_ours(s.top);
        load(&s, in, top);
        for (uint32_t i = 0; i < s.now.ndirs && !s.cut; i++)
            visit(&s, i);
        keep(&s, in, top);
        r = report(&s, found, arg, err);
    }
    if (r == 0 && s.cut)
        sandbox_remark(in, "%s is too large: secrets were looked for in its first %u directories",
                       top, s.now.ndirs);
    /* The overlay would have to give its copy an owner that this user namespace has no number for.
     */
    if (r == 0 && s.foreign)
        sandbox_remark(
            in,
            "%u director%s of %s, such as %s, belong%s to another user or group: what is "
            "in there can be read, and not changed, inside (EOVERFLOW)",
            s.foreign, s.foreign == 1 ? "y" : "ies", top, *s.stranger ? s.stranger : ".",
            s.foreign == 1 ? "s" : "");
    walk_done(&s.now);
    walk_done(&s.old);
    gvm_close(&s.top);
    gvm_arena_free(s.a);
    return r;
}
