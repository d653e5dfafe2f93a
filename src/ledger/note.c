/* note.c - C2SP signed-note, tlog-checkpoint and verifier keys: reading and checking.
 *
 *   origin \n size \n root base64 \n          the text, signed with its last newline
 *   \n
 *   — name base64(key id, 4 bytes || signature, 64 bytes) \n      one line per signature, 1 to 16
 *
 * A verifier key is name+hex8(key id)+base64(0x01 || Ed25519 public key); its id is the first four
 * bytes of SHA-256(name || 0x0A || 0x01 || public key).
 *
 * A witness has 0x04 in place of 0x01 (C2SP tlog-cosignature). Its line holds key id, a time (8
 * bytes, seconds since 1970, big-endian) and a signature over "cosignature/v1\ntime <decimal>\n"
 * and the note's text.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include "ledger/verify.h"

enum { MAX_SIGNATURES = 16, ALG_ED25519 = 1, ALG_COSIGNATURE = 4, MAX_SIG_BLOB = 8192 };
enum { SIG_BYTES = 4 + 64, COSIG_BYTES = 4 + 8 + 64 };

/* ---- names and keys ---- */

/* Code points of Unicode's White_Space beyond ASCII, as UTF-8. */
static const char *const spaces[] = {
    "\xc2\x85", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
    "\u2004",   "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
    "\u2028",   "\u2029", "\u202f", "\u205f", "\u3000",
};

bool gvm_vkey_name_ok(struct gvm_str name)
{
    if (!name.n || name.n > GVM_MAX_ORIGIN || !gvm_utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c <= 0x20 || c == 0x7f || c == '+')
            return false;
        for (size_t k = 0; c >= 0xc2 && k < sizeof spaces / sizeof *spaces; k++)
            if (gvm_str_starts((struct gvm_str){name.p + i, name.n - i}, gvm_str(spaces[k])))
                return false;
    }
    return true;
}

static int key_id(const char *name, uint8_t alg, const uint8_t key[32], uint8_t ret[4])
{
    uint8_t buf[GVM_MAX_ORIGIN + 2 + 32], md[32];
    size_t n = strlen(name);
    memcpy(buf, name, n);
    buf[n++] = '\n';
    buf[n++] = alg;
    memcpy(buf + n, key, 32);
    if (EVP_Digest(buf, n + 32, md, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    memcpy(ret, md, 4);
    return 0;
}

static int parse_key(struct gvm_str text, uint8_t alg, struct gvm_vkey *ret, struct gvm_err *err)
{
    struct gvm_vkey k = {.witness = alg == ALG_COSIGNATURE};
    struct gvm_str name, hex;
    uint8_t raw[33], id[4];
    size_t n;
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    if (!gvm_str_cut(&text, '+', &name) || !gvm_str_cut(&text, '+', &hex) ||
        !gvm_vkey_name_ok(name) || gvm_str_copy(k.name, sizeof k.name, name) < 0 || hex.n != 8 ||
        gvm_unhex(k.id, 4, hex) < 0 || gvm_unb64(raw, sizeof raw, text, &n) < 0)
        return gvm_err_set(err, EINVAL, "not a verifier key (name+hex+base64)");
    if (n != sizeof raw || raw[0] != alg)
        return gvm_err_set(err, EINVAL,
                           k.witness ? "not a witness's key (Ed25519 cosignatures, type 0x04)"
                                     : "not an Ed25519 verifier key");
    memcpy(k.key, raw + 1, 32);
    int r = key_id(k.name, alg, k.key, id);
    if (r < 0)
        return gvm_err_set(err, -r, "out of memory");
    if (memcmp(id, k.id, 4) != 0)
        return gvm_err_set(err, EINVAL, "the id in this verifier key does not belong to it");
    *ret = k;
    return 0;
}

int gvm_vkey_parse(struct gvm_str text, struct gvm_vkey *ret, struct gvm_err *err)
{
    return parse_key(text, ALG_ED25519, ret, err);
}

int gvm_witness_parse(struct gvm_str text, struct gvm_vkey *ret, struct gvm_err *err)
{
    return parse_key(text, ALG_COSIGNATURE, ret, err);
}

int gvm_vkey_from_seed(const uint8_t seed[32], const char *name, struct gvm_vkey *ret,
                       struct gvm_err *err)
{
    struct gvm_vkey k = {0};
    size_t n = sizeof k.key;
    if (!gvm_vkey_name_ok(gvm_str(name)) || gvm_str_copy(k.name, sizeof k.name, gvm_str(name)) < 0)
        return gvm_err_set(err, EINVAL,
                           "not a name for a key: no spaces, no '+', at most 255 bytes");
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, k.key, &n) == 1 && n == 32;
    EVP_PKEY_free(pkey);
    if (!ok || key_id(k.name, ALG_ED25519, k.key, k.id) < 0)
        return gvm_err_set(err, ENOMEM, "cannot derive the public key");
    *ret = k;
    return 0;
}

int gvm_vkey_text(const struct gvm_vkey *key, struct gvm_buf *out)
{
    uint8_t raw[33] = {key->witness ? ALG_COSIGNATURE : ALG_ED25519};
    char hex[9], b64[GVM_B64_LEN(sizeof raw) + 1];
    memcpy(raw + 1, key->key, 32);
    gvm_hex(hex, key->id, 4);
    gvm_b64(b64, raw, sizeof raw);
    return gvm_buf_addf(out, "%s+%s+%s", key->name, hex, b64);
}

/* ---- notes ---- */

/* Splits at the last empty line: text (with its last newline) and signature lines. */
static bool split_note(struct gvm_str note, struct gvm_str *ret_text, struct gvm_str *ret_sigs)
{
    if (note.n > GVM_MAX_NOTE || note.n < 4 || note.p[note.n - 1] != '\n' || !gvm_utf8_valid(note))
        return false;
    for (size_t i = 0; i < note.n; i++)
        if (((unsigned char)note.p[i] < 0x20 && note.p[i] != '\n') || note.p[i] == 0x7f)
            return false;
    for (size_t i = note.n - 1; i > 1; i--) {
        if (note.p[i - 1] != '\n' || note.p[i - 2] != '\n')
            continue;
        *ret_text = (struct gvm_str){note.p, i - 1};
        *ret_sigs = (struct gvm_str){note.p + i, note.n - i};
        return true;
    }
    return false;
}

struct signature {
    struct gvm_str name;
    uint8_t blob[MAX_SIG_BLOB];
    size_t n;
};

/* One signature line, without its newline. */
static bool parse_signature(struct gvm_str line, struct signature *ret)
{
    static const char dash[] = "\u2014 ";
    if (!gvm_str_starts(line, GVM_STR(dash)))
        return false;
    line.p += sizeof dash - 1;
    line.n -= sizeof dash - 1;
    return gvm_str_cut(&line, ' ', &ret->name) && gvm_vkey_name_ok(ret->name) &&
           gvm_unb64(ret->blob, sizeof ret->blob, line, &ret->n) == 0 && ret->n >= 5;
}

static bool good_signature(const struct gvm_vkey *key, struct gvm_str text, const uint8_t sig[64])
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->key, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
              EVP_DigestVerify(ctx, sig, 64, (const uint8_t *)text.p, text.n) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return ok;
}

/* Walks the signature lines. With a key, *ret_known tells whether its good signature was among
 * them; a bad one of that key refuses the note. */
static int walk_signatures(struct gvm_str text, struct gvm_str sigs, const struct gvm_vkey *key,
                           bool *ret_known, struct gvm_err *err)
{
    bool known = false;
    unsigned count = 0;
    while (sigs.n) {
        struct gvm_str line;
        struct signature s;
        if (!gvm_str_cut(&sigs, '\n', &line) || ++count > MAX_SIGNATURES ||
            !parse_signature(line, &s))
            return gvm_err_set(err, EBADMSG, "a signature line is malformed");
        if (!key || !gvm_str_eqz(s.name, key->name) || memcmp(s.blob, key->id, 4) != 0)
            continue;
        if (s.n != SIG_BYTES || !good_signature(key, text, s.blob + 4))
            return gvm_err_set(err, EKEYREJECTED, "the signature of %s is wrong", key->name);
        known = true;
    }
    if (!count)
        return gvm_err_set(err, EKEYREJECTED, "the note is not signed");
    *ret_known = known;
    return 0;
}

int gvm_note_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_str *ret_text,
                  struct gvm_err *err)
{
    struct gvm_str text, sigs;
    bool known = false;
    if (!split_note(note, &text, &sigs))
        return gvm_err_set(err, EBADMSG, "not a signed note");
    int r = walk_signatures(text, sigs, key, &known, err);
    if (r < 0)
        return r;
    if (!known)
        return gvm_err_set(err, EKEYREJECTED, "the note carries no signature of %s with this key",
                           key->name);
    *ret_text = text;
    return 0;
}

/* Holds one line against one witness: 1 it is theirs and good, 0 not theirs, negative: theirs and
 * wrong. */
static int check_cosignature(struct gvm_str text, const struct signature *s,
                             const struct gvm_vkey *key, uint64_t *ret_time)
{
    struct gvm_buf b;
    uint64_t time = 0;
    if (!gvm_str_eqz(s->name, key->name) || memcmp(s->blob, key->id, 4) != 0)
        return 0;
    if (s->n != COSIG_BYTES)
        return -EKEYREJECTED;
    for (unsigned i = 0; i < 8; i++)
        time = time << 8 | s->blob[4 + i];
    gvm_buf_init(&b, GVM_MAX_NOTE + 64);
    int r = gvm_buf_addf(&b, "cosignature/v1\ntime %" PRIu64 "\n", time);
    if (!r)
        r = gvm_buf_adds(&b, text);
    if (!r && !good_signature(key, gvm_buf_str(&b), s->blob + 12))
        r = -EKEYREJECTED;
    gvm_buf_done(&b);
    *ret_time = time;
    return r < 0 ? r : 1;
}

int gvm_checkpoint_witnessed(struct gvm_str note, const struct gvm_vkey *witnesses, size_t n,
                             uint64_t *ret_times, struct gvm_err *err)
{
    struct gvm_str text, sigs, line;
    unsigned count = 0;
    if (!split_note(note, &text, &sigs))
        return gvm_err_set(err, EBADMSG, "not a signed note");
    for (size_t i = 0; i < n; i++)
        ret_times[i] = 0;
    while (sigs.n) {
        struct signature s;
        if (!gvm_str_cut(&sigs, '\n', &line) || ++count > MAX_SIGNATURES ||
            !parse_signature(line, &s))
            return gvm_err_set(err, EBADMSG, "a signature line is malformed");
        for (size_t i = 0; i < n; i++) {
            uint64_t time = 0;
            int r = check_cosignature(text, &s, &witnesses[i], &time);
            if (r < 0)
                return gvm_err_set(err, EKEYREJECTED, "the cosignature of %s is wrong",
                                   witnesses[i].name);
            if (r && time > ret_times[i])
                ret_times[i] = time;
        }
    }
    return 0;
}

static int parse_text(struct gvm_str text, struct gvm_checkpoint *ret, struct gvm_err *err)
{
    struct gvm_str origin, size, root;
    struct gvm_checkpoint cp = {0};
    size_t n;
    if (!gvm_str_cut(&text, '\n', &origin) || !gvm_str_cut(&text, '\n', &size) ||
        !gvm_str_cut(&text, '\n', &root) || text.n || !gvm_vkey_name_ok(origin) ||
        gvm_str_copy(cp.origin, sizeof cp.origin, origin) < 0 ||
        gvm_parse_u64(size, INT64_MAX, &cp.size) < 0 ||
        gvm_unb64(cp.root, sizeof cp.root, root, &n) < 0 || n != sizeof cp.root)
        return gvm_err_set(err, EBADMSG, "the note is not a checkpoint (origin, size, root)");
    *ret = cp;
    return 0;
}

static int read_note(struct gvm_str note, const struct gvm_vkey *key, bool *ret_known,
                     struct gvm_checkpoint *ret, struct gvm_err *err)
{
    struct gvm_str text, sigs;
    if (!split_note(note, &text, &sigs))
        return gvm_err_set(err, EBADMSG, "not a signed note");
    int r = walk_signatures(text, sigs, key, ret_known, err);
    return r < 0 ? r : parse_text(text, ret, err);
}

int gvm_checkpoint_parse(struct gvm_str note, struct gvm_checkpoint *ret, struct gvm_err *err)
{
    bool known;
    return read_note(note, NULL, &known, ret, err);
}

int gvm_checkpoint_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_checkpoint *ret,
                        struct gvm_err *err)
{
    bool known;
    struct gvm_checkpoint cp;
    int r = read_note(note, key, &known, &cp, err);
    if (r < 0)
        return r;
    if (!known)
        return gvm_err_set(err, EKEYREJECTED, "the note carries no signature of %s with this key",
                           key->name);
    if (strcmp(cp.origin, key->name) != 0)
        return gvm_err_set(err, EKEYREJECTED, "the checkpoint is of the log %s, the key of %s",
                           cp.origin, key->name);
    *ret = cp;
    return 0;
}
