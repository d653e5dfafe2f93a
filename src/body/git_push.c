/* body/git_push.c - commands, and as much of the pack as shows ancestry.
 *
 *   pkt-line   4 hex digits, the length with them; "0000" is a flush
 *   pack       "PACK" version(4) objects(4), then objects: type and size (7 bits a byte, the first
 *              byte has the type in bits 4..6), for deltas their base, then zlib data
 *
 * Objects come commits first, so a beginning of the pack has what we want. A commit's name is the
 * hash of "commit SIZE\0" and its text; "parent NAME" lines stand at its head. Deltas are not
 * resolved: a commit that is one is not seen, and its children are then not shown to be forward.
 */
#include "body/git_push.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { COMMITS = 4096, PARENTS = 8192, COMMIT_TEXT = 256 * 1024, NAME_MAX_BYTES = 32 };
enum { OBJ_COMMIT = 1, OBJ_OFS_DELTA = 6, OBJ_REF_DELTA = 7 };

static int bad(struct gvm_err *err, const char *what)
{
    return gvm_err_set(err, EINVAL, "not a git push that can be read: %s", what);
}

bool gvm_git_repository(struct gvm_str path, struct gvm_str *ret)
{
    static const struct gvm_str ends[] = {
        {"/git-receive-pack", 17}, {"/git-upload-pack", 16}, {"/info/refs", 10}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (!gvm_str_ends(path, ends[i]) || path.n < ends[i].n + 2)
            continue;
        struct gvm_str s = {path.p + 1, path.n - ends[i].n - 1};
        if (s.n > 4 && gvm_str_ends(s, GVM_STR(".git")))
            s.n -= 4;
        *ret = s;
        return true;
    }
    return false;
}

/* ---- pkt-lines ---- */

/* *ret_n: bytes of content; 0 for a flush. 1, 0 when the input ends within, -EINVAL. */
static int pkt_line(struct gvm_str *in, struct gvm_str *ret, bool *ret_flush)
{
    unsigned n = 0;
    if (in->n < 4)
        return 0;
    for (int i = 0; i < 4; i++) {
        char c = gvm_lower(in->p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return -EINVAL;
        n = n << 4 | (unsigned)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret_flush = n == 0;
    if (n && n < 5)
        return -EINVAL; /* 1..3 belong to protocol 2; an empty line is never sent */
    if (in->n < n)
        return 0;
    *ret = (struct gvm_str){in->p + 4, n ? n - 4 : 0};
    in->p += n ? n : 4;
    in->n -= n ? n : 4;
    return 1;
}

static bool is_name(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.n == 40 || s.n == 64;
}

static bool is_zero(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

/* "OLD NEW ref" */
static int command(struct gvm_str line, struct gvm_git_ref *r)
{
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (!gvm_str_cut(&line, ' ', &r->before) || !gvm_str_cut(&line, ' ', &r->after))
        return -EINVAL;
    r->name = line;
    if (!is_name(r->before) || !is_name(r->after) || r->before.n != r->after.n || line.n == 0 ||
        !gvm_utf8_valid(line) || memchr(line.p, '\0', line.n))
        return -EINVAL;
    r->create = is_zero(r->before);
    r->delete = is_zero(r->after);
    r->force = r->create || r->delete ? GVM_GIT_FORWARD : GVM_GIT_UNKNOWN;
    return 0;
}

/* All commands up to the flush. *in is left behind it; *ret_options: push options follow. */
static int commands(struct gvm_str *in, bool whole, struct gvm_git_push *push, bool *ret_options,
                    struct gvm_err *err)
{
    for (;;) {
        struct gvm_str line, caps = {0};
        bool flush = false;
        int r = pkt_line(in, &line, &flush);
        if (r == 0)
            return whole ? bad(err, "it ends within its commands")
                         : gvm_err_set(err, E2BIG,
                                       "the commands of the push do not end in what "
                                       "was read");
        if (r < 0)
            return bad(err, "a broken pkt-line");
        if (flush)
            return 0;
        if (push->n == GVM_MAX_GIT_REFS)
            return gvm_err_set(err, E2BIG, "the push names more than %u refs", GVM_MAX_GIT_REFS);
        if (push->n == 0) {
            struct gvm_str head;
            (void)gvm_str_cut(&line, '\0', &head);
            caps = line;
            line = head;
            *ret_options = caps.n && memmem(caps.p, caps.n, "push-options", 12);
        }
        if (command(line, &push->refs[push->n]) < 0)
            return bad(err, "a command that is not OLD NEW REF (a shallow or signed push?)");
        push->n++;
    }
}

/* ---- the pack ---- */

struct commit {
    uint8_t name[NAME_MAX_BYTES];
    uint32_t parents, nparents; /* in graph.parents */
    bool seen;
};

struct graph {
    struct commit *commits;
    uint8_t (*parents)[NAME_MAX_BYTES];
    uint32_t n, nparents;
    size_t name_bytes;
    bool complete; /* every object of the pack was looked at and no commit was a delta */
};

/* Inflates one object of `size` bytes at *in into `text` (NULL: thrown away); *in moves behind it.
 * False when it is broken or not whole. */
static bool inflate_object(struct gvm_str *in, size_t size, uint8_t *text)
{
    uint8_t waste[8192];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in->p,
                  .avail_in = (uInt)(in->n > UINT32_MAX / 2 ? UINT32_MAX / 2 : in->n)};
    if (inflateInit(&z) != Z_OK)
        return false;
    int r = Z_OK;
    uInt had = z.avail_in;
    if (text) {
        z.next_out = text;
        z.avail_out = (uInt)size;
    }
    while (r == Z_OK) {
        if (!text) {
            z.next_out = waste;
            z.avail_out = sizeof waste;
        }
        r = inflate(&z, text ? Z_FINISH : Z_NO_FLUSH);
    }
    bool ok = r == Z_STREAM_END && z.total_out == size;
    in->p += had - z.avail_in;
    in->n -= had - z.avail_in;
    (void)inflateEnd(&z);
    return ok;
}

static bool hex_name(const char *p, size_t bytes, uint8_t out[NAME_MAX_BYTES])
{
    for (size_t i = 0; i < 2 * bytes; i++) {
        char c = p[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return false;
        uint8_t v = (uint8_t)(digit ? c - '0' : c - 'a' + 10);
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return true;
}

static bool commit_name(const uint8_t *text, size_t n, size_t name_bytes, uint8_t *out)
{
    char head[40];
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int h = snprintf(head, sizeof head, "commit %zu", n);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, name_bytes == 20 ? EVP_sha1() : EVP_sha256(), NULL) &&
              EVP_DigestUpdate(ctx, head, (size_t)h + 1) && EVP_DigestUpdate(ctx, text, n) &&
              EVP_DigestFinal_ex(ctx, md, &len) && len == name_bytes;
    EVP_MD_CTX_free(ctx);
    if (ok)
        memcpy(out, md, name_bytes);
    return ok;
}

/* "tree NAME\n" then "parent NAME\n"... */
static bool add_commit(struct graph *g, const uint8_t *text, size_t n)
{
    size_t hex = 2 * g->name_bytes, line = 7 + hex + 1;
    struct commit *c = &g->commits[g->n];
    *c = (struct commit){.parents = g->nparents};
    if (g->n == COMMITS || n < 5 + hex + 1 || !commit_name(text, n, g->name_bytes, c->name))
        return false;
    for (size_t at = 5 + hex + 1; n - at >= line && memcmp(text + at, "parent ", 7) == 0;
         at += line) {
        if (g->nparents == PARENTS ||
            !hex_name((const char *)text + at + 7, g->name_bytes, g->parents[g->nparents]))
            return false;
        g->nparents++;
        c->nparents++;
    }
    g->n++;
    return true;
}

/* Type and size of the object at *in. False when it is cut short. */
static bool object_head(struct gvm_str *in, unsigned *ret_type, uint64_t *ret_size)
{
    uint64_t size = 0;
    unsigned shift = 4;
    size_t i = 0;
    if (in->n == 0)
        return false;
    uint8_t c = (uint8_t)in->p[i++];
    *ret_type = c >> 4 & 7;
    size = c & 15;
    while (c & 0x80) {
        if (i == in->n || shift > 56)
            return false;
        c = (uint8_t)in->p[i++];
        size |= (uint64_t)(c & 0x7f) << shift;
        shift += 7;
    }
    *ret_size = size;
    in->p += i;
    in->n -= i;
    return true;
}

/* The base of a delta: a name, or a distance in the variable form. */
static bool skip_base(struct gvm_str *in, unsigned type, size_t name_bytes)
{
    size_t i = name_bytes;
    if (type == OBJ_OFS_DELTA)
        for (i = 1; i < in->n && ((uint8_t)in->p[i - 1] & 0x80); i++)
            ;
    if (i > in->n)
        return false;
    in->p += i;
    in->n -= i;
    return true;
}

/* One object. False: no further. */
static bool object(struct graph *g, struct gvm_str *in, uint8_t *text)
{
    unsigned type;
    uint64_t size;
    if (!object_head(in, &type, &size))
        return false;
    if (type == OBJ_COMMIT) {
        if (size > COMMIT_TEXT || !inflate_object(in, (size_t)size, text))
            return false;
        return add_commit(g, text, (size_t)size);
    }
    if (type == OBJ_OFS_DELTA || type == OBJ_REF_DELTA) {
        g->complete = false; /* it may be a commit */
        if (!skip_base(in, type, g->name_bytes))
            return false;
    }
    return inflate_object(in, (size_t)size, NULL);
}

static void read_pack(struct graph *g, struct gvm_str in, uint8_t *text)
{
    if (in.n < 12 || memcmp(in.p, "PACK", 4) != 0)
        return;
    const uint8_t *p = (const uint8_t *)in.p + 8;
    uint32_t left = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    in.p += 12;
    in.n -= 12;
    g->complete = true;
    for (; left && object(g, &in, text); left--)
        ;
    g->complete = g->complete && left == 0;
}

/* ---- ancestry ---- */

static int by_name(const void *a, const void *b, void *name_bytes)
{
    return memcmp(((const struct commit *)a)->name, ((const struct commit *)b)->name,
                  *(const size_t *)name_bytes);
}

/* The commits are sorted. */
static struct commit *find(const struct graph *g, const uint8_t *name)
{
    uint32_t low = 0, high = g->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int r = memcmp(g->commits[mid].name, name, g->name_bytes);
        if (r == 0)
            return &g->commits[mid];
        if (r < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Walks from the new commit through what is in the pack. Parents that are not in it are commits the
 * server has: the old one among them shows descent; another one may have the old one behind it. */
static enum gvm_git_force judge(struct graph *g, const struct gvm_git_ref *r, struct commit **queue)
{
    uint8_t before[NAME_MAX_BYTES], after[NAME_MAX_BYTES];
    uint32_t n = 0;
    bool outside = false;
    (void)hex_name(r->before.p, g->name_bytes, before);
    (void)hex_name(r->after.p, g->name_bytes, after);
    for (uint32_t i = 0; i < g->n; i++)
        g->commits[i].seen = false;
    struct commit *c = find(g, after);
    if (!c)
        return GVM_GIT_UNKNOWN;
    c->seen = true;
    queue[n++] = c;
    while (n) {
        c = queue[--n];
        for (uint32_t i = 0; i < c->nparents; i++) {
            const uint8_t *parent = g->parents[c->parents + i];
            struct commit *up = find(g, parent);
            if (memcmp(parent, before, g->name_bytes) == 0)
                return GVM_GIT_FORWARD;
            outside = outside || !up;
            if (up && !up->seen) {
                up->seen = true;
                queue[n++] = up;
            }
        }
    }
    return outside || !g->complete ? GVM_GIT_UNKNOWN : GVM_GIT_FORCED;
}

static bool any_unknown(const struct gvm_git_push *push)
{
    for (size_t i = 0; i < push->n; i++)
        if (push->refs[i].force == GVM_GIT_UNKNOWN)
            return true;
    return false;
}

static int show_ancestry(struct gvm_str in, struct gvm_git_push *push, struct gvm_err *err)
{
    struct graph g = {.name_bytes = push->refs[0].before.n / 2};
    GVM_AUTOFREE struct commit *commits = gvm_calloc(COMMITS + 1, sizeof *commits);
    GVM_AUTOFREE void *parents = gvm_calloc(PARENTS, sizeof *g.parents);
    GVM_AUTOFREE struct commit **queue = gvm_calloc(COMMITS, sizeof *queue);
    GVM_AUTOFREE uint8_t *text = gvm_calloc(1, COMMIT_TEXT);
    if (!commits || !parents || !queue || !text)
        return gvm_err_set(err, ENOMEM, "no memory to read a push");
    g.commits = commits;
    g.parents = parents;
    read_pack(&g, in, text);
    qsort_r(g.commits, g.n, sizeof *g.commits, by_name, &g.name_bytes);
    size_t budget = 64; /* refs that are looked into: each may walk the whole pack */
    for (size_t i = 0; i < push->n && budget; i++) {
        if (push->refs[i].force != GVM_GIT_UNKNOWN)
            continue;
        budget--;
        push->refs[i].force = judge(&g, &push->refs[i], queue);
    }
    return 0;
}

int gvm_git_push_parse(struct gvm_arena *a, struct gvm_str in, bool whole, struct gvm_git_push *ret,
                       struct gvm_err *err)
{
    struct gvm_git_push push = {.refs =
                                    gvm_arena_alloc(a, (GVM_MAX_GIT_REFS + 1) * sizeof *push.refs)};
    bool options = false;
    if (!push.refs)
        return gvm_err_set(err, ENOMEM, "no memory to read a push");
    int r = commands(&in, whole, &push, &options, err);
    if (r == 0 && push.n == 0 && (in.n || !whole))
        r = bad(err, "something stands behind a push of nothing");
    while (r == 0 && options) { /* push options, up to a flush of their own */
        struct gvm_str line;
        bool flush = false;
        int x = pkt_line(&in, &line, &flush);
        if (x < 0)
            r = bad(err, "a broken push option");
        options = x == 1 && !flush;
    }
    for (size_t i = 1; i < push.n && r == 0; i++)
        if (push.refs[i].before.n != push.refs[0].before.n)
            r = bad(err, "object names of two lengths");
    if (r == 0 && any_unknown(&push))
        r = show_ancestry(in, &push, err);
    if (r == 0)
        *ret = push;
    return r;
}
