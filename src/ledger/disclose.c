/* disclose.c - private members as they travel with a proof: each shown, or hidden behind its hash.
 *
 * A JSON array, one object for each private member in the order of the line:
 *
 *   {"name":"host","salt":"<base64, 16 bytes>","value":"\"api.example.com\""}     shown
 *   {"name":"path","hash":"<base64, 32 bytes>"}                                  hidden
 *
 * `name` and `value` are strings that hold the bytes of the line, so that nothing on the way may
 * write them differently. Together they must give the commitment at the end of the entry
 * (private.h).
 */
#include <errno.h>
#include "ledger/evidence.h"
#include "ledger/private.h"
#include "ledger/verify_int.h"

static const char MARK[] = ",\"private\":\"";
enum { COMMIT_CHARS = GVM_B64_LEN(PRIVATE_HASH), TAIL = COMMIT_CHARS + 2 };

/* ---- showing ---- */

static bool hides(struct gvm_redact *r, struct gvm_str name)
{
    bool found = r->all;
    for (unsigned i = 0; i < r->n; i++) {
        if (!gvm_str_eqz(name, r->names[i]))
            continue;
        r->used |= (uint64_t)1 << i;
        found = true;
    }
    return found;
}

static void put_bytes(struct gvm_jw *w, const char *key, const uint8_t *p, size_t n)
{
    char b64[GVM_B64_LEN(PRIVATE_HASH) + 1];
    gvm_b64(b64, p, n);
    gvm_jw_kstrz(w, key, b64);
}

static void put_member(struct gvm_jw *w, const struct private_member *m, bool hide)
{
    gvm_jw_object(w);
    gvm_jw_kstr(w, "name", m->name);
    if (hide) {
        put_bytes(w, "hash", m->hash, PRIVATE_HASH);
    } else {
        put_bytes(w, "salt", m->salt, PRIVATE_SALT);
        gvm_jw_kstr(w, "value", m->value);
    }
    gvm_jw_object_end(w);
}

int gvm_disclose(struct gvm_str line, struct gvm_redact *redact, struct gvm_jw *w,
                 struct gvm_err *err)
{
    struct vhasher h;
    struct private_seam s;
    struct private_member m[PRIVATE_MAX];
    unsigned n = 0;
    int r = vhasher_init(&h, err);
    if (r < 0)
        return r;
    bool seam = private_seam(line, &s);
    bool ok = seam ? private_open(h.ctx, &s, m, &n) : !private_claims(line);
    vhasher_done(&h);
    if (!ok)
        return gvm_err_set(err, EBADMSG, "the private members are not those the entry commits to");
    gvm_jw_array(w);
    for (unsigned i = 0; i < n; i++)
        put_member(w, &m[i], hides(redact, m[i].name));
    gvm_jw_array_end(w);
    return w->out->failed ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

/* ---- checking ---- */

/* Where the entry's commitment member begins; false when it has none. */
static bool find_commit(struct gvm_str entry, size_t *ret)
{
    const size_t mark = sizeof MARK - 1;
    const char *at = private_claims(entry) ? memmem(entry.p, entry.n, MARK, mark) : NULL;
    if (!at || (size_t)(entry.p + entry.n - at) != mark + TAIL ||
        memcmp(entry.p + entry.n - 2, "\"}", 2) != 0)
        return false;
    *ret = (size_t)(at - entry.p);
    return true;
}

static bool exact(const struct gvm_json *v, const char *key, uint8_t *ret, size_t n)
{
    const struct gvm_json *m = gvm_json_get(v, key);
    size_t got = 0;
    return m && m->type == GVM_JSON_STRING && gvm_unb64(ret, n, m->text, &got) == 0 && got == n;
}

/* One object of the array. Its value must be one value, or members could be smuggled in beside it.
 */
static bool take_member(struct gvm_arena *a, struct vhasher *h, const struct gvm_json *v,
                        struct private_member *ret)
{
    const struct gvm_json *name = gvm_json_get(v, "name"), *value = gvm_json_get(v, "value");
    struct gvm_json *parsed;
    struct private_member m = {0};
    if (!name || name->type != GVM_JSON_STRING || !name->text.n || name->text.n > PRIVATE_NAME)
        return false;
    m.name = name->text;
    if (!value) {
        *ret = m;
        return !gvm_json_get(v, "salt") && exact(v, "hash", ret->hash, PRIVATE_HASH);
    }
    if (value->type != GVM_JSON_STRING || gvm_json_get(v, "hash") ||
        !exact(v, "salt", m.salt, PRIVATE_SALT) ||
        gvm_json_parse(a, value->text, &parsed, NULL) < 0)
        return false;
    m.value = value->text;
    private_hash(h->ctx, m.salt, m.value, m.hash);
    *ret = m;
    return true;
}

static bool take_members(struct gvm_arena *a, struct vhasher *h, const struct gvm_json *list,
                         struct private_member *ret, unsigned *ret_n)
{
    unsigned n = 0;
    if (!list || list->type != GVM_JSON_ARRAY)
        return false;
    for (const struct gvm_json *v = list->child; v; v = v->next)
        if (n == PRIVATE_MAX || v->type != GVM_JSON_OBJECT || !take_member(a, h, v, &ret[n++]))
            return false;
    *ret_n = n;
    return true;
}

/* The event: the entry without its commitment, with the members that are shown. */
static int put_event(struct gvm_str public, const struct private_member *m, unsigned n,
                     struct gvm_buf *out)
{
    gvm_buf_adds(out, public);
    for (unsigned i = 0; i < n; i++) {
        if (!m[i].value.p)
            continue;
        gvm_buf_addz(out, ",\"");
        gvm_buf_adds(out, m[i].name);
        gvm_buf_addz(out, "\":");
        gvm_buf_adds(out, m[i].value);
    }
    gvm_buf_addc(out, '}');
    return out->failed ? -ENOMEM : 0;
}

static void put_hidden(struct gvm_jw *w, const struct private_member *m, unsigned n)
{
    gvm_jw_array(w);
    for (unsigned i = 0; i < n; i++)
        if (!m[i].value.p)
            gvm_jw_str(w, m[i].name);
    gvm_jw_array_end(w);
}

static int check_members(struct gvm_arena *a, struct vhasher *h, struct gvm_str entry, size_t at,
                         const struct gvm_json *list, struct gvm_buf *event, struct gvm_jw *hidden,
                         struct gvm_err *err)
{
    struct private_member m[PRIVATE_MAX];
    uint8_t is[PRIVATE_HASH], said[PRIVATE_HASH];
    struct gvm_str b64 = {entry.p + at + sizeof MARK - 1, COMMIT_CHARS};
    unsigned n = 0;
    size_t got = 0;
    if (!take_members(a, h, list, m, &n))
        return gvm_err_set(err, EBADMSG, "the list of private members is malformed");
    private_commit(h->ctx, m, n, is);
    if (gvm_unb64(said, sizeof said, b64, &got) < 0 || got != sizeof said ||
        memcmp(is, said, sizeof is) != 0)
        return gvm_err_set(err, EBADMSG, "the private members are not those the entry commits to");
    put_hidden(hidden, m, n);
    return put_event((struct gvm_str){entry.p, at}, m, n, event) < 0
               ? gvm_err_set(err, ENOMEM, "out of memory")
               : 0;
}

/* Who shows an entry's members must not make two of one name out of them. */
static int check_event(struct gvm_arena *a, struct gvm_str event, struct gvm_err *err)
{
    struct gvm_json *v = NULL;
    struct gvm_err why = {0};
    if (gvm_json_parse(a, event, &v, &why) == 0 && v->type == GVM_JSON_OBJECT)
        return 0;
    return gvm_err_set(err, EBADMSG, "the entry is not a JSON object with each member once");
}

int gvm_disclosed(struct gvm_str entry, struct gvm_str private, struct gvm_buf *ret_event,
                  struct gvm_jw *ret_hidden, struct gvm_err *err)
{
    struct vhasher h;
    struct gvm_json *list = NULL;
    size_t at = 0;
    bool commits = find_commit(entry, &at);
    if (!commits && private_claims(entry))
        return gvm_err_set(err, EBADMSG, "the entry claims private members and commits to none");
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = vhasher_init(&h, err);
    if (!r && commits && gvm_json_parse(a, private, &list, NULL) < 0)
        r = gvm_err_set(err, EBADMSG, "the list of private members is not JSON");
    if (!r && commits)
        r = check_members(a, &h, entry, at, list, ret_event, ret_hidden, err);
    if (!r && !commits) {
        put_hidden(ret_hidden, NULL, 0);
        if (gvm_buf_adds(ret_event, entry) < 0)
            r = gvm_err_set(err, ENOMEM, "out of memory");
    }
    if (!r)
        r = check_event(a, gvm_buf_str(ret_event), err);
    vhasher_done(&h);
    gvm_arena_free(a);
    return r;
}
