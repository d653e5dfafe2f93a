/* gvm undo: what commits of a run changed is made as it was. */
#include "cli/changes.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

const char cli_undo_usage[] =
    "usage: gvm undo [RUN] [PATHS...] [--last] [--force] [--dry-run] [--json]\n"
    "\n"
    "Makes your files as they were before a run's changes landed (the newest run, or\n"
    "the one named): content, mode, owner, times and attributes. Takes back all\n"
    "commits of the run, the newest first; with PATHS only those files and folders.\n"
    "Works for as long as [filesystem] undo_keep says, 90 days by default.\n"
    "\n"
    "A file that is not any more what the commit made of it is left alone, and said;\n"
    "--force takes it back all the same.\n"
    "\n"
    "      --last     only the newest commit that is not taken back yet\n"
    "      --force    also what changed since\n"
    "  -n, --dry-run  only show what the next step would do\n"
    "      --json     print each name as a JSON object, one a line\n"
    "  -h, --help     this text\n";

struct options {
    bool last, force, dry, json;
};

struct paths {
    char (*list)[2 * GVM_PATH_MAX];
    bool *found;
    size_t n;
};

static void free_undo(struct gvm_undo **u)
{
    gvm_undo_free(*u);
}

static bool is_chosen(struct paths *p, const struct gvm_undo_item *it)
{
    bool any = p->n == 0;
    for (size_t i = 0; i < p->n; i++)
        if (gvm_str_eqz(it->path, p->list[i]) || cli_is_below(it->path, gvm_str(p->list[i])))
            any = p->found[i] = true;
    return any;
}

static const char *word_for(enum gvm_change_kind what)
{
    return what == GVM_CHANGE_DELETED   ? "removed"
           : what == GVM_CHANGE_CREATED ? "brought back"
                                        : "restored";
}

static int print_item(const char *run, const struct gvm_undo *u, const struct gvm_undo_item *it,
                      const struct options *o, struct gvm_err *err)
{
    bool left = it->touched && !o->force;
    if (!o->json) {
        printf("  %-12s ", left ? "left alone" : word_for(it->what));
        cli_print_safe(stdout, it->path);
        printf("%s%s%s\n", it->is_dir ? "/" : "", left ? ": " : "", left ? it->touched : "");
        return 0;
    }
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 1u << 20);
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", run);
    gvm_jw_kint(&w, "commit", gvm_undo_number(u));
    cli_path_json(&w, it->path);
    gvm_jw_kstrz(&w, "undo", left ? "left" : word_for(it->what));
    if (it->touched)
        gvm_jw_kstrz(&w, "touched", it->touched);
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    printf("%s\n", gvm_buf_cstr(&out));
    return 0;
}

static int note_undo(void *arg, const struct gvm_landing *list, size_t n, struct gvm_err *err)
{
    return cli_note_landings(arg, "fs.undo", "undo", NULL, list, n, err);
}

/* One commit; *ret_left counts what was left alone. */
static int undo_one(struct cli_changes *c, struct gvm_undo *u, struct paths *p,
                    const struct options *o, size_t *done, size_t *left, struct gvm_err *err)
{
    size_t n = 0, wanted = 0, got = 0;
    int r = 0;
    const struct gvm_undo_item *items = gvm_undo_items(u, &n);
    GVM_AUTOFREE bool *choose = gvm_calloc(n + 1, sizeof(*choose));
    if (!choose)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (!is_chosen(p, &items[i]))
            continue;
        r = print_item(c->id, u, &items[i], o, err);
        choose[i] = !items[i].touched || o->force;
        wanted += choose[i];
        *left += !choose[i];
    }
    if (r < 0 || !wanted || o->dry) {
        *done += wanted;
        return r;
    }
    const struct gvm_commit_how how = {.force = o->force, .record = note_undo, .arg = &c->rec};
    r = gvm_undo_run(u, choose, &how, &got, err);
    *done += r == 0 ? got : 0;
    *left += r == 0 && got < wanted ? wanted - got : 0;
    return r;
}

static int undo_all(struct cli_changes *c, struct paths *p, const struct options *o, size_t *done,
                    size_t *left, struct gvm_err *err)
{
    for (int before = 0;;) {
        GVM_CLEANUP(free_undo) struct gvm_undo *u = NULL;
        int r = gvm_undo_open(c->dir, before, &u, err);
        if (r == -ENOENT && before)
            return 0;
        if (r < 0)
            return r;
        before = gvm_undo_number(u);
        r = undo_one(c, u, p, o, done, left, err);
        if (r < 0 || o->last || o->dry)
            return r;
    }
}

static int read_paths(int argc, char **argv, int at, const struct cli_changes *c, struct paths *p,
                      struct gvm_err *err)
{
    p->n = (size_t)(argc - at);
    p->list = gvm_calloc(p->n + 1, sizeof(*p->list));
    p->found = gvm_calloc(p->n + 1, sizeof(*p->found));
    if (!p->list || !p->found)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = cli_workspace_path(&c->rec, argv[at + (int)i], p->list[i], err);
    return r;
}

static void free_paths(struct paths *p)
{
    free(p->list);
    free(p->found);
}

static int undo(int argc, char **argv, const struct options *o, struct gvm_err *err)
{
    GVM_CLEANUP(cli_changes_done) struct cli_changes c = {0};
    GVM_CLEANUP(free_paths) struct paths p = {0};
    int at = optind;
    size_t done = 0, left = 0;
    char count[64];
    int r = cli_changes_find(argc, argv, &at, &c, err);
    if (r == 0)
        r = read_paths(argc, argv, at, &c, &p, err);
    if (r == 0 && cli_changes_live(&c))
        r = gvm_err_set(err, EBUSY, "the agent of run %s still runs; undo when it has ended", c.id);
    if (r == 0)
        r = undo_all(&c, &p, o, &done, &left, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < p.n; i++)
        if (!p.found[i])
            return gvm_err_set(err, ENOENT, "run %s changed nothing at '%s' that could be undone",
                               c.id, argv[at + (int)i]);
    if (!o->json)
        printf("%s %s in %s\n", cli_count(done, "name", count),
               o->dry ? "would be as before" : "as before", c.rec.workspace);
    return left && !o->dry
               ? gvm_err_set(err, ESTALE, "%s left alone (--force takes them back all the same)",
                             cli_count(left, "name", count))
               : 0;
}

int cli_undo(int argc, char **argv)
{
    static const struct option longs[] = {{"last", no_argument, NULL, 'l'},
                                          {"force", no_argument, NULL, 'f'},
                                          {"dry-run", no_argument, NULL, 'n'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"yes", no_argument, NULL, 'y'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options o = {0};
    for (int c; (c = getopt_long(argc, argv, "nyh", longs, NULL)) != -1;) {
        switch (c) {
        case 'l':
            o.last = true;
            break;
        case 'f':
            o.force = true;
            break;
        case 'n':
            o.dry = true;
            break;
        case 'j':
            o.json = true;
            break;
        case 'y': /* as in commit and discard; undo does not ask */
            break;
        case 'h':
            return cli_help(cli_undo_usage);
        default:
            return cli_bad_option("undo", argv);
        }
    }
    struct gvm_err err = {0};
    int r = undo(argc, argv, &o, &err);
    if (r == -EINVAL)
        return cli_usage("undo", "%s", err.text);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
