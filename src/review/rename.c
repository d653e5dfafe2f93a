/* Which new file is a deleted one under another name: the same bytes, each used once.
 *
 * The overlay has no redirects, so a rename comes as a deletion and a new file. Files are compared
 * within bounds: by size first, a few of equal size, so many bytes in all.
 */
#include "review/review_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_TRIES 16 /* deleted files of the same size that are compared with one new file */
#define MAX_BYTES (256u << 20) /* compared in all */
#define MIN_SIZE  64u          /* equal bytes of a smaller file may be chance */

struct gone {
    uint64_t size;
    struct gvm_change *ch;
    bool used;
};

static int by_size(const void *a, const void *b)
{
    uint64_t x = ((const struct gone *)a)->size, y = ((const struct gone *)b)->size;
    return (x > y) - (x < y);
}

static int open_at(int root, struct gvm_str path)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    int fd = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(root, path, leaf);
    int r = dir < 0 ? dir : review_open_file(dir, leaf, &fd, &st);
    return r < 0 ? r : fd;
}

static bool same(const struct review_run *run, const struct gvm_change *made,
                 const struct gvm_change *gone)
{
    GVM_AUTOCLOSE int a = open_at(run->upper, made->path);
    GVM_AUTOCLOSE int b = a < 0 ? -1 : open_at(run->host, gone->path);
    return a >= 0 && b >= 0 && review_same_bytes(a, b) == 1;
}

static size_t first_of_size(const struct gone *list, size_t n, uint64_t size)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (list[mid].size < size)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Two short files that are equal may be so by chance: the overlay's own trace, or the same name in
 * another folder, is worth more. */
static bool plausible(const struct gvm_change *made, const struct gvm_change *gone)
{
    return made->copied || made->size >= MIN_SIZE ||
           gvm_str_eq(review_basename(made->path), review_basename(gone->path));
}

static void join(struct gone *gone, struct gvm_change *made)
{
    gone->used = true;
    gone->ch->from = made->path;
    made->from = gone->ch->path;
    made->kind = GVM_CHANGE_RENAMED;
    if (made->class_ != GVM_CLASS_AUTO)
        return;
    made->class_ = GVM_CLASS_MANUAL;
    made->why = "a file of yours under another name";
}

static void match(const struct review_run *run, struct gone *list, size_t n,
                  struct gvm_change *made, uint64_t *budget)
{
    size_t i = first_of_size(list, n, made->size);
    for (int tries = 0; i < n && list[i].size == made->size && tries < MAX_TRIES; i++) {
        if (list[i].used || !plausible(made, list[i].ch))
            continue;
        if (made->size > *budget)
            return;
        *budget -= made->size;
        tries++;
        if (same(run, made, list[i].ch)) {
            join(&list[i], made);
            return;
        }
    }
}

static uint64_t host_size(const struct review_run *run, struct gvm_str path)
{
    struct stat st;
    return review_lstat(run->host, path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

int review_find_renames(const struct review_run *run, struct gvm_changes *c)
{
    size_t n = 0, made = 0, deleted = 0;
    uint64_t budget = MAX_BYTES;
    for (size_t i = 0; i < c->n; i++) {
        made +=
            c->list[i].kind == GVM_CHANGE_CREATED && S_ISREG(c->list[i].mode) && c->list[i].size;
        deleted += c->list[i].kind == GVM_CHANGE_DELETED && S_ISREG(c->list[i].host_mode);
    }
    if (!made || !deleted)
        return 0;
    GVM_AUTOFREE struct gone *list = gvm_calloc(deleted, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].kind == GVM_CHANGE_DELETED && S_ISREG(c->list[i].host_mode))
            list[n++] = (struct gone){.size = host_size(run, c->list[i].path), .ch = &c->list[i]};
    qsort(list, n, sizeof(*list), by_size);
    /* Those that the overlay knows to be copies come first. */
    for (int copied = 1; copied >= 0; copied--)
        for (size_t i = 0; i < c->n; i++) {
            struct gvm_change *ch = &c->list[i];
            if (ch->kind == GVM_CHANGE_CREATED && S_ISREG(ch->mode) && ch->size &&
                ch->copied == (copied == 1))
                match(run, list, n, ch, &budget);
        }
    return 0;
}
