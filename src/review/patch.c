/* One change as git writes it, so that `git apply` makes it: texts as hunks, anything else as a
 * binary literal. And the content of a change as git would store it.
 *
 * Git knows files (executable or not) and links. Folders, FIFOs, owners and attributes are not in a
 * patch. A file that becomes a link, or a link that becomes a file, is two entries: one goes, one
 * comes.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BLOB (128u << 20) /* bytes of one file in a patch or commit */

struct blob {
    const char *mode; /* NULL: nothing git would store */
    struct gvm_buf bytes;
    char id[41]; /* SHA-1 as git counts it */
};

static void blob_done(struct blob *b)
{
    gvm_buf_done(&b->bytes);
}

static const char *git_mode(mode_t m)
{
    if (S_ISLNK(m))
        return "120000";
    return !S_ISREG(m) ? NULL : m & 0100 ? "100755" : "100644";
}

/* ---- content ---- */

static int read_blob(int root, struct gvm_str path, struct blob *b)
{
    char leaf[REVIEW_MAX_NAME], target[GVM_PATH_MAX];
    struct stat st;
    GVM_AUTOCLOSE int fd = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(root, path, leaf);
    if (dir < 0)
        return review_is_skip(dir) ? 0 : dir;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    b->mode = git_mode(st.st_mode);
    if (!b->mode)
        return 0;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlinkat(dir, leaf, target, sizeof(target));
        return n < 0 ? -errno : gvm_buf_add(&b->bytes, target, (size_t)n);
    }
    int r = review_open_file(dir, leaf, &fd, &st);
    return r < 0 ? r : gvm_read_fd(fd, &b->bytes);
}

static int read_after(const struct review_run *run, const struct gvm_change *ch, struct blob *b)
{
    if (ch->kind == GVM_CHANGE_DELETED)
        return 0;
    int r = read_blob(run->upper, ch->path, b);
    if (r < 0 || !ch->conflict || ch->kind != GVM_CHANGE_MODIFIED)
        return r;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf both;
    gvm_buf_init(&both, MAX_BLOB);
    if (review_merge_change(run, ch->path, &both) == 0) {
        gvm_buf_reset(&b->bytes);
        r = gvm_buf_adds(&b->bytes, gvm_buf_str(&both));
    }
    return r;
}

int gvm_change_blob(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                    const char **ret_mode, struct gvm_err *err)
{
    struct review_run run;
    GVM_CLEANUP(blob_done) struct blob b = {0};
    gvm_buf_init(&b.bytes, MAX_BLOB);
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    r = run.upper < 0 ? 0 : read_after(&run, ch, &b);
    if (r == 0)
        r = gvm_buf_adds(out, gvm_buf_str(&b.bytes));
    review_close(&run);
    if (r == 0)
        *ret_mode = b.mode;
    return r < 0 ? gvm_err_sys(err, -r, "cannot read the change of '%.300s'", ch->path.p) : 0;
}

static int name_blob(struct blob *b)
{
    char head[32];
    unsigned char sum[20];
    int n = snprintf(head, sizeof(head), "blob %zu", b->bytes.len) + 1;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) &&
                EVP_DigestUpdate(md, head, (size_t)n) &&
                EVP_DigestUpdate(md, gvm_buf_data(&b->bytes), b->bytes.len) &&
                EVP_DigestFinal_ex(md, sum, NULL);
    EVP_MD_CTX_free(md);
    gvm_hex(b->id, sum, sizeof(sum));
    return good ? 0 : -ENOMEM;
}

/* ---- binary literals ---- */

static uint32_t adler32(struct gvm_str s)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < s.n; i++) {
        a = (a + (unsigned char)s.p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* zlib's format (RFC 1950, 1951) without compressing: blocks as they are. */
static void deflate_stored(struct gvm_str s, struct gvm_buf *out)
{
    uint8_t tail[4];
    struct gvm_str rest = s;
    gvm_buf_add(out, "\x78\x01", 2);
    do {
        size_t n = rest.n < 65535 ? rest.n : 65535;
        const uint8_t head[5] = {n == rest.n, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n,
                                 (uint8_t)(~n >> 8)};
        gvm_buf_add(out, head, sizeof(head));
        gvm_buf_add(out, rest.p, n);
        rest.p += n;
        rest.n -= n;
    } while (rest.n);
    gvm_put32(tail, adler32(s));
    gvm_buf_add(out, tail, sizeof(tail));
}

static void put_base85(struct gvm_buf *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "!#$%&()*+-;<=>?@^_`{|}~";
    gvm_buf_addc(out, (char)(n <= 26 ? 'A' + n - 1 : 'a' + n - 27));
    for (size_t i = 0; i < n; i += 4) {
        uint32_t v = 0;
        char five[5];
        for (size_t k = 0; k < 4; k++)
            v = v << 8 | (i + k < n ? p[i + k] : 0);
        for (int k = 4; k >= 0; k--, v /= 85)
            five[k] = digits[v % 85];
        gvm_buf_add(out, five, sizeof(five));
    }
    gvm_buf_addc(out, '\n');
}

static int put_literal(struct gvm_buf *out, struct gvm_str bytes)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf packed;
    gvm_buf_init(&packed, MAX_BLOB + (1u << 20));
    deflate_stored(bytes, &packed);
    if (packed.failed)
        return -ENOBUFS;
    gvm_buf_addf(out, "literal %zu\n", bytes.n);
    for (size_t i = 0; i < packed.len; i += 52)
        put_base85(out, gvm_buf_data(&packed) + i, packed.len - i < 52 ? packed.len - i : 52);
    gvm_buf_addc(out, '\n');
    return 0;
}

/* ---- one entry ---- */

static bool is_text(const struct blob *b)
{
    const uint8_t *p = gvm_buf_data(&b->bytes);
    return !p || !memchr(p, '\0', b->bytes.len < 8192 ? b->bytes.len : 8192);
}

static void put_head(struct gvm_buf *out, struct gvm_str path, const struct blob *a,
                     const struct blob *b)
{
    gvm_buf_addz(out, "diff --git ");
    review_put_name(out, "a/", path);
    gvm_buf_addc(out, ' ');
    review_put_name(out, "b/", path);
    if (!a->mode)
        gvm_buf_addf(out, "\nnew file mode %s\n", b->mode);
    else if (!b->mode)
        gvm_buf_addf(out, "\ndeleted file mode %s\n", a->mode);
    else if (strcmp(a->mode, b->mode) != 0)
        gvm_buf_addf(out, "\nold mode %s\nnew mode %s\n", a->mode, b->mode);
    else
        gvm_buf_addc(out, '\n');
}

static int put_hunks(struct gvm_buf *out, struct gvm_str path, const struct blob *a,
                     const struct blob *b)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf hunks;
    gvm_buf_init(&hunks, 3 * MAX_BLOB);
    int r = is_text(a) && is_text(b)
                ? review_hunks(gvm_buf_str(&a->bytes), gvm_buf_str(&b->bytes), &hunks)
                : 1;
    if (r < 0)
        return r;
    if (r) {
        gvm_buf_addf(out, "index %s..%s%s%s\nGIT binary patch\n", a->id, b->id,
                     a->mode && b->mode ? " " : "", a->mode && b->mode ? b->mode : "");
        return put_literal(out, gvm_buf_str(&b->bytes));
    }
    if (!hunks.len)
        return 0;
    gvm_buf_addz(out, "--- ");
    review_put_name(out, a->mode ? "a/" : NULL, path);
    gvm_buf_addz(out, "\n+++ ");
    review_put_name(out, b->mode ? "b/" : NULL, path);
    gvm_buf_addc(out, '\n');
    return gvm_buf_adds(out, gvm_buf_str(&hunks));
}

static int put_entry(struct gvm_buf *out, struct gvm_str path, struct blob *a, struct blob *b)
{
    static const char none[] = "0000000000000000000000000000000000000000";
    if (!a->mode && !b->mode)
        return 0;
    int r = a->mode ? name_blob(a) : 0;
    if (r == 0 && b->mode)
        r = name_blob(b);
    if (r < 0)
        return r;
    if (!a->mode)
        memcpy(a->id, none, sizeof(none));
    if (!b->mode)
        memcpy(b->id, none, sizeof(none));
    if (a->mode && b->mode && strcmp(a->mode, b->mode) == 0 && strcmp(a->id, b->id) == 0)
        return 0;
    put_head(out, path, a, b);
    r = strcmp(a->id, b->id) == 0 ? 0 : put_hunks(out, path, a, b);
    return r == 0 && out->failed ? -ENOBUFS : r;
}

static int put_patch(const struct review_run *run, const struct gvm_change *ch, struct gvm_buf *out)
{
    GVM_CLEANUP(blob_done) struct blob a = {0};
    GVM_CLEANUP(blob_done) struct blob b = {0};
    GVM_CLEANUP(blob_done) struct blob nothing = {0};
    gvm_buf_init(&a.bytes, MAX_BLOB);
    gvm_buf_init(&b.bytes, MAX_BLOB);
    gvm_buf_init(&nothing.bytes, 1);
    int r = read_blob(run->host, ch->path, &a);
    if (r == 0 && run->upper >= 0)
        r = read_after(run, ch, &b);
    if (r < 0)
        return r;
    bool kinds = a.mode && b.mode && (a.mode[1] == '2') != (b.mode[1] == '2');
    if (!kinds)
        return put_entry(out, ch->path, &a, &b);
    r = put_entry(out, ch->path, &a, &nothing);
    nothing.mode = NULL;
    return r < 0 ? r : put_entry(out, ch->path, &nothing, &b);
}

int gvm_change_patch(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                     struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    r = put_patch(&run, ch, out);
    review_close(&run);
    return r < 0 ? gvm_err_sys(err, -r, "cannot put '%.300s' into a patch", ch->path.p) : 0;
}
