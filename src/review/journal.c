/* The record of a commit: what it is about to do, later what it did.
 *
 * run_dir/commit/ while it is at work, run_dir/undo-<number>/ afterwards:
 *
 *   record     line 1   {"v":1,"token":"<16 hex>","when":<ns>,"undoes":<number>,"n":<operations>}
 *              line 2- {"path":"<base64>","op":"put"|"delete"|"dress","before":STATE,"after":STATE,
 *                        "tree":<index>,"keep":true,"source":<number>,"layer":true}
 *              STATE is null, or {"mode","uid","gid","rdev","size","ino","atime","mtime","ctime",
 *              "hash","target","xattrs"}; target and xattrs (state.c) in base64
 *   kept-<i>   what the owner's file of operation i held before
 *   skipped    one index a line: operations that did not happen
 *   go         exists once it was decided that the commit happens
 *   back       exists once it was decided that a commit that could not be finished is taken back
 *
 * The record is synced before the first temporary file comes to be, "go" before the first file of
 * the owner is replaced.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define RECORD_MAX (1u << 30)
#define FLUSH_AT   (128u << 10)

static const char *const op_names[] = {"put", "delete", "dress"};

static void free_arena(struct gvm_arena **a)
{
    gvm_arena_free(*a);
}

void review_temp_name(const struct review_txn *t, size_t number, char dst[REVIEW_TEMP_NAME])
{
    snprintf(dst, REVIEW_TEMP_NAME, ".gvm-%s-%zu", t->token, number);
}

/* ---- writing ---- */

static int put_base64(struct gvm_jw *w, const char *key, struct gvm_str bytes)
{
    gvm_jw_key(w, key);
    gvm_buf_addc(w->out, '"');
    uint8_t *p = gvm_buf_space(w->out, GVM_B64_LEN(bytes.n) + 1);
    if (!p)
        return -ENOBUFS;
    gvm_b64((char *)p, bytes.p, bytes.n);
    gvm_buf_grew(w->out, GVM_B64_LEN(bytes.n));
    w->comma = true;
    return gvm_buf_addc(w->out, '"');
}

static int put_state(struct gvm_jw *w, const char *key, const struct review_state *s)
{
    gvm_jw_key(w, key);
    if (!s->mode) {
        gvm_jw_null(w);
        return 0;
    }
    gvm_jw_object(w);
    gvm_jw_kint(w, "mode", s->mode);
    gvm_jw_kint(w, "uid", s->uid);
    gvm_jw_kint(w, "gid", s->gid);
    gvm_jw_kint(w, "rdev", (int64_t)s->rdev);
    gvm_jw_kint(w, "size", (int64_t)s->size);
    gvm_jw_kint(w, "ino", (int64_t)s->ino);
    gvm_jw_kint(w, "atime", s->atime_ns);
    gvm_jw_kint(w, "mtime", s->mtime_ns);
    gvm_jw_kint(w, "ctime", s->ctime_ns);
    gvm_jw_kstrz(w, "hash", s->hash);
    int r = s->target.n ? put_base64(w, "target", s->target) : 0;
    if (r == 0 && s->xattrs.n)
        r = put_base64(w, "xattrs", s->xattrs);
    gvm_jw_object_end(w);
    return r;
}

static int put_op(struct gvm_buf *out, const struct review_op *op, bool layer)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    int r = put_base64(&w, "path", op->path);
    gvm_jw_kstrz(&w, "op", op_names[op->kind]);
    if (r == 0)
        r = put_state(&w, "before", &op->before);
    if (r == 0)
        r = put_state(&w, "after", &op->after);
    if (op->tree != REVIEW_ALONE)
        gvm_jw_kint(&w, "tree", (int64_t)op->tree);
    if (op->keep)
        gvm_jw_kbool(&w, "keep", true);
    if (layer)
        gvm_jw_kbool(&w, "layer", true);
    gvm_jw_kint(&w, "source", (int64_t)op->source);
    gvm_jw_object_end(&w);
    return r == 0 ? gvm_buf_addc(out, '\n') : r;
}

static int flush(int fd, struct gvm_buf *out, size_t at)
{
    if (out->failed)
        return -ENOBUFS;
    if (out->len < at)
        return 0;
    int r = gvm_write_all(fd, gvm_buf_data(out), out->len);
    gvm_buf_reset(out);
    return r;
}

static int write_lines(const struct review_txn *t, int fd)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, FLUSH_AT + (2u << 20));
    gvm_buf_addf(&out, "{\"v\":1,\"token\":\"%s\",\"when\":%lld,\"undoes\":%lld,\"n\":%zu}\n",
                 t->token, (long long)t->when_ns, (long long)t->undoes, t->n);
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        const struct review_op *op = &t->ops[i];
        r = put_op(&out, op, t->source < 0 && op->change != SIZE_MAX);
        if (r == 0)
            r = flush(fd, &out, FLUSH_AT);
    }
    return r == 0 ? flush(fd, &out, 1) : r;
}

static int write_whole(const struct review_txn *t, const char *name,
                       int (*lines)(const struct review_txn *, int))
{
    char temp[32];
    snprintf(temp, sizeof(temp), "%s.tmp", name);
    GVM_AUTOCLOSE int fd =
        openat(t->dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : lines(t, fd);
    if (r == 0 && (fsync(fd) < 0 || renameat(t->dir, temp, t->dir, name) < 0))
        r = -errno;
    return r == 0 ? review_sync_dir(t->dir) : r;
}

int review_record_write(const struct review_txn *t)
{
    int r = review_step("record");
    return r < 0 ? r : write_whole(t, "record", write_lines);
}

static int skipped_lines(const struct review_txn *t, int fd)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        char line[32];
        int n = snprintf(line, sizeof(line), "%zu\n", i);
        if (t->ops[i].skipped)
            r = gvm_write_all(fd, line, (size_t)n);
    }
    return r;
}

int review_skipped_write(const struct review_txn *t)
{
    int r = review_step("skipped");
    return r < 0 ? r : write_whole(t, "skipped", skipped_lines);
}

/* ---- reading ---- */

static int get_base64(struct gvm_arena *a, const struct gvm_json *v, const char *key,
                      struct gvm_str *ret)
{
    struct gvm_str text = gvm_str(gvm_json_text(v, key, ""));
    char *p = gvm_arena_alloc(a, text.n + 1);
    size_t n = 0;
    if (!p)
        return -ENOMEM;
    if (text.n && gvm_unb64(p, text.n, text, &n) < 0)
        return -ENODATA;
    *ret = (struct gvm_str){p, n};
    return 0;
}

static int get_state(struct gvm_arena *a, const struct gvm_json *v, struct review_state *s)
{
    *s = (struct review_state){.target = {"", 0}, .xattrs = {"", 0}};
    if (!v || v->type != GVM_JSON_OBJECT)
        return 0;
    s->mode = (mode_t)gvm_json_int(v, "mode", 0);
    s->uid = (uid_t)gvm_json_int(v, "uid", 0);
    s->gid = (gid_t)gvm_json_int(v, "gid", 0);
    s->rdev = (dev_t)gvm_json_int(v, "rdev", 0);
    s->size = (uint64_t)gvm_json_int(v, "size", 0);
    s->ino = (uint64_t)gvm_json_int(v, "ino", 0);
    s->atime_ns = gvm_json_int(v, "atime", 0);
    s->mtime_ns = gvm_json_int(v, "mtime", 0);
    s->ctime_ns = gvm_json_int(v, "ctime", 0);
    if (gvm_str_copy(s->hash, sizeof(s->hash), gvm_str(gvm_json_text(v, "hash", ""))) < 0)
        return -ENODATA;
    int r = get_base64(a, v, "target", &s->target);
    return r < 0 ? r : get_base64(a, v, "xattrs", &s->xattrs);
}

static int read_op(struct review_txn *t, struct gvm_str line, struct review_op *op)
{
    GVM_CLEANUP(free_arena) struct gvm_arena *a = gvm_arena_new(4u << 20);
    struct gvm_json *v = NULL;
    if (!a)
        return -ENOMEM;
    if (gvm_json_parse(a, line, &v, NULL) < 0)
        return -ENODATA;
    struct gvm_str kind = gvm_str(gvm_json_text(v, "op", ""));
    size_t k = 0;
    while (k < 3 && !gvm_str_eqz(kind, op_names[k]))
        k++;
    int64_t tree = gvm_json_int(v, "tree", -1);
    if (k == 3 || tree >= (int64_t)t->n)
        return -ENODATA;
    *op = (struct review_op){.kind = (enum review_op_kind)k,
                             .tree = tree < 0 ? REVIEW_ALONE : (size_t)tree,
                             .keep = gvm_json_bool(v, "keep", false),
                             .source = (size_t)gvm_json_int(v, "source", 0),
                             .change = gvm_json_bool(v, "layer", false) ? 0 : SIZE_MAX};
    int r = get_base64(t->arena, v, "path", &op->path);
    if (r == 0)
        r = get_state(t->arena, gvm_json_get(v, "before"), &op->before);
    if (r == 0)
        r = get_state(t->arena, gvm_json_get(v, "after"), &op->after);
    return r == 0 && op->path.n == 0 ? -ENODATA : r;
}

static int read_head(struct review_txn *t, struct gvm_str line)
{
    GVM_CLEANUP(free_arena) struct gvm_arena *a = gvm_arena_new(64u << 10);
    struct gvm_json *v = NULL;
    uint8_t bytes[8];
    if (!a)
        return -ENOMEM;
    if (gvm_json_parse(a, line, &v, NULL) < 0)
        return -ENODATA;
    struct gvm_str token = gvm_str(gvm_json_text(v, "token", ""));
    int64_t n = gvm_json_int(v, "n", -1);
    if (gvm_unhex(bytes, sizeof(bytes), token) < 0 || n < 0 ||
        n > 2 * (int64_t)REVIEW_MAX_CHANGES || gvm_str_copy(t->token, sizeof(t->token), token) < 0)
        return -ENODATA;
    t->when_ns = gvm_json_int(v, "when", 0);
    t->undoes = gvm_json_int(v, "undoes", 0);
    t->n = (size_t)n;
    return 0;
}

int review_record_head(struct review_txn *t)
{
    char line[256];
    GVM_AUTOCLOSE int fd = openat(t->dir, "record", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line));
    if (n < 0)
        return errno == ENOENT ? -ENODATA : -errno;
    struct gvm_str rest = {line, (size_t)n}, head;
    return gvm_str_cut(&rest, '\n', &head) ? read_head(t, head) : -ENODATA;
}

int review_record_read(struct review_txn *t)
{
    GVM_AUTOCLOSE int fd = openat(t->dir, "record", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENODATA : -errno;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, RECORD_MAX);
    int r = gvm_read_fd(fd, &text);
    struct gvm_str rest = gvm_buf_str(&text), line;
    if (r < 0)
        return r;
    gvm_str_cut(&rest, '\n', &line);
    r = read_head(t, line);
    t->ops = r == 0 ? gvm_arena_alloc(t->arena, (t->n + 1) * sizeof(*t->ops)) : NULL;
    if (r == 0 && !t->ops)
        r = -ENOMEM;
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        gvm_str_cut(&rest, '\n', &line);
        r = read_op(t, line, &t->ops[i]);
    }
    return r;
}

int review_skipped_read(struct review_txn *t)
{
    GVM_AUTOCLOSE int fd = openat(t->dir, "skipped", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, RECORD_MAX);
    int r = gvm_read_fd(fd, &text);
    struct gvm_str rest = gvm_buf_str(&text), line;
    while (r == 0 && rest.n) {
        uint64_t i;
        gvm_str_cut(&rest, '\n', &line);
        if (t->n && gvm_parse_u64(line, t->n - 1, &i) == 0)
            t->ops[i].skipped = true;
    }
    return r;
}
