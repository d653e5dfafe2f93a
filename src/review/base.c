/* What the agent began with: run_dir/base/<SHA-256 of the path>, the owner's file as it was.
 *
 * Kept at the run's end for the texts that the agent changed, as far as the owner had not changed
 * them until then, and again when a part of a change lands. A file without it has no merge.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MAX_BASE  (4u << 20)   /* bytes of one text */
#define MAX_BASES (256u << 20) /* bytes of all of a run */

int review_base_read(const struct review_run *run, struct gvm_str path, struct gvm_buf *out)
{
    char name[80] = "base/";
    int r = review_hash_text(path, name + 5);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = openat(run->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : -errno;
    return gvm_read_fd(fd, out);
}

int review_base_write(const struct review_run *run, struct gvm_str path, struct gvm_str text)
{
    char name[65], temp[72];
    int r = review_hash_text(path, name);
    if (r < 0)
        return r;
    if (mkdirat(run->dir, "base", 0700) < 0 && errno != EEXIST)
        return -errno;
    GVM_AUTOCLOSE int dir =
        openat(run->dir, "base", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    snprintf(temp, sizeof(temp), "%s.tmp", name);
    GVM_AUTOCLOSE int fd =
        openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : gvm_write_all(fd, text.p, text.n);
    if (r == 0 && renameat(dir, temp, dir, name) < 0)
        r = -errno;
    return r;
}

/* 1 = not a text worth keeping. */
static int read_text(const struct review_run *run, struct gvm_str path, struct gvm_buf *out)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    GVM_AUTOCLOSE int fd = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(run->host, path, leaf);
    int r = dir < 0 ? dir : review_open_file(dir, leaf, &fd, &st);
    if (r < 0 || st.st_size > (off_t)MAX_BASE)
        return 1;
    r = gvm_read_fd(fd, out);
    if (r < 0)
        return r == -EFBIG ? 1 : r;
    const uint8_t *p = gvm_buf_data(out);
    return p && memchr(p, '\0', out->len < 8192 ? out->len : 8192) ? 1 : 0;
}

static int remember(const struct review_run *run, const struct gvm_changes *c)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, MAX_BASE);
    size_t total = 0;
    int r = 0;
    for (size_t i = 0; r >= 0 && i < c->n && total < MAX_BASES; i++) {
        const struct gvm_change *ch = &c->list[i];
        if (ch->kind != GVM_CHANGE_MODIFIED || ch->conflict || !S_ISREG(ch->host_mode) ||
            !S_ISREG(ch->mode))
            continue;
        gvm_buf_reset(&text);
        r = read_text(run, ch->path, &text);
        if (r == 0)
            r = review_base_write(run, ch->path, gvm_buf_str(&text));
        total += text.len;
    }
    return r < 0 ? r : 0;
}

int gvm_changes_remember(const char *run_dir, const struct gvm_changes *c, struct gvm_err *err)
{
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    r = remember(&run, c);
    review_close(&run);
    return r < 0 ? gvm_err_sys(err, -r, "cannot keep what run %s began with", run.rec.run) : 0;
}
