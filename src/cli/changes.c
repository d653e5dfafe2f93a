#include "cli/changes.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first word is the run when it is a run's whole name, or the beginning of one and no file
 * here. */
static bool names_run(const char *word)
{
    char id[GVM_MAX_RUN_ID + 1], dir[GVM_PATH_MAX];
    struct stat st;
    int r = cli_find_run(word, id, dir, NULL);
    if (r == 0 && strcmp(id, word) == 0)
        return true;
    return (r == 0 || r == -ENOTUNIQ) && lstat(word, &st) < 0;
}

int cli_changes_find(int argc, char **argv, int *at, struct cli_changes *c, struct gvm_err *err)
{
    bool only_paths = optind > 0 && strcmp(argv[optind - 1], "--") == 0;
    const char *name = NULL;
    if (*at < argc && !only_paths && names_run(argv[*at]))
        name = argv[(*at)++];
    int r = cli_find_run(name, c->id, c->dir, err);
    return r < 0 ? r : gvm_run_record_read(c->dir, &c->rec, err);
}

/* Resolves "." and ".." by text. False when the path climbs out. */
static bool normalise(const char *path, char *dst)
{
    struct gvm_str rest = gvm_str(path), name;
    size_t n = 0;
    while (rest.n) {
        gvm_str_cut(&rest, '/', &name);
        if (name.n == 0 || gvm_str_eqz(name, "."))
            continue;
        if (gvm_str_eqz(name, "..")) {
            if (n == 0)
                return false;
            while (n > 0 && dst[--n] != '/')
                ;
            continue;
        }
        if (n)
            dst[n++] = '/';
        memcpy(dst + n, name.p, name.n);
        n += name.n;
    }
    dst[n] = '\0';
    return true;
}

/* `path` relative to `top`, NULL when it is not below it. */
static const char *below(const char *path, const char *top)
{
    size_t n = strlen(top);
    while (n > 0 && top[n - 1] == '/')
        n--;
    if (strncmp(path, top, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return path[n] ? path + n + 1 : path + n;
}

/* What the user typed, relative to the workspace. */
int cli_workspace_path(const struct gvm_run_record *rec, const char *word,
                       char dst[2 * GVM_PATH_MAX], struct gvm_err *err)
{
    char joined[2 * GVM_PATH_MAX], here[GVM_PATH_MAX];
    const char *rest = word;
    if (word[0] == '/') {
        rest = below(word, rec->workspace);
        if (!rest)
            return gvm_err_set(err, EINVAL, "'%s' is not in the workspace %s", word,
                               rec->workspace);
    } else {
        const char *cwd = getcwd(here, sizeof(here)) ? below(here, rec->workspace) : NULL;
        if (snprintf(joined, sizeof(joined), "%s/%s", cwd ? cwd : "", word) >= (int)sizeof(joined))
            return gvm_err_set(err, ENAMETOOLONG, "too long a path");
        rest = joined;
    }
    if (strlen(rest) >= 2 * GVM_PATH_MAX || !normalise(rest, dst))
        return gvm_err_set(err, EINVAL, "'%s' is not in the workspace %s", word, rec->workspace);
    return 0;
}

bool cli_is_below(struct gvm_str path, struct gvm_str folder)
{
    return folder.n == 0 ||
           (path.n > folder.n && gvm_str_starts(path, folder) && path.p[folder.n] == '/');
}

static void choose_old_name(struct cli_changes *c, const struct gvm_change *renamed)
{
    for (size_t i = 0; i < c->all.n; i++)
        if (gvm_str_eq(c->all.list[i].path, renamed->from))
            c->chosen[i] = true;
}

static int choose(struct cli_changes *c, const char *word, struct gvm_err *err)
{
    char path[2 * GVM_PATH_MAX];
    bool found = false;
    int r = cli_workspace_path(&c->rec, word, path, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < c->all.n; i++) {
        struct gvm_str p = c->all.list[i].path;
        bool exact = gvm_str_eqz(p, path);
        if (!exact && !cli_is_below(p, gvm_str(path)))
            continue;
        c->chosen[i] = found = true;
        c->exact[i] |= exact;
        /* Its new name stands for a renamed file: the deletion of the old one goes with it. */
        if (c->all.list[i].kind == GVM_CHANGE_RENAMED)
            choose_old_name(c, &c->all.list[i]);
    }
    return found ? 0 : gvm_err_set(err, ENOENT, "run %s has no change at '%s'", c->id, word);
}

int cli_changes_alloc(struct cli_changes *c, struct gvm_err *err)
{
    c->chosen = gvm_calloc(c->all.n + 1, sizeof(*c->chosen));
    c->exact = gvm_calloc(c->all.n + 1, sizeof(*c->exact));
    c->choices = gvm_calloc(c->all.n + 1, sizeof(*c->choices));
    bool good = c->chosen && c->exact && c->choices;
    return good ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
}

bool cli_run_killed(const struct gvm_run_record *rec)
{
    return !rec->ended_ns && !gvm_run_is_live(rec);
}

int cli_changes_open(int argc, char **argv, struct cli_changes *ret, struct gvm_err *err)
{
    *ret = (struct cli_changes){0};
    int at = optind;
    int r = cli_changes_find(argc, argv, &at, ret, err);
    if (r == 0 && cli_run_killed(&ret->rec))
        gvm_sandbox_sweep(ret->dir); /* its launcher could not */
    if (r == 0)
        r = cli_file_rules_load(NULL, ret->rec.workspace, &ret->rules, err);
    if (r == 0)
        r = gvm_changes_scan(ret->dir, &ret->rules.patterns, &ret->all, err);
    if (r < 0)
        return r;
    r = cli_changes_alloc(ret, err);
    if (r < 0)
        return r;
    ret->how = "commit";
    ret->named = at < argc;
    for (size_t i = 0; i < ret->all.n; i++)
        ret->chosen[i] = !ret->named;
    for (; r == 0 && at < argc; at++)
        r = choose(ret, argv[at], err);
    return r;
}

void cli_changes_done(struct cli_changes *c)
{
    gvm_changes_done(&c->all);
    cli_file_rules_done(&c->rules);
    free(c->chosen);
    free(c->exact);
    free(c->choices);
    *c = (struct cli_changes){0};
}

size_t cli_change_index(const struct cli_changes *c, const struct gvm_change *ch)
{
    return (size_t)(ch - c->all.list);
}

bool cli_changes_live(const struct cli_changes *c)
{
    return gvm_run_is_live(&c->rec);
}

/* ---- landing ---- */

static int note_commit(void *arg, const struct gvm_landing *list, size_t n, struct gvm_err *err)
{
    const struct cli_changes *c = arg;
    return cli_note_landings(&c->rec, "fs.commit", c->how, &c->all, list, n, err);
}

int cli_changes_land(struct cli_changes *c, bool force, size_t *ret_done, struct gvm_err *err)
{
    const struct gvm_commit_how how = {.force = force, .record = note_commit, .arg = c};
    for (size_t i = 0; i < c->all.n; i++)
        c->choices[i].land = c->chosen[i];
    return gvm_changes_commit(c->dir, &c->all, c->choices, &how, ret_done, err);
}

/* ---- showing ---- */

void cli_print_change(FILE *f, const struct gvm_change *ch, bool color)
{
    static const char letters[] = "AMDmTxR";
    static const char *const colors[] = {"\033[33m", "\033[31m", "\033[32m", "\033[2m"};
    fprintf(f, "  %c  ", letters[ch->kind]);
    cli_print_safe(f, ch->path);
    if (S_ISDIR(ch->mode ? ch->mode : ch->host_mode))
        fputc('/', f);
    if (ch->from.n) {
        fputs(ch->kind == GVM_CHANGE_RENAMED ? " (was " : " (now ", f);
        cli_print_safe(f, ch->from);
        fputc(')', f);
    }
    fprintf(f, "  %s[%s: %s]%s", color ? colors[ch->class_] : "", gvm_change_class_name(ch->class_),
            ch->why, color ? "\033[0m" : "");
    if (ch->conflict)
        fputs(" CONFLICT: your file changed since the run began", f);
    if (ch->refusal && ch->refusal != ch->why)
        fprintf(f, " (%s)", ch->refusal);
    fputc('\n', f);
}

static void put_mode(struct gvm_jw *w, const char *key, mode_t mode)
{
    char text[16];
    snprintf(text, sizeof(text), "%06o", mode);
    gvm_jw_kstrz(w, key, mode ? text : NULL);
}

static void put_base64(struct gvm_jw *w, const char *key, struct gvm_str path)
{
    char *text = malloc(GVM_B64_LEN(path.n) + 1);
    if (!text) {
        w->out->failed = true;
        return;
    }
    gvm_b64(text, path.p, path.n);
    gvm_jw_kstrz(w, key, text);
    free(text);
}

void cli_path_json(struct gvm_jw *w, struct gvm_str path)
{
    gvm_jw_kstr(w, "path", path);
    if (!gvm_utf8_valid(path))
        put_base64(w, "path_base64", path);
}

void cli_change_json(struct gvm_jw *w, const struct gvm_change *ch)
{
    cli_path_json(w, ch->path);
    gvm_jw_kstrz(w, "change", gvm_change_kind_name(ch->kind));
    gvm_jw_kstrz(w, "class", gvm_change_class_name(ch->class_));
    gvm_jw_kstrz(w, "why", ch->why);
    gvm_jw_kbool(w, "conflict", ch->conflict);
    if (ch->refusal)
        gvm_jw_kstrz(w, "refusal", ch->refusal);
    if (ch->from.n) {
        gvm_jw_kstr(w, ch->kind == GVM_CHANGE_RENAMED ? "from" : "renamed_to", ch->from);
        if (!gvm_utf8_valid(ch->from))
            put_base64(w, "from_base64", ch->from);
    }
    if (ch->links > 1)
        gvm_jw_kint(w, "links", (int64_t)ch->links);
    put_mode(w, "mode", ch->mode);
    put_mode(w, "host_mode", ch->host_mode);
    gvm_jw_kint(w, "size", (int64_t)ch->size);
}

const char *cli_count(size_t n, const char *noun, char dst[64])
{
    snprintf(dst, 64, "%zu %s%s", n, noun, n == 1 ? "" : "s");
    return dst;
}
