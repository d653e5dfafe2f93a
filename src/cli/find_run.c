/* Runs by name: ids sort by time, so the newest is the last. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_LISTED 100000u /* runs kept in one state directory */

/* A run id: letters, digits and '-', as the launcher makes them. Other names are not runs. */
static bool is_run_id(struct gvm_str s)
{
    if (s.n == 0 || s.n > GVM_MAX_RUN_ID || s.p[0] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = gvm_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int read_ids(struct gvm_arena *a, DIR *d, char **ids, size_t *n)
{
    for (const struct dirent *e; (e = readdir(d));) {
        struct gvm_str name = gvm_str(e->d_name);
        if (!is_run_id(name) || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
            continue;
        if (*n == MAX_LISTED)
            return -ENOBUFS;
        ids[*n] = gvm_arena_dup(a, name.p, name.n);
        if (!ids[*n])
            return -ENOMEM;
        (*n)++;
    }
    return 0;
}

int cli_list_runs(struct gvm_arena *a, char ***ret_ids, size_t *ret_n, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    int r = gvm_place_path(GVM_PLACE_STATE, "runs", dir, err);
    if (r < 0)
        return r;
    GVM_CLEANUP(close_dir) DIR *d = opendir(dir);
    if (!d && errno != ENOENT)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    char **ids = gvm_arena_alloc(a, d ? MAX_LISTED * sizeof(*ids) : 1);
    size_t n = 0;
    if (!ids)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r = d ? read_ids(a, d, ids, &n) : 0;
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot list the runs in %s", dir);
    if (n)
        qsort(ids, n, sizeof(*ids), by_name);
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

static void free_arena(struct gvm_arena **a)
{
    gvm_arena_free(*a);
}

/* Index of the run meant, or a negative errno. */
static ssize_t choose(char **ids, size_t n, const char *name, struct gvm_err *err)
{
    if (!name)
        return n ? (ssize_t)n - 1 : gvm_err_set(err, ENOENT, "there is no run yet");
    ssize_t found = -1;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(ids[i], name) == 0)
            return (ssize_t)i;
        if (!gvm_str_starts(gvm_str(ids[i]), gvm_str(name)))
            continue;
        if (found >= 0)
            return gvm_err_set(err, ENOTUNIQ, "'%s' fits several runs, %s and %s among them", name,
                               ids[found], ids[i]);
        found = (ssize_t)i;
    }
    return found >= 0 ? found
                      : gvm_err_set(err, ENOENT, "there is no run '%s' (see gvm runs)", name);
}

int cli_find_run(const char *name_or_null, char ret_id[GVM_MAX_RUN_ID + 1],
                 char ret_dir[GVM_PATH_MAX], struct gvm_err *err)
{
    if (name_or_null && !is_run_id(gvm_str(name_or_null)))
        return gvm_err_set(err, ENOENT, "'%s' is not the name of a run", name_or_null);
    GVM_CLEANUP(free_arena) struct gvm_arena *a = gvm_arena_new(16u << 20);
    char **ids = NULL;
    size_t n = 0;
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = cli_list_runs(a, &ids, &n, err);
    if (r < 0)
        return r;
    ssize_t i = choose(ids, n, name_or_null, err);
    if (i < 0)
        return (int)i;
    char rest[64], dir[GVM_PATH_MAX];
    snprintf(rest, sizeof(rest), "runs/%s", ids[i]);
    r = gvm_place_path(GVM_PLACE_STATE, rest, dir, err);
    if (r < 0)
        return r;
    memcpy(ret_dir, dir, sizeof(dir));
    return gvm_str_copy(ret_id, GVM_MAX_RUN_ID + 1, gvm_str(ids[i]));
}
