/* keychain.c - a log that changes its key: each key vouches for the next.
 *
 * A voucher is a C2SP signed note of the old key under the log's name:
 *
 *   gvm-key-change@v1
 *   <origin>
 *   <the old key, name+hex+base64>
 *   <the new key>
 *   <empty line>
 *   — <origin> <signature>
 *
 * No such text can be read as a checkpoint, whose second line is a number and third its last.
 * Several vouchers stand one behind the other. Who trusts the first key can so come to trust the
 * last; who trusts a later one begins there.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include "ledger/evidence.h"

static const char magic[] = "gvm-key-change@v1";
enum { TEXT_LINES = 4, MAX_VOUCHER = 4096 };

/* ---- making ---- */

static int sign_text(const uint8_t seed[32], struct gvm_str text, uint8_t ret[64])
{
    size_t n = 64;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = key && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(ctx, ret, &n, (const uint8_t *)text.p, text.n) == 1 && n == 64;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok ? 0 : -EIO;
}

static int write_voucher(const uint8_t old_seed[32], const struct gvm_vkey *from,
                         const struct gvm_vkey *to, struct gvm_buf *out)
{
    uint8_t blob[4 + 64];
    char b64[GVM_B64_LEN(sizeof blob) + 1];
    size_t at = out->len;
    gvm_buf_addf(out, "%s\n%s\n", magic, from->name);
    (void)!gvm_vkey_text(from, out);
    gvm_buf_addc(out, '\n');
    (void)!gvm_vkey_text(to, out);
    if (gvm_buf_addc(out, '\n') < 0)
        return -ENOMEM;
    memcpy(blob, from->id, 4);
    int r = sign_text(
        old_seed, (struct gvm_str){(const char *)gvm_buf_data(out) + at, out->len - at}, blob + 4);
    gvm_b64(b64, blob, sizeof blob);
    gvm_buf_addf(out, "\n\u2014 %s %s\n", from->name, b64);
    return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

int gvm_voucher_make(const uint8_t old_seed[32], const uint8_t new_seed[32], const char *origin,
                     struct gvm_buf *out, struct gvm_err *err)
{
    struct gvm_vkey from, to;
    int r = gvm_vkey_from_seed(old_seed, origin, &from, err);
    if (!r)
        r = gvm_vkey_from_seed(new_seed, origin, &to, err);
    if (r < 0)
        return r;
    r = write_voucher(old_seed, &from, &to, out);
    return r < 0 ? gvm_err_set(err, -r, "cannot sign for the new key") : 0;
}

/* ---- following ---- */

static bool same_key(const struct gvm_vkey *a, const struct gvm_vkey *b)
{
    return strcmp(a->name, b->name) == 0 && memcmp(a->key, b->key, sizeof a->key) == 0;
}

/* The keys a voucher names; the signature is not looked at. */
static bool read_voucher(struct gvm_str text, struct gvm_vkey *ret_from, struct gvm_vkey *ret_to)
{
    struct gvm_str first, origin, from, to;
    return gvm_str_cut(&text, '\n', &first) && gvm_str_cut(&text, '\n', &origin) &&
           gvm_str_cut(&text, '\n', &from) && gvm_str_cut(&text, '\n', &to) &&
           gvm_str_eqz(first, magic) && gvm_vkey_parse(from, ret_from, NULL) == 0 &&
           gvm_vkey_parse(to, ret_to, NULL) == 0 && gvm_str_eqz(origin, ret_from->name) &&
           strcmp(ret_from->name, ret_to->name) == 0 && !same_key(ret_from, ret_to);
}

int gvm_voucher_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_vkey *ret,
                     struct gvm_err *err)
{
    struct gvm_vkey from, to;
    struct gvm_str text;
    int r = gvm_note_open(note, key, &text, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "a change of key");
    if (!read_voucher(text, &from, &to) || !same_key(&from, key))
        return gvm_err_set(err, EBADMSG, "a change of key is malformed");
    *ret = to;
    return 0;
}

/* Cuts one voucher off the front: text, empty line, one signature. */
static bool next_voucher(struct gvm_str *rest, struct gvm_str *ret)
{
    struct gvm_str line, from = *rest;
    for (unsigned i = 0; i < TEXT_LINES + 2; i++)
        if (!gvm_str_cut(rest, '\n', &line) || (i == TEXT_LINES) != (line.n == 0))
            return false;
    *ret = (struct gvm_str){from.p, from.n - rest->n};
    return ret->n <= MAX_VOUCHER;
}

static bool known(const struct gvm_keychain *c, const struct gvm_vkey *key)
{
    for (unsigned i = 0; i < c->n; i++)
        if (same_key(&c->key[i], key))
            return true;
    return false;
}

static int follow_one(struct gvm_keychain *c, struct gvm_str note, struct gvm_err *err)
{
    struct gvm_vkey from, to;
    if (!read_voucher(note, &from, &to))
        return gvm_err_set(err, EBADMSG, "a change of key is malformed");
    if (!same_key(&from, &c->key[c->n - 1]))
        return c->n == 1
                   ? 0 /* from before the key that is trusted */
                   : gvm_err_set(err, EBADMSG, "the changes of key do not follow one another");
    int r = gvm_voucher_open(note, &from, &to, err);
    if (r < 0)
        return r;
    if (known(c, &to) || c->n == GVM_MAX_KEYS)
        return gvm_err_set(err, EBADMSG, "a change of key leads back, or there are more than %u",
                           GVM_MAX_KEYS);
    c->key[c->n++] = to;
    return 0;
}

int gvm_keychain_follow(const struct gvm_vkey *first, struct gvm_str vouchers,
                        struct gvm_keychain *ret, struct gvm_err *err)
{
    struct gvm_str note;
    ret->key[0] = *first;
    ret->n = 1;
    while (vouchers.n) {
        if (!next_voucher(&vouchers, &note))
            return gvm_err_set(err, EBADMSG, "a change of key is malformed");
        int r = follow_one(ret, note, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int gvm_keychain_open(struct gvm_str note, const struct gvm_keychain *keys,
                      struct gvm_checkpoint *ret, unsigned *ret_by, struct gvm_err *err)
{
    int r = -EKEYREJECTED;
    for (unsigned i = keys->n; r == -EKEYREJECTED && i-- > 0;) {
        struct gvm_err why = {0};
        r = gvm_checkpoint_open(note, &keys->key[i], ret, &why);
        if (r < 0 && err && (i == keys->n - 1 || r != -EKEYREJECTED))
            *err = why;
        if (!r && ret_by)
            *ret_by = i;
    }
    return r;
}
