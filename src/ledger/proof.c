/* proof.c - proof texts: that one entry stands in a log, and that one head extends another.
 *
 * Of an entry, C2SP tlog-proof@v1; the entry's exact bytes travel beside it:
 *
 *   c2sp.org/tlog-proof@v1
 *   extra <base64>                 optional, ignored here
 *   index <decimal>
 *   <base64 hash>                  the path, from the leaf's sibling up, one a line
 *   <empty line>
 *   <checkpoint, verbatim>
 *
 * Of an extension, what C2SP tlog-witness has a log send to its witnesses:
 *
 *   old <decimal>                  size of the older head
 *   <base64 hash>                  the consistency proof of RFC 6962 section 2.1.2, one hash a line
 *   <empty line>
 *   <checkpoint, verbatim>
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ledger/prove.h"

static const char magic[] = "c2sp.org/tlog-proof@v1";

static int write_hashes(struct gvm_buf *out, const uint8_t (*path)[VHASH], size_t n,
                        struct gvm_str note)
{
    char b64[GVM_B64_LEN(VHASH) + 1];
    for (size_t i = 0; i < n; i++) {
        gvm_b64(b64, path[i], VHASH);
        gvm_buf_addf(out, "%s\n", b64);
    }
    gvm_buf_addc(out, '\n');
    gvm_buf_adds(out, note);
    return out->failed ? -ENOBUFS : 0;
}

static int keep_line(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct gvm_buf *out = arg;
    gvm_buf_reset(out);
    return gvm_buf_adds(out, line) < 0 ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

static int prove(struct prover *p, uint64_t index, struct gvm_buf *out, struct gvm_buf *line,
                 struct gvm_err *err)
{
    uint8_t path[PROVE_PATH][VHASH], leaf[VHASH] = {0};
    size_t n = 0;
    int r = index < p->head.size ? prover_walk(p->dir, index, index + 1, keep_line, line, err) : 0;
    if (r < 0)
        return r;
    if (index < p->head.size && !line->len)
        return gvm_err_set(err, ENOENT, "entry %" PRIu64 " was pruned; only its hash is left",
                           index);
    if (line->len)
        vhash_leaf(&p->hasher, gvm_buf_data(line), line->len, leaf);
    r = prover_path(p, index, leaf, path, &n, err);
    if (r < 0)
        return r;
    gvm_buf_addf(out, "%s\nindex %" PRIu64 "\n", magic, index);
    r = write_hashes(out, (const uint8_t(*)[VHASH])path, n, gvm_buf_str(&p->note));
    return r < 0 ? gvm_err_sys(err, -r, "cannot write the proof") : 0;
}

int gvm_proof_make(const char *dir, uint64_t index, struct gvm_buf *out, struct gvm_buf *ret_line,
                   struct gvm_err *err)
{
    struct prover *p = NULL;
    int r = prover_open(dir, &p, err);
    if (r < 0)
        return r;
    r = prove(p, index, out, ret_line, err);
    prover_free(p);
    return r;
}

int gvm_extends_make(const char *dir, const struct gvm_checkpoint *old, struct gvm_buf *out,
                     struct gvm_err *err)
{
    struct prover *p = NULL;
    uint8_t path[PROVE_PATH + 1][VHASH];
    size_t n = 0;
    int r = prover_open(dir, &p, err);
    if (r < 0)
        return r;
    r = prover_extends(p, old, path, &n, err);
    if (!r) {
        gvm_buf_addf(out, "old %" PRIu64 "\n", old->size);
        r = write_hashes(out, (const uint8_t(*)[VHASH])path, n, gvm_buf_str(&p->note));
        if (r < 0)
            gvm_err_sys(err, -r, "cannot write the proof");
    }
    prover_free(p);
    return r;
}

/* ---- checking ---- */

struct parsed {
    uint64_t number; /* index, or size of the older head */
    uint8_t path[PROVE_PATH + 1][VHASH];
    size_t n;
    struct gvm_str note;
};

static bool parse_path(struct gvm_str *text, struct parsed *ret)
{
    struct gvm_str line;
    size_t n;
    for (;;) {
        if (!gvm_str_cut(text, '\n', &line))
            return false;
        if (!line.n)
            return true;
        if (ret->n > PROVE_PATH || gvm_unb64(ret->path[ret->n], VHASH, line, &n) < 0 || n != VHASH)
            return false;
        ret->n++;
    }
}

/* "<word><decimal>", the path, an empty line, the note. */
static bool parse_rest(struct gvm_str line, const char *word, struct gvm_str text,
                       struct parsed *ret)
{
    size_t n = strlen(word);
    if (!gvm_str_starts(line, gvm_str(word)) ||
        gvm_parse_u64((struct gvm_str){line.p + n, line.n - n}, INT64_MAX, &ret->number) < 0 ||
        !parse_path(&text, ret))
        return false;
    ret->note = text;
    return true;
}

static bool parse_proof(struct gvm_str text, struct parsed *ret)
{
    struct gvm_str line;
    if (text.n > GVM_MAX_PROOF || !gvm_str_cut(&text, '\n', &line) || !gvm_str_eqz(line, magic) ||
        !gvm_str_cut(&text, '\n', &line))
        return false;
    if (gvm_str_starts(line, GVM_STR("extra "))) {
        GVM_AUTOFREE uint8_t *extra = malloc(line.n + 1);
        struct gvm_str b64 = {line.p + 6, line.n - 6};
        size_t n;
        if (!extra || gvm_unb64(extra, line.n, b64, &n) < 0 || !gvm_str_cut(&text, '\n', &line))
            return false;
    }
    return parse_rest(line, "index ", text, ret);
}

int gvm_proof_check(struct gvm_str proof, struct gvm_str entry, const struct gvm_keychain *keys,
                    uint64_t *ret_index, struct gvm_checkpoint *ret_head, struct gvm_err *err)
{
    struct parsed p = {0};
    struct gvm_checkpoint cp;
    struct vhasher h;
    uint8_t leaf[VHASH], root[VHASH];
    if (!parse_proof(proof, &p))
        return gvm_err_set(err, EBADMSG, "not a proof (%s)", magic);
    int r = gvm_keychain_open(p.note, keys, &cp, NULL, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "the proof's checkpoint");
    if (entry.n > GVM_MAX_ENTRY)
        return gvm_err_set(err, EBADMSG, "the entry is longer than any entry");
    r = vhasher_init(&h, err);
    if (r < 0)
        return r;
    vhash_entry(&h, entry, leaf);
    bool ok =
        vproof_root(&h, p.number, cp.size, leaf, (const uint8_t(*)[VHASH])p.path, p.n, root) &&
        memcmp(root, cp.root, VHASH) == 0;
    vhasher_done(&h);
    if (!ok)
        return gvm_err_set(err, EBADMSG, "this entry is not entry %" PRIu64 " of the log %s",
                           p.number, cp.origin);
    *ret_index = p.number;
    *ret_head = cp;
    return 0;
}

int gvm_extends_check(struct gvm_str proof, const struct gvm_checkpoint *old,
                      const struct gvm_keychain *keys, struct gvm_checkpoint *ret_head,
                      struct gvm_err *err)
{
    struct parsed p = {0};
    struct gvm_checkpoint cp;
    struct vhasher h;
    struct gvm_str line, text = proof;
    if (text.n > GVM_MAX_PROOF || !gvm_str_cut(&text, '\n', &line) ||
        !parse_rest(line, "old ", text, &p))
        return gvm_err_set(err, EBADMSG, "not a proof of an extension (old N, hashes, checkpoint)");
    int r = gvm_keychain_open(p.note, keys, &cp, NULL, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "the proof's checkpoint");
    if (p.number != old->size)
        return gvm_err_set(err, EBADMSG,
                           "the proof is for a head of %" PRIu64
                           " entries, the one given has %" PRIu64,
                           p.number, old->size);
    r = vhasher_init(&h, err);
    if (r < 0)
        return r;
    bool ok = strcmp(old->origin, cp.origin) == 0 &&
              vproof_extends(&h, old, &cp, (const uint8_t(*)[VHASH])p.path, p.n);
    vhasher_done(&h);
    if (!ok)
        return gvm_err_set(err, EBADMSG,
                           "the head of %" PRIu64 " entries does not extend the one of %" PRIu64,
                           cp.size, old->size);
    *ret_head = cp;
    return 0;
}
