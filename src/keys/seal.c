/* seal.c - a run's CA, encrypted for the launcher to keep.
 *
 *   sealed = nonce (12) || ciphertext || tag (16),  AES-256-GCM, associated data = run id
 *
 * The nonce is random; one key seals far fewer than 2^32 blobs in its life (NIST SP 800-38D 8.3).
 */
#include <errno.h>
#include <openssl/rand.h>
#include "keys/keys_int.h"

enum { NONCE = 12, TAG = 16, MAX_BLOB = 16384 };

static int seal_into(EVP_CIPHER_CTX *ctx, const uint8_t *key, const char *run, struct gvm_str plain,
                     uint8_t *out)
{
    int n = 0;
    if (RAND_bytes(out, NONCE) != 1 ||
        EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, out) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)run, (int)strlen(run)) != 1 ||
        EVP_EncryptUpdate(ctx, out + NONCE, &n, (const uint8_t *)plain.p, (int)plain.n) != 1 ||
        EVP_EncryptFinal_ex(ctx, out + NONCE + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + plain.n) != 1)
        return -EIO;
    return 0;
}

int keys_seal(const uint8_t key[KEYS_SEED], const char *run, struct gvm_str plain,
              struct gvm_buf *out, struct gvm_err *err)
{
    uint8_t *room = plain.n <= MAX_BLOB ? gvm_buf_space(out, plain.n + NONCE + TAG) : NULL;
    EVP_CIPHER_CTX *ctx = room ? EVP_CIPHER_CTX_new() : NULL;
    int r = ctx ? seal_into(ctx, key, run, plain, room) : -ENOMEM;
    EVP_CIPHER_CTX_free(ctx);
    if (r < 0)
        return gvm_err_set(err, -r, "cannot seal the CA of run %s", run);
    gvm_buf_grew(out, plain.n + NONCE + TAG);
    return 0;
}

static int unseal_into(EVP_CIPHER_CTX *ctx, const uint8_t *key, const char *run,
                       struct gvm_str sealed, uint8_t *out)
{
    int n = 0;
    uint8_t tag[TAG];
    size_t body = sealed.n - NONCE - TAG;
    const uint8_t *p = (const uint8_t *)sealed.p;
    memcpy(tag, p + NONCE + body, TAG);
    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, p) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)run, (int)strlen(run)) != 1 ||
        EVP_DecryptUpdate(ctx, out, &n, p + NONCE, (int)body) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) != 1 ||
        EVP_DecryptFinal_ex(ctx, out + n, &n) != 1)
        return -EBADMSG;
    return 0;
}

int keys_unseal(const uint8_t key[KEYS_SEED], const char *run, struct gvm_str sealed,
                struct gvm_buf *out, struct gvm_err *err)
{
    if (sealed.n < NONCE + TAG || sealed.n > MAX_BLOB + NONCE + TAG)
        return gvm_err_set(err, EBADMSG, "the sealed CA of run %s is broken", run);
    uint8_t *room = gvm_buf_space(out, sealed.n);
    EVP_CIPHER_CTX *ctx = room ? EVP_CIPHER_CTX_new() : NULL;
    int r = ctx ? unseal_into(ctx, key, run, sealed, room) : -ENOMEM;
    EVP_CIPHER_CTX_free(ctx);
    if (r < 0) {
        if (room)
            explicit_bzero(room, sealed.n);
        return gvm_err_set(err, -r, "the sealed CA of run %s was not made here for this run", run);
    }
    gvm_buf_grew(out, sealed.n - NONCE - TAG);
    return 0;
}
