/* sign.c - heads of the log, signed as C2SP checkpoints.
 *
 *   text      origin "\n" size "\n" base64(root) "\n"
 *   key id    first 4 bytes of SHA-256(origin "\n" 0x01 public key)
 *   verifier  origin "+" hex(key id) "+" base64(0x01 public key)
 *
 * The last signed head is kept in keys/signed-head, so that a process that is started anew signs
 * nothing that contradicts what its predecessor signed: 8 bytes size, big-endian; 32 bytes root;
 * SHA-256 of these
 * 40. It is written before the signature goes out. Not synced: the log makes its entries durable
 * before it asks, and shows its own last head at the start.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <unistd.h>
#include "keys/keys_int.h"

enum { HEAD = 40, HEAD_FILE = HEAD + SHA256_DIGEST_LENGTH };

static const uint8_t ALG_ED25519 = 1;

static int find_key_id(struct keys_signer *s)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct gvm_buf text;
    gvm_buf_init(&text, 512);
    (void)gvm_buf_addz(&text, s->origin);
    (void)gvm_buf_addc(&text, '\n');
    (void)gvm_buf_add(&text, &ALG_ED25519, 1);
    (void)gvm_buf_add(&text, s->public_key, sizeof s->public_key);
    bool ok = !text.failed && SHA256(gvm_buf_data(&text), text.len, digest) != NULL;
    gvm_buf_done(&text);
    if (!ok)
        return -ENOMEM;
    memcpy(s->key_id, digest, sizeof s->key_id);
    return 0;
}

int keys_signer_init(struct keys_signer *s, const uint8_t seed[KEYS_SEED], const char *origin,
                     struct gvm_err *err)
{
    size_t n = sizeof s->public_key;
    *s = (struct keys_signer){.head_fd = -1};
    if (!*origin || gvm_str_find(gvm_str(origin), '+') >= 0 || strpbrk(origin, " \t\r\n") ||
        gvm_str_copy(s->origin, sizeof s->origin, gvm_str(origin)) < 0)
        return gvm_err_set(err, EINVAL, "the log's name is empty, too long, or has a space or '+'");
    s->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, KEYS_SEED);
    if (!s->key || EVP_PKEY_get_raw_public_key(s->key, s->public_key, &n) != 1 ||
        find_key_id(s) < 0) {
        keys_signer_done(s);
        return gvm_err_set(err, ENOMEM, "cannot set up the log's signing key");
    }
    return 0;
}

void keys_signer_done(struct keys_signer *s)
{
    EVP_PKEY_free(s->key);
    s->key = NULL;
    if (s->head_fd > 0) /* 0 is what an unset signer has */
        gvm_close(&s->head_fd);
}

/* ---- what was signed ---- */

static void put_head(const struct gvm_m_sign *head, uint8_t out[HEAD_FILE])
{
    for (unsigned i = 0; i < 8; i++)
        out[i] = (uint8_t)(head->size >> (56 - 8 * i));
    memcpy(out + 8, head->root, sizeof head->root);
    (void)SHA256(out, HEAD, out + HEAD);
}

static int store(const struct keys_signer *s, const struct gvm_m_sign *head)
{
    uint8_t bytes[HEAD_FILE];
    if (s->head_fd < 0)
        return 0;
    put_head(head, bytes);
    return lseek(s->head_fd, 0, SEEK_SET) < 0 ? -errno
                                              : gvm_write_all(s->head_fd, bytes, sizeof bytes);
}

int keys_signer_remember(struct keys_signer *s, int fd, struct gvm_err *err)
{
    uint8_t bytes[HEAD_FILE + 1], good[HEAD_FILE];
    static const uint8_t zeros[HEAD_FILE];
    struct gvm_m_sign head = {0};
    ssize_t n = lseek(fd, 0, SEEK_SET) < 0 ? -1 : read(fd, bytes, sizeof bytes);
    if (n < 0)
        return gvm_err_sys(err, errno, "cannot read signed-head");
    /* Zeros are what a power cut makes of a new file. */
    if (n != 0 && !(n <= HEAD_FILE && memcmp(bytes, zeros, (size_t)n) == 0)) {
        for (unsigned i = 0; i < 8; i++)
            head.size = head.size << 8 | bytes[i];
        memcpy(head.root, bytes + 8, sizeof head.root);
        put_head(&head, good);
        if (n != HEAD_FILE || memcmp(good, bytes, HEAD_FILE) != 0)
            return gvm_err_set(err, EBADMSG,
                               "keys/signed-head is damaged: what was signed is not known; run "
                               "gvm audit verify, then remove the file");
        s->signed_before = true;
        s->last = head;
    }
    s->head_fd = fd;
    return 0;
}

int keys_signer_known(struct keys_signer *s, const struct gvm_m_sign *head, struct gvm_err *err)
{
    if (s->signed_before && head->size == s->last.size &&
        memcmp(head->root, s->last.root, sizeof head->root) != 0)
        return gvm_err_set(
            err, EPERM, "the head in the log is not the one of %" PRIu64 " entries that was signed",
            head->size);
    if (s->signed_before && head->size <= s->last.size)
        return 0;
    s->signed_before = true;
    s->last = *head;
    return 0;
}

static int check_order(const struct keys_signer *s, const struct gvm_m_sign *head,
                       struct gvm_err *err)
{
    if (!s->signed_before)
        return 0;
    if (head->size < s->last.size)
        return gvm_err_set(
            err, EPERM,
            "asked to sign a head of %" PRIu64 " entries after one of %" PRIu64
            ": this key signed a longer log; restore it, or begin a new one under a new key "
            "(move keys aside too)",
            head->size, s->last.size);
    if (head->size == s->last.size && memcmp(head->root, s->last.root, sizeof head->root) != 0)
        return gvm_err_set(err, EPERM, "asked to sign two different heads of %" PRIu64 " entries",
                           head->size);
    return 0;
}

static int sign_text(struct keys_signer *s, struct gvm_str text, uint8_t out[64])
{
    size_t n = 64;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, s->key) == 1 &&
              EVP_DigestSign(ctx, out, &n, (const uint8_t *)text.p, text.n) == 1 && n == 64;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

int keys_sign(struct keys_signer *s, const struct gvm_m_sign *head, const uint8_t (*nodes)[32],
              size_t n, struct gvm_m_signed *ret, struct gvm_err *err)
{
    char root[GVM_B64_LEN(sizeof head->root) + 1];
    struct gvm_buf text;
    int r = check_order(s, head, err);
    if (r < 0)
        return r;
    if (s->signed_before && head->size > s->last.size && !keys_extends(&s->last, head, nodes, n))
        return gvm_err_set(err, EPERM,
                           "asked to sign a head of %" PRIu64
                           " entries that does not extend the one of %" PRIu64
                           ": it is of another history",
                           head->size, s->last.size);
    struct gvm_m_signed m = {.size = head->size};
    gvm_b64(root, head->root, sizeof head->root);
    gvm_buf_init(&text, 1024);
    r = gvm_buf_addf(&text, "%s\n%" PRIu64 "\n%s\n", s->origin, head->size, root);
    if (r == 0)
        r = sign_text(s, gvm_buf_str(&text), m.signature);
    gvm_buf_done(&text);
    if (r == 0)
        r = store(s, head);
    if (r < 0)
        return gvm_err_set(err, -r, "cannot sign the head of the log");
    memcpy(m.key_id, s->key_id, sizeof m.key_id);
    s->signed_before = true;
    s->last = *head;
    *ret = m;
    return 0;
}

int keys_verifier_text(const struct keys_signer *s, struct gvm_buf *out)
{
    uint8_t key[1 + sizeof s->public_key];
    char id[2 * sizeof s->key_id + 1];
    char text[GVM_B64_LEN(sizeof key) + 1];
    key[0] = ALG_ED25519;
    memcpy(key + 1, s->public_key, sizeof s->public_key);
    gvm_hex(id, s->key_id, sizeof s->key_id);
    gvm_b64(text, key, sizeof key);
    return gvm_buf_addf(out, "%s+%s+%s", s->origin, id, text);
}

int gvm_keys_verifier(const uint8_t seed[32], const char *origin, struct gvm_buf *out,
                      struct gvm_err *err)
{
    struct keys_signer s;
    int r = keys_signer_init(&s, seed, origin, err);
    if (r < 0)
        return r;
    r = keys_verifier_text(&s, out);
    keys_signer_done(&s);
    return r < 0 ? gvm_err_set(err, -r, "cannot write the verifier key") : 0;
}
