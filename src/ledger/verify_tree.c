/* verify_tree.c - RFC 6962 hashes, tree and inclusion path, computed without the writer's code.
 *
 * The tree is a stack of complete subtrees; two of one height become one of the next.
 */
#include <errno.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include "ledger/private.h"
#include "ledger/verify_int.h"

int vhasher_init(struct vhasher *h, struct gvm_err *err)
{
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->ctx = EVP_MD_CTX_new();
    if (h->md && h->ctx && EVP_DigestInit_ex2(h->ctx, h->md, NULL) == 1)
        return 0;
    vhasher_done(h);
    return gvm_err_set(err, ENOMEM, "cannot set up SHA-256");
}

void vhasher_done(struct vhasher *h)
{
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    *h = (struct vhasher){NULL, NULL};
}

static void sum(struct vhasher *h, const void *p, size_t n, bool prefix, uint8_t ret[VHASH])
{
    static const uint8_t leaf = 0x00;
    if (EVP_DigestInit_ex2(h->ctx, NULL, NULL) != 1 ||
        (prefix && EVP_DigestUpdate(h->ctx, &leaf, 1) != 1) ||
        EVP_DigestUpdate(h->ctx, p, n) != 1 || EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
        abort();
}

void vhash_entry(struct vhasher *h, struct gvm_str entry, uint8_t ret[VHASH])
{
    sum(h, entry.p, entry.n, true, ret);
}

void vhash_leaf(struct vhasher *h, const void *p, size_t n, uint8_t ret[VHASH])
{
    static const uint8_t prefix = 0x00;
    struct private_seam s;
    if (!private_seam((struct gvm_str){p, n}, &s)) {
        sum(h, p, n, true, ret);
        return;
    }
    if (EVP_DigestInit_ex2(h->ctx, NULL, NULL) != 1 || EVP_DigestUpdate(h->ctx, &prefix, 1) != 1 ||
        EVP_DigestUpdate(h->ctx, s.head.p, s.head.n) != 1 ||
        EVP_DigestUpdate(h->ctx, "}", 1) != 1 || EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
        abort();
}

bool vhash_private_ok(struct vhasher *h, struct gvm_str line)
{
    struct private_seam s;
    struct private_member m[PRIVATE_MAX];
    unsigned n;
    if (!private_claims(line))
        return true;
    return private_seam(line, &s) && private_open(h->ctx, &s, m, &n);
}

void vhash_node(struct vhasher *h, const uint8_t l[VHASH], const uint8_t r[VHASH],
                uint8_t ret[VHASH])
{
    struct {
        uint8_t one, l[VHASH], r[VHASH];
    } in = {.one = 0x01};
    memcpy(in.l, l, VHASH);
    memcpy(in.r, r, VHASH);
    sum(h, &in, sizeof in, false, ret);
}

void vhash_bytes(struct vhasher *h, const void *p, size_t n, uint8_t ret[VHASH])
{
    sum(h, p, n, false, ret);
}

int vtree_add(struct vtree *t, const uint8_t leaf[VHASH], struct gvm_err *err)
{
    unsigned d = t->depth++;
    memcpy(t->stack[d].hash, leaf, VHASH);
    t->stack[d].height = 0;
    t->size++;
    for (;;) {
        unsigned height = t->stack[d].height;
        if (height % 8 == 0 && t->complete) {
            int r = t->complete(t->arg, height, t->stack[d].hash, err);
            if (r < 0)
                return r;
        }
        if (d == 0 || t->stack[d - 1].height != height)
            return 0;
        vhash_node(t->h, t->stack[d - 1].hash, t->stack[d].hash, t->stack[d - 1].hash);
        t->stack[--d].height = height + 1;
        t->depth = d + 1;
    }
}

void vtree_root(const struct vtree *t, uint8_t ret[VHASH])
{
    uint8_t acc[VHASH];
    if (!t->depth) {
        vhash_bytes(t->h, "", 0, ret); /* RFC 6962: the hash of nothing */
        return;
    }
    memcpy(acc, t->stack[t->depth - 1].hash, VHASH);
    for (unsigned d = t->depth - 1; d-- > 0;)
        vhash_node(t->h, t->stack[d].hash, acc, acc);
    memcpy(ret, acc, VHASH);
}

bool vproof_root(struct vhasher *h, uint64_t index, uint64_t size, const uint8_t leaf[VHASH],
                 const uint8_t (*path)[VHASH], size_t n, uint8_t ret[VHASH])
{
    if (index >= size)
        return false;
    uint8_t acc[VHASH];
    uint64_t fn = index, sn = size - 1;
    memcpy(acc, leaf, VHASH);
    for (size_t i = 0; i < n; i++) {
        if (sn == 0)
            return false; /* too long */
        if ((fn & 1) || fn == sn) {
            vhash_node(h, path[i], acc, acc);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            vhash_node(h, acc, path[i], acc);
        }
        fn >>= 1;
        sn >>= 1;
    }
    memcpy(ret, acc, VHASH);
    return sn == 0;
}

bool vproof_extends(struct vhasher *h, const struct gvm_checkpoint *old,
                    const struct gvm_checkpoint *now, const uint8_t (*path)[VHASH], size_t n)
{
    uint8_t was[VHASH], is[VHASH], empty[VHASH];
    if (old->size > now->size)
        return false;
    vhash_bytes(h, "", 0, empty);
    if (old->size == 0)
        return n == 0 && memcmp(old->root, empty, VHASH) == 0;
    if (old->size == now->size)
        return n == 0 && memcmp(old->root, now->root, VHASH) == 0;
    bool whole = (old->size & (old->size - 1)) == 0; /* then the old root is the first hash */
    if (!whole && n == 0)
        return false;
    memcpy(was, whole ? old->root : path[0], VHASH);
    memcpy(is, was, VHASH);
    uint64_t fn = old->size - 1, sn = now->size - 1;
    for (; fn & 1; fn >>= 1)
        sn >>= 1;
    for (size_t i = whole ? 0 : 1; i < n; i++) {
        if (sn == 0)
            return false; /* too long */
        if ((fn & 1) || fn == sn) {
            vhash_node(h, path[i], was, was);
            vhash_node(h, path[i], is, is);
            for (; !(fn & 1) && fn; fn >>= 1)
                sn >>= 1;
        } else {
            vhash_node(h, is, path[i], is);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(was, old->root, VHASH) == 0 && memcmp(is, now->root, VHASH) == 0;
}
