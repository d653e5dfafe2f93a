/* bundle.c - many entries and their proofs in one file: what happened in a run, for somebody who
 * has neither the log nor GVM's state.
 *
 * JSON, one object a line:
 *
 *   {"bundle":"gvm-evidence@v1","checkpoint":"<signed note>","keys":"<vouchers>"}   keys: may be
 * absent
 *   {"index":7,"entry":"<its bytes>","path":["<base64>",...],"private":[...]}      one for each,
 * ascending
 *   {"end":3}                                                                      how many there
 * were
 *
 * `entry` and `path` are what a C2SP tlog-proof holds for that index and the checkpoint; `private`
 * is there when the entry commits to private members (disclose.c). All strings are exact bytes once
 * unescaped. The last line guards against a file cut short, not against rows left out: that is what
 * indexes are for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ledger/private.h"
#include "ledger/prove.h"

static const char magic[] = "gvm-evidence@v1";

/* ---- making ---- */

struct maker {
    struct prover *p;
    const struct gvm_bundle_opts *o;
    struct gvm_buf out, entry;
    uint64_t rows;
};

static int give(struct maker *m, struct gvm_err *err)
{
    if (m->out.failed || gvm_buf_addc(&m->out, '\n') < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = m->o->write(m->o->arg, gvm_buf_str(&m->out));
    return r < 0 ? gvm_err_sys(err, -r, "cannot write the bundle") : 0;
}

static void begin(struct maker *m, struct gvm_jw *w)
{
    gvm_buf_reset(&m->out);
    gvm_jw_init(w, &m->out);
    gvm_jw_object(w);
}

static void put_path(struct gvm_jw *w, const uint8_t (*path)[VHASH], size_t n)
{
    char b64[GVM_B64_LEN(VHASH) + 1];
    gvm_jw_key(w, "path");
    gvm_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        gvm_b64(b64, path[i], VHASH);
        gvm_jw_strz(w, b64);
    }
    gvm_jw_array_end(w);
}

static int put_row(struct maker *m, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    uint8_t path[PROVE_PATH][VHASH], leaf[VHASH];
    size_t n = 0;
    struct gvm_jw w;
    vhash_leaf(&m->p->hasher, line.p, line.n, leaf);
    int r = prover_path(m->p, index, leaf, path, &n, err);
    if (r < 0)
        return r;
    gvm_buf_reset(&m->entry);
    if (gvm_line_entry(line, &m->entry) < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    begin(m, &w);
    gvm_jw_kint(&w, "index", (int64_t)index);
    gvm_jw_kstr(&w, "entry", gvm_buf_str(&m->entry));
    put_path(&w, (const uint8_t(*)[VHASH])path, n);
    if (private_claims(line)) {
        gvm_jw_key(&w, "private");
        r = gvm_disclose(line, m->o->redact, &w, err);
        if (r < 0)
            return gvm_err_wrap(err, r, "entry %" PRIu64, index);
    }
    gvm_jw_object_end(&w);
    m->rows++;
    return give(m, err);
}

static int look_at(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct maker *m = arg;
    int r = m->o->want(m->o->arg, index, line, err);
    return r <= 0 ? r : put_row(m, index, line, err);
}

/* How the log's first key leads to the present one. */
static int put_vouchers(struct maker *m, struct gvm_jw *w, struct gvm_err *err)
{
    struct gvm_buf text;
    gvm_buf_init(&text, GVM_MAX_VOUCHERS);
    int r = vfiles_read(m->p->dirfd, "key-chain", &text);
    if (!r)
        gvm_jw_kstr(w, "keys", gvm_buf_str(&text));
    gvm_buf_done(&text);
    return r < 0 && r != -ENOENT ? gvm_err_sys(err, -r, "cannot read key-chain") : 0;
}

static int make(struct maker *m, struct gvm_err *err)
{
    struct gvm_jw w;
    begin(m, &w);
    gvm_jw_kstrz(&w, "bundle", magic);
    gvm_jw_kstr(&w, "checkpoint", gvm_buf_str(&m->p->note));
    int r = put_vouchers(m, &w, err);
    if (r < 0)
        return r;
    gvm_jw_object_end(&w);
    r = give(m, err);
    if (!r)
        r = prover_walk(m->p->dir, m->o->from, m->p->head.size, look_at, m, err);
    if (r < 0)
        return r;
    begin(m, &w);
    gvm_jw_kint(&w, "end", (int64_t)m->rows);
    gvm_jw_object_end(&w);
    return give(m, err);
}

int gvm_bundle_make(const char *dir, const struct gvm_bundle_opts *opts, uint64_t *ret_rows,
                    struct gvm_err *err)
{
    struct maker m = {.o = opts};
    int r = prover_open(dir, &m.p, err);
    if (r < 0)
        return r;
    gvm_buf_init(&m.out, GVM_MAX_BUNDLE_LINE + 1);
    gvm_buf_init(&m.entry, GVM_MAX_ENTRY + 1);
    r = make(&m, err);
    if (!r)
        *ret_rows = m.rows;
    gvm_buf_done(&m.out);
    gvm_buf_done(&m.entry);
    prover_free(m.p);
    return r;
}

/* ---- checking ---- */

struct gvm_bundle {
    const struct gvm_keychain *keys;
    struct gvm_checkpoint head;
    bool begun, ended;
    uint64_t rows, next; /* least index the next row may have */
    struct vhasher hasher;
    struct gvm_buf event, hidden;
};

int gvm_bundle_new(const struct gvm_keychain *keys, struct gvm_bundle **ret, struct gvm_err *err)
{
    struct gvm_bundle *b = gvm_calloc(1, sizeof *b);
    if (!b)
        return gvm_err_set(err, ENOMEM, "out of memory");
    b->keys = keys;
    gvm_buf_init(&b->event, 4 * GVM_MAX_ENTRY);
    gvm_buf_init(&b->hidden, GVM_MAX_ENTRY);
    int r = vhasher_init(&b->hasher, err);
    if (r < 0)
        gvm_bundle_free(b);
    else
        *ret = b;
    return r;
}

void gvm_bundle_free(struct gvm_bundle *b)
{
    if (!b)
        return;
    vhasher_done(&b->hasher);
    gvm_buf_done(&b->event);
    gvm_buf_done(&b->hidden);
    free(b);
}

bool gvm_bundle_looks(struct gvm_str text)
{
    return gvm_str_starts(text, GVM_STR("{\"bundle\":"));
}

/* The head may be signed by a key that one of ours has come to vouch for. */
static int open_head(struct gvm_bundle *b, struct gvm_str note, struct gvm_str vouchers,
                     struct gvm_err *err)
{
    int r = gvm_keychain_open(note, b->keys, &b->head, NULL, err);
    if (r != -EKEYREJECTED || !vouchers.n)
        return r;
    struct gvm_keychain *more = gvm_calloc(1, sizeof *more);
    if (!more)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r = gvm_keychain_follow(&b->keys->key[b->keys->n - 1], vouchers, more, err);
    if (!r)
        r = gvm_keychain_open(note, more, &b->head, NULL, err);
    free(more);
    return r;
}

static int take_head(struct gvm_bundle *b, const struct gvm_json *v, struct gvm_err *err)
{
    const struct gvm_json *note = gvm_json_get(v, "checkpoint"), *keys = gvm_json_get(v, "keys");
    if (strcmp(gvm_json_text(v, "bundle", ""), magic) != 0 || !note ||
        note->type != GVM_JSON_STRING || (keys && keys->type != GVM_JSON_STRING))
        return gvm_err_set(err, EBADMSG, "not a bundle of evidence (%s)", magic);
    int r = open_head(b, note->text, keys ? keys->text : GVM_STR(""), err);
    if (r < 0)
        return gvm_err_wrap(err, r, "the bundle's checkpoint");
    b->begun = true;
    return 0;
}

static bool take_path(const struct gvm_json *list, uint8_t (*ret)[VHASH], size_t *ret_n)
{
    size_t n = 0, got = 0;
    if (!list || list->type != GVM_JSON_ARRAY)
        return false;
    for (const struct gvm_json *v = list->child; v; v = v->next, n++)
        if (n == PROVE_PATH || v->type != GVM_JSON_STRING ||
            gvm_unb64(ret[n], VHASH, v->text, &got) < 0 || got != VHASH)
            return false;
    *ret_n = n;
    return true;
}

static int check_path(struct gvm_bundle *b, const struct gvm_json *v, uint64_t index,
                      struct gvm_str entry, struct gvm_err *err)
{
    uint8_t path[PROVE_PATH][VHASH], leaf[VHASH], root[VHASH];
    size_t n = 0;
    if (!take_path(gvm_json_get(v, "path"), path, &n))
        return gvm_err_set(err, EBADMSG, "row %" PRIu64 ": the path is malformed", b->rows);
    vhash_entry(&b->hasher, entry, leaf);
    if (!vproof_root(&b->hasher, index, b->head.size, leaf, (const uint8_t(*)[VHASH])path, n,
                     root) ||
        memcmp(root, b->head.root, VHASH) != 0)
        return gvm_err_set(err, EBADMSG,
                           "row %" PRIu64 ": this is not entry %" PRIu64 " of the log %s", b->rows,
                           index, b->head.origin);
    return 0;
}

static int take_row(struct gvm_bundle *b, const struct gvm_json *v, struct gvm_bundle_row *ret,
                    struct gvm_err *err)
{
    const struct gvm_json *entry = gvm_json_get(v, "entry"), *private = gvm_json_get(v, "private");
    int64_t index = gvm_json_int(v, "index", -1);
    struct gvm_jw w;
    if (index < 0 || !entry || entry->type != GVM_JSON_STRING || entry->text.n > GVM_MAX_ENTRY)
        return gvm_err_set(err, EBADMSG, "row %" PRIu64 " is malformed", b->rows);
    if ((uint64_t)index < b->next)
        return gvm_err_set(err, EBADMSG, "row %" PRIu64 ": entry %" PRId64 " is not in its place",
                           b->rows, index);
    int r = check_path(b, v, (uint64_t)index, entry->text, err);
    if (r < 0)
        return r;
    gvm_buf_reset(&b->event);
    gvm_buf_reset(&b->hidden);
    gvm_jw_init(&w, &b->hidden);
    r = gvm_disclosed(entry->text, private ? private->raw : GVM_STR("null"), &b->event, &w, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "entry %" PRId64, index);
    b->next = (uint64_t)index + 1;
    b->rows++;
    *ret =
        (struct gvm_bundle_row){(uint64_t)index, gvm_buf_str(&b->event), gvm_buf_str(&b->hidden)};
    return 1;
}

static int take(struct gvm_bundle *b, const struct gvm_json *v, struct gvm_bundle_row *ret,
                struct gvm_err *err)
{
    if (!b->begun)
        return take_head(b, v, err);
    if (b->ended)
        return gvm_err_set(err, EBADMSG, "something follows the bundle's end");
    if (!gvm_json_get(v, "end"))
        return take_row(b, v, ret, err);
    b->ended = true;
    if (gvm_json_int(v, "end", -1) != (int64_t)b->rows)
        return gvm_err_set(err, EBADMSG,
                           "%" PRIu64 " rows are here, the bundle was made with %" PRId64, b->rows,
                           gvm_json_int(v, "end", -1));
    return 0;
}

int gvm_bundle_line(struct gvm_bundle *b, struct gvm_str line, struct gvm_bundle_row *ret,
                    struct gvm_err *err)
{
    struct gvm_json *v = NULL;
    struct gvm_err why = {0};
    if (line.n > GVM_MAX_BUNDLE_LINE)
        return gvm_err_set(err, EBADMSG, "row %" PRIu64 " is longer than any row", b->rows);
    struct gvm_arena *a = gvm_arena_new(32u << 20);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = gvm_json_parse(a, line, &v, &why);
    if (r < 0)
        r = gvm_err_set(err, EBADMSG, "row %" PRIu64 " is not JSON", b->rows);
    else
        r = take(b, v, ret, err);
    gvm_arena_free(a);
    return r;
}

int gvm_bundle_end(const struct gvm_bundle *b, struct gvm_checkpoint *ret_head, uint64_t *ret_rows,
                   struct gvm_err *err)
{
    if (!b->ended)
        return gvm_err_set(err, EBADMSG, "the bundle is cut short");
    *ret_head = b->head;
    *ret_rows = b->rows;
    return 0;
}
