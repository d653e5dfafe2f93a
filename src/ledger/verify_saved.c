/* verify_saved.c - a verified head kept, so that the next verification only reads what came after
 * it.
 *
 *   gvm verified head v1 \n origin \n size \n root \n pruned_to \n  then for each bit of size, from
 * the highest: the root of that complete subtree \n             (hashes in base64)
 *
 * Who can write this file can claim anything about what is behind it; it belongs beside the
 * verifier's own state, not into the ledger.
 */
#include <errno.h>
#include <inttypes.h>
#include "ledger/verify_check.h"

static const char magic[] = "gvm verified head v1";

static int add_hash(struct gvm_buf *out, const uint8_t hash[VHASH])
{
    char b64[GVM_B64_LEN(VHASH) + 1];
    gvm_b64(b64, hash, VHASH);
    return gvm_buf_addf(out, "%s\n", b64);
}

int gvm_verified_write(const struct gvm_verified *v, struct gvm_buf *out)
{
    (void)gvm_buf_addf(out, "%s\n%s\n%" PRIu64 "\n", magic, v->head.origin, v->head.size);
    (void)add_hash(out, v->head.root);
    (void)gvm_buf_addf(out, "%" PRIu64 "\n", v->pruned_to);
    for (unsigned i = 0; i < v->n; i++)
        (void)add_hash(out, v->subtree[i]);
    return out->failed ? -ENOBUFS : 0;
}

static bool cut_hash(struct gvm_str *text, uint8_t ret[VHASH])
{
    struct gvm_str line;
    size_t n;
    return gvm_str_cut(text, '\n', &line) && gvm_unb64(ret, VHASH, line, &n) == 0 && n == VHASH;
}

static bool cut_number(struct gvm_str *text, uint64_t *ret)
{
    struct gvm_str line;
    return gvm_str_cut(text, '\n', &line) && gvm_parse_u64(line, INT64_MAX, ret) == 0;
}

/* Do the subtrees give the root? */
static bool holds(const struct gvm_verified *v)
{
    struct vhasher h;
    uint8_t acc[VHASH];
    if (!v->n || vhasher_init(&h, NULL) < 0)
        return false;
    memcpy(acc, v->subtree[v->n - 1], VHASH);
    for (unsigned i = v->n - 1; i-- > 0;)
        vhash_node(&h, v->subtree[i], acc, acc);
    vhasher_done(&h);
    return memcmp(acc, v->head.root, VHASH) == 0;
}

int gvm_verified_parse(struct gvm_str text, struct gvm_verified *ret, struct gvm_err *err)
{
    struct gvm_verified v = {0};
    struct gvm_str line, origin;
    bool ok = gvm_str_cut(&text, '\n', &line) && gvm_str_eqz(line, magic) &&
              gvm_str_cut(&text, '\n', &origin) && gvm_vkey_name_ok(origin) &&
              gvm_str_copy(v.head.origin, sizeof v.head.origin, origin) == 0 &&
              cut_number(&text, &v.head.size) && cut_hash(&text, v.head.root) &&
              cut_number(&text, &v.pruned_to);
    v.n = ok ? (unsigned)__builtin_popcountll(v.head.size) : 0;
    for (unsigned i = 0; ok && i < v.n; i++)
        ok = cut_hash(&text, v.subtree[i]);
    if (!ok || text.n || !holds(&v))
        return gvm_err_set(err, EBADMSG, "not a verified head that holds together");
    *ret = v;
    return 0;
}

bool vcheck_resume(struct check *c, const struct gvm_verified *from)
{
    uint64_t size = from->head.size;
    bool fits = c->have_head && strcmp(from->head.origin, c->rep->head.origin) == 0 &&
                size <= c->rep->head.size && size > c->first &&
                (!c->opts->since || c->opts->since->size >= size);
    if (!fits)
        return false;
    c->tree.size = size;
    c->tree.depth = from->n;
    for (unsigned i = 0, height = 64; i < from->n; i++) {
        do
            height--;
        while (!(size >> height & 1));
        c->tree.stack[i].height = height;
        memcpy(c->tree.stack[i].hash, from->subtree[i], VHASH);
    }
    for (unsigned l = 0; l < VLEVELS; l++) {
        c->level[l].index = size >> (8 * l) >> 8;
        c->level[l].n = c->level[l].known = (unsigned)(size >> (8 * l) & (VTILE - 1));
    }
    c->pruned_to = from->pruned_to;
    vcheck_roots(c);
    return true;
}

void vcheck_keep(const struct check *c, struct gvm_verified *ret)
{
    ret->head = c->rep->head;
    ret->n = c->tree.depth;
    for (unsigned i = 0; i < c->tree.depth && i < 64; i++)
        memcpy(ret->subtree[i], c->tree.stack[i].hash, VHASH);
}
