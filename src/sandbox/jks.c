/* A Java key store with trusted certificates only, in the JKS format every Java reads.
 *
 *   u32 0xFEEDFEED, u32 version 2, u32 number of entries, then per certificate
 *   u32 2 (trusted certificate), UTF alias, u64 milliseconds since 1970, UTF "X.509", u32 length,
 * DER and last SHA-1 over: password in UTF-16BE, "Mighty Aphrodite", all bytes before. UTF is a u16
 * length and that many bytes. The password is Java's usual "changeit".
 *
 * The certificates come out of a PEM bundle; their DER is not looked into.
 */
/* SHA1_Update() and not EVP: loading OpenSSL's providers takes longer than all the rest, and
 * nothing depends on the strength of this sum. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD 12 /* magic, version, number of entries */

struct sandbox_jks {
    struct gvm_buf out;
    uint32_t count;
    SHA_CTX digest; /* over all but the last certificate, which comes when every moment counts */
    size_t digested;
};

static void put32(struct gvm_buf *b, uint32_t v)
{
    uint8_t p[4];
    gvm_put32(p, v);
    gvm_buf_add(b, p, 4);
}

static void put_utf(struct gvm_buf *b, const char *z)
{
    uint8_t p[2];
    gvm_put16(p, (uint16_t)strlen(z));
    gvm_buf_add(b, p, 2);
    gvm_buf_addz(b, z);
}

static void put_entry(struct sandbox_jks *j, const uint8_t *der, uint32_t n)
{
    char alias[32];
    snprintf(alias, sizeof(alias), "ca-%u", ++j->count);
    put32(&j->out, 2);
    put_utf(&j->out, alias);
    put32(&j->out, 0);
    put32(&j->out, 0);
    put_utf(&j->out, "X.509");
    put32(&j->out, n);
    gvm_buf_add(&j->out, der, n);
}

/* Text between the markers of the next certificate; false when there is none. */
static bool next_cert(struct gvm_str *pem, struct gvm_str *ret_body)
{
    static const char head[] = "-----BEGIN CERTIFICATE-----", tail[] = "-----END CERTIFICATE-----";
    const char *p = pem->n ? memmem(pem->p, pem->n, head, sizeof(head) - 1) : NULL;
    if (!p)
        return false;
    p += sizeof(head) - 1;
    size_t left = pem->n - (size_t)(p - pem->p);
    const char *q = memmem(p, left, tail, sizeof(tail) - 1);
    if (!q)
        return false;
    *ret_body = (struct gvm_str){p, (size_t)(q - p)};
    pem->n = left - (size_t)(q - p);
    pem->p = q;
    return true;
}

static int add_all(struct sandbox_jks *j, struct gvm_str pem)
{
    EVP_ENCODE_CTX *c = EVP_ENCODE_CTX_new();
    struct gvm_str body;
    uint8_t der[16384];
    while (c && next_cert(&pem, &body)) {
        int n = 0, more = 0;
        if (body.n / 4 * 3 + 64 > sizeof(der))
            continue;
        EVP_DecodeInit(c);
        if (EVP_DecodeUpdate(c, der, &n, (const unsigned char *)body.p, (int)body.n) >= 0 &&
            EVP_DecodeFinal(c, der + n, &more) > 0 && n > 0)
            put_entry(j, der, (uint32_t)(n + more));
    }
    EVP_ENCODE_CTX_free(c);
    return c && !j->out.failed ? 0 : -ENOMEM;
}

/* The number of entries stands in front, so the one that is to come is counted in advance. */
static bool digest_so_far(struct sandbox_jks *j)
{
    static const char password[] = "\0c\0h\0a\0n\0g\0e\0i\0t";
    static const char salt[] = "Mighty Aphrodite";
    uint8_t *head = gvm_buf_data(&j->out);
    if (!head)
        return false;
    gvm_put32(head + 8, j->count + 1);
    j->digested = j->out.len;
    return SHA1_Init(&j->digest) && SHA1_Update(&j->digest, password, sizeof(password) - 1) &&
           SHA1_Update(&j->digest, salt, sizeof(salt) - 1) &&
           SHA1_Update(&j->digest, head, j->out.len);
}

struct sandbox_jks *sandbox_jks_new(struct gvm_str bundle_pem)
{
    struct sandbox_jks *j = gvm_calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    gvm_buf_init(&j->out, SANDBOX_MAX_BUNDLE);
    put32(&j->out, 0xFEEDFEED);
    put32(&j->out, 2);
    put32(&j->out, 0);
    if (add_all(j, bundle_pem) < 0 || !digest_so_far(j)) {
        sandbox_jks_free(j);
        return NULL;
    }
    return j;
}

struct gvm_str sandbox_jks_text(const struct sandbox_jks *j)
{
    return (struct gvm_str){(const char *)gvm_buf_data(&j->out), j->digested};
}

struct sandbox_jks *sandbox_jks_again(struct gvm_buf *text)
{
    const uint8_t *head = gvm_buf_data(text);
    if (text->len < HEAD || gvm_get32(head) != 0xFEEDFEED || gvm_get32(head + 8) == 0)
        return NULL;
    struct sandbox_jks *j = gvm_calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    j->count = gvm_get32(head + 8) - 1;
    j->out = *text;
    gvm_buf_init(text, text->max);
    if (!digest_so_far(j)) {
        sandbox_jks_free(j);
        return NULL;
    }
    return j;
}

int sandbox_jks_finish(struct sandbox_jks *j, struct gvm_str ca_pem, struct gvm_str *ret_file)
{
    uint8_t sum[SHA_DIGEST_LENGTH];
    uint32_t before = j->count;
    int r = add_all(j, ca_pem);
    const uint8_t *data = gvm_buf_data(&j->out);
    if (r < 0 || !data)
        return r < 0 ? r : -ENOMEM;
    if (j->count != before + 1)
        return -EINVAL;
    if (!SHA1_Update(&j->digest, data + j->digested, j->out.len - j->digested) ||
        !SHA1_Final(sum, &j->digest) || gvm_buf_add(&j->out, sum, sizeof(sum)) < 0)
        return -ENOMEM;
    *ret_file = gvm_buf_str(&j->out);
    return 0;
}

void sandbox_jks_free(struct sandbox_jks *j)
{
    if (!j)
        return;
    gvm_buf_done(&j->out);
    free(j);
}
