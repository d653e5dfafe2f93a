/* The journal of a commit: run_dir/commit.journal, written and synced before the first temporary
 * file exists and removed after the last change left the upper layer.
 *
 *   line 1   {"v":1,"token":"<16 hex>"}
 *   line 2-  {"n":<number>,"path":"<base64 of the path>"}
 *
 * A temporary name is ".gvm-<token>-<number>", in the folder of the path. After a crash each of
 * them that is still there is either the new content before its rename, or, when kinds were
 * exchanged, what the owner had before. Both may go: the first is still in the upper layer, the
 * second was chosen to be replaced. An old folder that is not empty goes back to its place. So
 * every file is as before or as after, and what did not land is still staged.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL     "commit.journal"
#define JOURNAL_MAX (1u << 30)

static void free_arena(struct gvm_arena **a)
{
    gvm_arena_free(*a);
}

void review_temp_name(const struct review_journal *j, size_t number, char dst[REVIEW_TEMP_NAME])
{
    snprintf(dst, REVIEW_TEMP_NAME, ".gvm-%s-%zu", j->token, number);
}

static int add_line(struct gvm_buf *out, size_t number, struct gvm_str path)
{
    char text[GVM_B64_LEN(REVIEW_MAX_PATH + REVIEW_MAX_NAME) + 1];
    if (path.n > REVIEW_MAX_PATH + REVIEW_MAX_NAME)
        return -ENAMETOOLONG;
    gvm_b64(text, path.p, path.n);
    return gvm_buf_addf(out, "{\"n\":%zu,\"path\":\"%s\"}\n", number, text);
}

static int write_lines(int fd, const struct gvm_changes *c, const bool *picked, const char *token)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 256u << 10);
    int r = gvm_buf_addf(&out, "{\"v\":1,\"token\":\"%s\"}\n", token);
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        if (!picked[i])
            continue;
        r = add_line(&out, i, c->list[i].path);
        if (r == 0 && out.len > (128u << 10)) {
            r = gvm_write_all(fd, gvm_buf_data(&out), out.len);
            gvm_buf_reset(&out);
        }
    }
    if (r == 0)
        r = gvm_write_all(fd, gvm_buf_data(&out), out.len);
    return r == 0 && fsync(fd) < 0 ? -errno : r;
}

int review_journal_begin(const struct review_run *r, const struct gvm_changes *c,
                         const bool *picked, struct review_journal *ret, struct gvm_err *err)
{
    uint64_t random;
    struct review_journal j = {.fd = -1};
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return gvm_err_sys(err, errno, "cannot get random bytes");
    gvm_hex(j.token, &random, sizeof(random));
    int n = review_step("journal");
    if (n < 0)
        return gvm_err_sys(err, -n, "cannot write the journal of run %s", r->rec.run);
    GVM_AUTOCLOSE int fd =
        openat(r->dir, JOURNAL, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot create the journal of run %s", r->rec.run);
    n = write_lines(fd, c, picked, j.token);
    if (n == 0)
        n = review_sync_dir(r->dir);
    if (n < 0) {
        (void)unlinkat(r->dir, JOURNAL, 0);
        return gvm_err_sys(err, -n, "cannot write the journal of run %s", r->rec.run);
    }
    j.fd = gvm_steal_fd(&fd);
    *ret = j;
    return 0;
}

int review_journal_end(const struct review_run *r, struct review_journal *j)
{
    gvm_close(&j->fd);
    if (unlinkat(r->dir, JOURNAL, 0) < 0 && errno != ENOENT)
        return -errno;
    return review_sync_dir(r->dir);
}

bool review_needs_recovery(const struct review_run *r)
{
    return faccessat(r->dir, JOURNAL, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int remove_temp(const struct review_run *r, const struct review_journal *j, size_t number,
                       struct gvm_str path)
{
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    review_temp_name(j, number, temp);
    GVM_AUTOCLOSE int dir = review_open_parent(r->host, path, leaf);
    if (dir < 0)
        return dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP ? 0 : dir;
    if (unlinkat(dir, temp, 0) == 0 || errno == ENOENT)
        return 0;
    if (unlinkat(dir, temp, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    return unlinkat(dir, temp, 0) < 0 ? -errno : 0;
}

/* One line; a torn or foreign one ends the journal (-ENODATA): nothing was begun before it was
 * synced. */
static int recover_line(const struct review_run *r, struct review_journal *j, struct gvm_str line)
{
    GVM_CLEANUP(free_arena) struct gvm_arena *a = gvm_arena_new(256u << 10);
    struct gvm_json *v = NULL;
    if (!a)
        return -ENOMEM;
    if (gvm_json_parse(a, line, &v, NULL) < 0)
        return -ENODATA;
    const char *token = gvm_json_text(v, "token", NULL);
    uint8_t bytes[8];
    if (token)
        return gvm_unhex(bytes, sizeof(bytes), gvm_str(token)) < 0 ||
                       gvm_str_copy(j->token, sizeof(j->token), gvm_str(token)) < 0
                   ? -ENODATA
                   : 0;
    struct gvm_str text = gvm_str(gvm_json_text(v, "path", ""));
    char *path = gvm_arena_alloc(a, text.n + 1);
    size_t n = 0;
    int64_t number = gvm_json_int(v, "n", -1);
    if (!path || number < 0 || !j->token[0] || gvm_unb64(path, text.n, text, &n) < 0 || n == 0)
        return -ENODATA;
    return remove_temp(r, j, (size_t)number, (struct gvm_str){path, n});
}

int review_recover(const struct review_run *r, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = openat(r->dir, JOURNAL, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : gvm_err_sys(err, errno, "cannot open the journal of run %s", r->rec.run);
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, JOURNAL_MAX);
    struct review_journal j = {.fd = -1};
    int n = gvm_read_fd(fd, &text);
    struct gvm_str rest = gvm_buf_str(&text), line;
    while (n == 0 && rest.n && gvm_str_cut(&rest, '\n', &line))
        n = recover_line(r, &j, line);
    if (n == 0 || n == -ENODATA)
        n = review_journal_end(r, &j);
    return n < 0 ? gvm_err_sys(err, -n, "cannot clean up after a commit of run %s that was killed",
                               r->rec.run)
                 : 0;
}
