/* vault.c - scrypt and AES-256-GCM by OpenSSL; parameters are read from the text, within bounds. */
#include "core/vault.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include "core/encode.h"

enum { SALT = 16, NONCE = 12, TAG = 16, KEY = 32 };
enum { LOG_N = 16, LOG_N_MAX = 18, R = 8, R_MAX = 8, P = 1, P_MAX = 1 }; /* at most 256 MiB */
#define MEMORY_MAX (512ull << 20)

static const char magic[] = "gvm-vault@v1 ";

struct parsed {
    struct gvm_str head; /* authenticated: magic and parameters */
    uint64_t log_n, r, p;
    uint8_t salt[SALT], nonce[NONCE];
    uint8_t body[GVM_VAULT_SECRET + TAG];
    size_t n;
};

bool gvm_vault_looks(struct gvm_str text)
{
    return gvm_str_starts(text, GVM_STR(magic));
}

static int derive(struct gvm_str pass, const struct parsed *v, uint8_t ret[KEY])
{
    return EVP_PBE_scrypt(pass.p ? pass.p : "", pass.n, v->salt, SALT, 1ull << v->log_n, v->r, v->p,
                          MEMORY_MAX, ret, KEY) == 1
               ? 0
               : -ENOMEM;
}

static int encrypt(EVP_CIPHER_CTX *ctx, const uint8_t *key, struct gvm_str secret, struct parsed *v)
{
    int n = 0;
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, v->nonce) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)v->head.p, (int)v->head.n) != 1 ||
        EVP_EncryptUpdate(ctx, v->body, &n, (const uint8_t *)secret.p, (int)secret.n) != 1 ||
        EVP_EncryptFinal_ex(ctx, v->body + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, v->body + secret.n) != 1)
        return -EIO;
    v->n = secret.n + TAG;
    return 0;
}

static int decrypt(EVP_CIPHER_CTX *ctx, const uint8_t *key, struct parsed *v, uint8_t *out)
{
    int n = 0;
    size_t len = v->n - TAG;
    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, v->nonce) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)v->head.p, (int)v->head.n) != 1 ||
        EVP_DecryptUpdate(ctx, out, &n, v->body, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, v->body + len) != 1 ||
        EVP_DecryptFinal_ex(ctx, out + n, &n) != 1)
        return -EBADMSG;
    return 0;
}

static void put(struct gvm_buf *out, const uint8_t *p, size_t n, char end)
{
    char b64[GVM_B64_LEN(GVM_VAULT_SECRET + TAG) + 1];
    gvm_b64(b64, p, n);
    (void)gvm_buf_addz(out, b64);
    (void)gvm_buf_addc(out, end);
}

int gvm_vault_seal(struct gvm_str passphrase, struct gvm_str secret, struct gvm_buf *out,
                   struct gvm_err *err)
{
    struct parsed v = {.log_n = LOG_N, .r = R, .p = P};
    char head[64];
    uint8_t key[KEY];
    if (secret.n > GVM_VAULT_SECRET || !passphrase.n)
        return gvm_err_set(err, EINVAL, "an empty passphrase, or a secret that is too long");
    int n = snprintf(head, sizeof head, "%s%d %d %d ", magic, LOG_N, R, P);
    v.head = (struct gvm_str){head, (size_t)n};
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && RAND_bytes(v.salt, SALT) == 1 && RAND_bytes(v.nonce, NONCE) == 1 &&
              derive(passphrase, &v, key) == 0 && encrypt(ctx, key, secret, &v) == 0;
    EVP_CIPHER_CTX_free(ctx);
    explicit_bzero(key, sizeof key);
    if (!ok)
        return gvm_err_set(err, ENOMEM, "cannot encrypt the secret");
    (void)gvm_buf_adds(out, v.head);
    put(out, v.salt, SALT, ' ');
    put(out, v.nonce, NONCE, ' ');
    put(out, v.body, v.n, '\n');
    return out->failed ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

static bool number(struct gvm_str *rest, uint64_t max, uint64_t *ret)
{
    struct gvm_str word;
    return gvm_str_cut(rest, ' ', &word) && gvm_parse_u64(word, max, ret) == 0 && *ret > 0;
}

static bool parse(struct gvm_str text, struct parsed *v)
{
    struct gvm_str word, rest = text;
    size_t n;
    if (text.n > GVM_VAULT_TEXT || !gvm_vault_looks(text) || !gvm_str_cut(&rest, ' ', &word) ||
        !number(&rest, LOG_N_MAX, &v->log_n) || !number(&rest, R_MAX, &v->r) ||
        !number(&rest, P_MAX, &v->p))
        return false;
    v->head = (struct gvm_str){text.p, text.n - rest.n};
    return gvm_str_cut(&rest, ' ', &word) && gvm_unb64(v->salt, SALT, word, &n) == 0 && n == SALT &&
           gvm_str_cut(&rest, ' ', &word) && gvm_unb64(v->nonce, NONCE, word, &n) == 0 &&
           n == NONCE && gvm_str_cut(&rest, '\n', &word) && !rest.n &&
           gvm_unb64(v->body, sizeof v->body, word, &v->n) == 0 && v->n >= TAG;
}

int gvm_vault_open(struct gvm_str passphrase, struct gvm_str text, struct gvm_buf *out,
                   struct gvm_err *err)
{
    struct parsed v = {0};
    uint8_t key[KEY];
    if (!parse(text, &v))
        return gvm_err_set(err, EBADMSG, "not a secret under a passphrase (gvm-vault@v1)");
    uint8_t *room = gvm_buf_space(out, v.n);
    EVP_CIPHER_CTX *ctx = room ? EVP_CIPHER_CTX_new() : NULL;
    int r = ctx ? derive(passphrase, &v, key) : -ENOMEM;
    if (!r)
        r = decrypt(ctx, key, &v, room);
    EVP_CIPHER_CTX_free(ctx);
    explicit_bzero(key, sizeof key);
    if (r < 0) {
        if (room)
            explicit_bzero(room, v.n);
        return r == -EBADMSG
                   ? gvm_err_set(err, EBADMSG, "another passphrase, or the file was changed")
                   : gvm_err_set(err, ENOMEM, "cannot derive the key");
    }
    gvm_buf_grew(out, v.n - TAG);
    return 0;
}
