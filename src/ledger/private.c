/* private.c - splitting a line at its seam, and the commitment to what follows (private.h). */
#include "ledger/private.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char MARK[] = ",\"private\":\"", SALT[] = "\",\"salt\":\"";
enum { COMMIT_CHARS = GVM_B64_LEN(PRIVATE_HASH), SALT_CHARS = GVM_B64_LEN(PRIVATE_SALT) };

/* ---- the seam ---- */

bool private_seam(struct gvm_str line, struct private_seam *ret)
{
    const size_t mark = sizeof MARK - 1, salt = sizeof SALT - 1;
    if (!private_claims(line))
        return false;
    const char *at = memmem(line.p, line.n, MARK, mark);
    if (!at)
        return false;
    struct gvm_str s = {at + mark, line.n - (size_t)(at + mark - line.p)};
    if (s.n < COMMIT_CHARS + salt + SALT_CHARS + 2 || memcmp(s.p + COMMIT_CHARS, SALT, salt) != 0 ||
        s.p[COMMIT_CHARS + salt + SALT_CHARS] != '"' || s.p[s.n - 1] != '}' ||
        memchr(s.p, '"', COMMIT_CHARS))
        return false;
    size_t rest = COMMIT_CHARS + salt + SALT_CHARS + 1;
    *ret = (struct private_seam){
        .head = {line.p, (size_t)(s.p + COMMIT_CHARS + 1 - line.p)},
        .commit = {s.p, COMMIT_CHARS},
        .salt = {s.p + COMMIT_CHARS + salt, SALT_CHARS},
        .rest = {s.p + rest, s.n - rest},
    };
    return true;
}

/* Offset behind the string that opens at s.p[i]; 0 when it does not end. */
static size_t skip_string(struct gvm_str s, size_t i)
{
    const char *from = s.p + ++i, *quote = i < s.n ? memchr(from, '"', s.n - i) : NULL;
    if (!quote)
        return 0;
    if (!memchr(from, '\\', (size_t)(quote - from)))
        return (size_t)(quote - s.p) + 1;
    for (; i < s.n; i++) {
        if (s.p[i] == '"')
            return i + 1;
        i += s.p[i] == '\\';
    }
    return 0;
}

/* Offset behind the value that begins at s.p[i]: where a ',' or '}' of the outer object stands. 0
 * when it does not end or is empty. Only as much of JSON as is needed to find the end. */
static size_t skip_value(struct gvm_str s, size_t i)
{
    size_t from = i;
    unsigned depth = 0;
    while (i < s.n) {
        char c = s.p[i];
        if (c == '"') {
            i = skip_string(s, i);
            if (!i)
                return 0;
            continue;
        }
        if (!depth && (c == ',' || c == '}'))
            return i > from ? i : 0;
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']') {
            if (!depth)
                return 0;
            depth--;
        }
        i++;
    }
    return 0;
}

static bool known(const struct private_member *m, unsigned n, struct gvm_str name)
{
    for (unsigned i = 0; i < n; i++)
        if (gvm_str_eq(m[i].name, name))
            return true;
    return false;
}

bool private_members(struct gvm_str rest, struct private_member *ret, unsigned *ret_n)
{
    unsigned n = 0;
    size_t i = 0;
    while (i + 2 < rest.n && rest.p[i] == ',' && rest.p[i + 1] == '"' && n < PRIVATE_MAX) {
        size_t name = i + 2, end = skip_string(rest, i + 1);
        if (!end || end >= rest.n || rest.p[end] != ':' || end - 1 == name ||
            end - 1 - name > PRIVATE_NAME)
            return false;
        struct private_member m = {.name = {rest.p + name, end - 1 - name}};
        i = skip_value(rest, end + 1);
        if (!i || known(ret, n, m.name))
            return false;
        m.value = (struct gvm_str){rest.p + end + 1, i - end - 1};
        ret[n++] = m;
    }
    *ret_n = n;
    return i + 1 == rest.n && rest.p[i] == '}';
}

/* ---- hashes ---- */

struct piece {
    const void *p;
    size_t n;
};

/* A call for each piece costs more than copying short ones together. */
static void digest(EVP_MD_CTX *md, const struct piece *pieces, size_t n, uint8_t ret[PRIVATE_HASH])
{
    uint8_t all[512];
    size_t have = 0;
    bool ok = EVP_DigestInit_ex2(md, NULL, NULL) == 1;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n > sizeof all - have) {
            ok = ok && EVP_DigestUpdate(md, all, have) == 1;
            have = 0;
        }
        if (pieces[i].n > sizeof all) {
            ok = ok && EVP_DigestUpdate(md, pieces[i].p, pieces[i].n) == 1;
        } else {
            memcpy(all + have, pieces[i].p, pieces[i].n);
            have += pieces[i].n;
        }
    }
    ok = ok && EVP_DigestUpdate(md, all, have) == 1;
    if (!ok || EVP_DigestFinal_ex(md, ret, NULL) != 1)
        abort(); /* as for leaves: a wrong hash must not get anywhere */
}

void private_salt(EVP_MD_CTX *md, const uint8_t salt[PRIVATE_SALT], unsigned i,
                  uint8_t ret[PRIVATE_SALT])
{
    uint8_t in[1 + PRIVATE_SALT + 1] = {0x02}, out[PRIVATE_HASH];
    memcpy(in + 1, salt, PRIVATE_SALT);
    in[1 + PRIVATE_SALT] = (uint8_t)i;
    digest(md, &(struct piece){in, sizeof in}, 1, out);
    memcpy(ret, out, PRIVATE_SALT);
}

void private_hash(EVP_MD_CTX *md, const uint8_t salt[PRIVATE_SALT], struct gvm_str value,
                  uint8_t ret[PRIVATE_HASH])
{
    uint8_t in[1 + PRIVATE_SALT] = {0x03};
    memcpy(in + 1, salt, PRIVATE_SALT);
    digest(md, (struct piece[]){{in, sizeof in}, {value.p, value.n}}, 2, ret);
}

void private_commit(EVP_MD_CTX *md, const struct private_member *m, unsigned n,
                    uint8_t ret[PRIVATE_HASH])
{
    static const uint8_t domain = 0x04;
    struct piece pieces[1 + 3 * PRIVATE_MAX] = {{&domain, 1}};
    uint8_t lengths[PRIVATE_MAX][2];
    size_t k = 1;
    for (unsigned i = 0; i < n; i++) {
        gvm_put16(lengths[i], (uint16_t)m[i].name.n);
        pieces[k++] = (struct piece){lengths[i], 2};
        pieces[k++] = (struct piece){m[i].name.p, m[i].name.n};
        pieces[k++] = (struct piece){m[i].hash, PRIVATE_HASH};
    }
    digest(md, pieces, k, ret);
}

static void hash_members(EVP_MD_CTX *md, const uint8_t salt[PRIVATE_SALT], struct private_member *m,
                         unsigned n, uint8_t ret[PRIVATE_HASH])
{
    for (unsigned i = 0; i < n; i++) {
        private_salt(md, salt, i, m[i].salt);
        private_hash(md, m[i].salt, m[i].value, m[i].hash);
    }
    private_commit(md, m, n, ret);
}

bool private_open(EVP_MD_CTX *md, const struct private_seam *s, struct private_member *ret,
                  unsigned *ret_n)
{
    uint8_t salt[PRIVATE_SALT], commit[PRIVATE_HASH];
    char text[COMMIT_CHARS + 1];
    size_t n;
    if (gvm_unb64(salt, sizeof salt, s->salt, &n) < 0 || n != sizeof salt ||
        !private_members(s->rest, ret, ret_n))
        return false;
    hash_members(md, salt, ret, *ret_n, commit);
    gvm_b64(text, commit, sizeof commit); /* a hash has one text only */
    return gvm_str_eq(s->commit, (struct gvm_str){text, COMMIT_CHARS});
}

/* ---- the writer's side ---- */

int private_seal(EVP_MD_CTX *md, char *line, size_t n)
{
    struct private_seam s;
    struct private_member m[PRIVATE_MAX];
    uint8_t salt[PRIVATE_SALT], commit[PRIVATE_HASH];
    char text[COMMIT_CHARS + 1];
    unsigned count;
    if (!private_seam((struct gvm_str){line, n}, &s) || !private_members(s.rest, m, &count))
        return -EINVAL;
    if (getrandom(salt, sizeof salt, 0) != sizeof salt)
        return -EIO;
    hash_members(md, salt, m, count, commit);
    gvm_b64(text, commit, sizeof commit);
    memcpy(line + (s.commit.p - line), text, COMMIT_CHARS);
    gvm_b64(text, salt, sizeof salt);
    memcpy(line + (s.salt.p - line), text, SALT_CHARS);
    return 0;
}
