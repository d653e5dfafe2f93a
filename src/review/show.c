/* One change for people (a diff as git writes it) and for the record (SHA-256 before and after). */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_TEXT (4u << 20) /* a larger file is summed up in one line */

/* One side of a change: the owner's file, or the staged one. */
struct side {
    int dir;
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    bool there;
};

static void close_side(struct side *s)
{
    gvm_close(&s->dir);
}

static int open_side(int root, struct gvm_str path, struct side *ret)
{
    struct side s = {.dir = review_open_parent(root, path, s.leaf)};
    if (s.dir == -ENOENT || s.dir == -ENOTDIR || s.dir == -ELOOP) {
        *ret = (struct side){.dir = -1};
        return 0;
    }
    if (s.dir < 0)
        return s.dir;
    s.there = fstatat(s.dir, s.leaf, &s.st, AT_SYMLINK_NOFOLLOW) == 0;
    *ret = s;
    return 0;
}

static int open_sides(const struct review_run *run, const struct gvm_change *ch, struct side *host,
                      struct side *up)
{
    int r = open_side(run->host, ch->path, host);
    if (r == 0 && ch->kind != GVM_CHANGE_DELETED && run->upper >= 0)
        r = open_side(run->upper, ch->path, up);
    return r;
}

static bool is_text(struct gvm_str s)
{
    return memchr(s.p ? s.p : "", '\0', s.n < 8192 ? s.n : 8192) == NULL;
}

/* 1 = *out holds it, 0 = too large or binary. Nothing there, or no plain file, is the empty text.
 */
static int read_text(const struct side *s, struct gvm_buf *out)
{
    if (!s->there || !S_ISREG(s->st.st_mode))
        return 1;
    if (s->st.st_size > (off_t)MAX_TEXT)
        return 0;
    GVM_AUTOCLOSE int fd = -1;
    struct stat st;
    int r = review_open_file(s->dir, s->leaf, &fd, &st);
    if (r == 0)
        r = gvm_read_fd(fd, out);
    if (r == -EFBIG)
        return 0;
    return r < 0 ? r : is_text(gvm_buf_str(out));
}

/* A name as git writes it: plain, or quoted with octal escapes. */
void review_put_name(struct gvm_buf *out, const char *prefix, struct gvm_str path)
{
    bool plain = gvm_utf8_valid(path);
    for (size_t i = 0; plain && i < path.n; i++)
        plain = (unsigned char)path.p[i] >= 0x20 && path.p[i] != 0x7f && path.p[i] != '"' &&
                path.p[i] != '\\';
    if (!prefix) {
        gvm_buf_addz(out, "/dev/null");
        return;
    }
    if (plain) {
        gvm_buf_addz(out, prefix);
        gvm_buf_adds(out, path);
        return;
    }
    gvm_buf_addf(out, "\"%s", prefix);
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c == '"' || c == '\\')
            gvm_buf_addf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            gvm_buf_addf(out, "\\%03o", c);
        else
            gvm_buf_addc(out, (char)c);
    }
    gvm_buf_addc(out, '"');
}

static void put_head(struct gvm_buf *out, const struct gvm_change *ch)
{
    gvm_buf_addz(out, "diff --git ");
    review_put_name(out, "a/", ch->path);
    gvm_buf_addc(out, ' ');
    review_put_name(out, "b/", ch->path);
    gvm_buf_addc(out, '\n');
    if (!ch->host_mode)
        gvm_buf_addf(out, "new file mode %06o\n", ch->mode);
    else if (!ch->mode)
        gvm_buf_addf(out, "deleted file mode %06o\n", ch->host_mode);
    else if (ch->mode != ch->host_mode)
        gvm_buf_addf(out, "old mode %06o\nnew mode %06o\n", ch->host_mode, ch->mode);
}

static const char *kind_name(mode_t m)
{
    return S_ISREG(m)                 ? "file"
           : S_ISDIR(m)               ? "folder"
           : S_ISLNK(m)               ? "link"
           : S_ISFIFO(m)              ? "FIFO"
           : S_ISSOCK(m)              ? "socket"
           : S_ISCHR(m) || S_ISBLK(m) ? "device"
                                      : "nothing";
}

static void put_link(struct gvm_buf *out, const char *sign, const struct side *s)
{
    char target[GVM_PATH_MAX];
    ssize_t n = s->there && S_ISLNK(s->st.st_mode)
                    ? readlinkat(s->dir, s->leaf, target, sizeof(target))
                    : -1;
    if (n < 0)
        return;
    gvm_buf_addf(out, "%slink to ", sign);
    review_put_name(out, "", (struct gvm_str){target, (size_t)n});
    gvm_buf_addc(out, '\n');
}

static void put_texts(struct gvm_buf *out, const struct gvm_change *ch, struct gvm_str hunks)
{
    if (!hunks.n)
        return; /* only a mode, or an empty file came or went: the head says it */
    gvm_buf_addz(out, "--- ");
    review_put_name(out, S_ISREG(ch->host_mode) ? "a/" : NULL, ch->path);
    gvm_buf_addz(out, "\n+++ ");
    review_put_name(out, S_ISREG(ch->mode) ? "b/" : NULL, ch->path);
    gvm_buf_addc(out, '\n');
    gvm_buf_adds(out, hunks);
}

/* "before -> after" of what a picture is. */
static void put_pictures(struct gvm_buf *out, const struct side *host, const struct side *up)
{
    const struct side *sides[2] = {host, up};
    bool any = false;
    for (int k = 0; k < 2; k++) {
        char text[REVIEW_IMAGE];
        uint8_t head[REVIEW_HEAD];
        GVM_AUTOCLOSE int fd = -1;
        struct stat st;
        if (!sides[k]->there || !S_ISREG(sides[k]->st.st_mode) ||
            review_open_file(sides[k]->dir, sides[k]->leaf, &fd, &st) < 0)
            continue;
        ssize_t n = pread(fd, head, sizeof(head), 0);
        if (n <= 0 || !review_image((struct gvm_str){(const char *)head, (size_t)n}, text))
            continue;
        gvm_buf_addf(out, "%s%s", any ? " -> " : ", ", text);
        any = true;
    }
}

static void put_summary(struct gvm_buf *out, const struct side *host, const struct side *up,
                        const char *why)
{
    gvm_buf_addf(out, "%s", why);
    put_pictures(out, host, up);
    if (host->there && S_ISREG(host->st.st_mode))
        gvm_buf_addf(out, ", %lld bytes", (long long)host->st.st_size);
    if (up->there && S_ISREG(up->st.st_mode))
        gvm_buf_addf(out, "%s%lld bytes", host->there ? " -> " : ", ", (long long)up->st.st_size);
    gvm_buf_addc(out, '\n');
}

static int put_regular(struct gvm_buf *out, const struct gvm_change *ch, const struct side *host,
                       const struct side *up)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf before, after, hunks;
    gvm_buf_init(&before, MAX_TEXT);
    gvm_buf_init(&after, MAX_TEXT);
    gvm_buf_init(&hunks, 3 * MAX_TEXT);
    int a = read_text(host, &before), b = read_text(up, &after);
    if (a < 0 || b < 0)
        return a < 0 ? a : b;
    if (!a || !b) {
        bool large = (host->there && host->st.st_size > (off_t)MAX_TEXT) ||
                     (up->there && up->st.st_size > (off_t)MAX_TEXT);
        put_summary(out, host, up, large ? "large file" : "binary file");
        return 0;
    }
    int r = review_hunks(gvm_buf_str(&before), gvm_buf_str(&after), &hunks);
    if (r < 0)
        return r;
    if (r)
        put_summary(out, host, up, "very many lines");
    else
        put_texts(out, ch, gvm_buf_str(&hunks));
    return 0;
}

static int put_change(struct gvm_buf *out, const struct gvm_change *ch, const struct side *host,
                      const struct side *up)
{
    put_head(out, ch);
    put_link(out, "-", host);
    put_link(out, "+", up);
    if (ch->kind == GVM_CHANGE_TYPE)
        gvm_buf_addf(out, "a %s in place of a %s\n", kind_name(ch->mode), kind_name(ch->host_mode));
    mode_t m = ch->mode ? ch->mode : ch->host_mode;
    if (ch->kind != GVM_CHANGE_TYPE && !S_ISREG(m) && !S_ISLNK(m))
        gvm_buf_addf(out, "%s\n", kind_name(m));
    int r = S_ISREG(ch->mode) || S_ISREG(ch->host_mode) ? put_regular(out, ch, host, up) : 0;
    return r == 0 && out->failed ? -ENOBUFS : r;
}

int gvm_change_diff(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                    struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    GVM_CLEANUP(close_side) struct side host = {.dir = -1};
    GVM_CLEANUP(close_side) struct side up = {.dir = -1};
    r = open_sides(&run, ch, &host, &up);
    if (r == 0)
        r = put_change(out, ch, &host, &up);
    review_close(&run);
    return r < 0 ? gvm_err_sys(err, -r, "cannot show the change of '%.300s'", ch->path.p) : 0;
}

/* ---- hashes ---- */

static int hash_side(const struct side *s, char ret[65])
{
    char target[GVM_PATH_MAX];
    if (s->there && S_ISREG(s->st.st_mode))
        return review_hash_file(s->dir, s->leaf, ret);
    if (!s->there || !S_ISLNK(s->st.st_mode)) {
        ret[0] = '\0';
        return 0;
    }
    ssize_t n = readlinkat(s->dir, s->leaf, target, sizeof(target));
    return n < 0 ? -errno : review_hash_text((struct gvm_str){target, (size_t)n}, ret);
}

int gvm_change_hashes(const char *run_dir, const struct gvm_change *ch, char ret_before[65],
                      char ret_after[65], struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    GVM_CLEANUP(close_side) struct side host = {.dir = -1};
    GVM_CLEANUP(close_side) struct side up = {.dir = -1};
    char before[65], after[65];
    r = open_sides(&run, ch, &host, &up);
    if (r == 0)
        r = hash_side(&host, before);
    /* An owner's file that cannot be read is recorded without its hash; a staged one must be. */
    if (r == -EACCES)
        r = 0, before[0] = '\0';
    if (r == 0)
        r = hash_side(&up, after);
    review_close(&run);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read '%.300s'", ch->path.p);
    memcpy(ret_before, before, sizeof(before));
    memcpy(ret_after, after, sizeof(after));
    return 0;
}

/* ---- texts ---- */

int gvm_change_texts(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *before,
                     struct gvm_buf *after, bool *merged, struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    GVM_CLEANUP(close_side) struct side host = {.dir = -1};
    GVM_CLEANUP(close_side) struct side up = {.dir = -1};
    r = open_sides(&run, ch, &host, &up);
    int a = r == 0 ? read_text(&host, before) : r, b = r == 0 ? read_text(&up, after) : r;
    r = a < 0 ? a : b < 0 ? b : !(a && b);
    bool both = false;
    if (r == 0 && ch->conflict && ch->kind == GVM_CHANGE_MODIFIED) {
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
        gvm_buf_init(&text, 2 * MAX_TEXT);
        both = review_merge_change(&run, ch->path, &text) == 0;
        if (both) {
            gvm_buf_reset(after);
            r = gvm_buf_adds(after, gvm_buf_str(&text));
        }
    }
    review_close(&run);
    if (merged && r == 0)
        *merged = both;
    return r < 0 ? gvm_err_sys(err, -r, "cannot read the change of '%.300s'", ch->path.p) : r;
}
