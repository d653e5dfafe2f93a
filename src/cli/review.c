/* gvm review: what a run wrote, decided file by file and hunk by hunk.
 *
 * On a terminal a screen to move around in; without one the same decisions as options; as JSON for
 * programs; and instead of landing, a patch or a git branch.
 */
#include "cli/review.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

const char cli_review_usage[] =
    "usage: gvm review [RUN] [PATHS...] [OPTIONS]\n"
    "\n"
    "Goes through what a run wrote (the newest, or the one named), file by file and\n"
    "hunk by hunk: accept, reject, edit, skip, throw away (? shows the keys). Nothing\n"
    "happens before you finish. What is rejected stays staged. Without a terminal\n"
    "nothing is asked and everything stays staged, unless these options decide:\n"
    "\n"
    "      --accept PATH[:N,M]   land a file or folder, or only these hunks of a file\n"
    "      --discard PATH        throw a file or folder away\n"
    "      --drop-rest           hunks that are not accepted of a file that lands in\n"
    "                            part are thrown away instead of staying staged\n"
    "      --json                one JSON object a line for each file, with its hunks\n"
    "\n"
    "Instead of landing in your files, as git sees it (nothing of a .git folder is\n"
    "ever carried, no hook, filter or other program of the repository is run):\n"
    "\n"
    "      --as-branch NAME      a new branch with one commit on top of HEAD\n"
    "      --as-patch[=FILE]     a patch for git apply, on stdout or to FILE\n"
    "\n"
    "What would run on your machine is in them only when you name it in PATHS or say\n"
    "--all. What was staged stays staged.\n"
    "\n"
    "      --all   with --as-branch and --as-patch: what runs on the host too\n"
    "  -h, --help  this text\n";

#define MAX_WORDS 4096

struct words {
    const char *v[MAX_WORDS];
    size_t n;
};
struct options {
    bool json, drop_rest, all, patch;
    const char *branch, *patch_file;
    struct words accept, discard;
};

/* ---- JSON ---- */

static void put_lines(struct gvm_buf *out, const struct review_file *f, bool second, size_t from,
                      size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        gvm_buf_addc(out, second ? '+' : '-');
        gvm_buf_adds(out, gvm_diff_line(f->diff, second, i));
    }
}

static void put_hunks(struct gvm_jw *w, const struct review_file *f)
{
    gvm_jw_key(w, "hunks");
    gvm_jw_array(w);
    for (size_t k = 0; k < f->n; k++) {
        const struct gvm_hunk *h = &f->hunks[k];
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf lines;
        gvm_buf_init(&lines, 16u << 20);
        put_lines(&lines, f, false, h->a, h->na);
        put_lines(&lines, f, true, h->b, h->nb);
        gvm_jw_object(w);
        gvm_jw_kint(w, "hunk", (int64_t)k + 1);
        gvm_jw_kint(w, "old_start", (int64_t)h->a + 1);
        gvm_jw_kint(w, "old_lines", (int64_t)h->na);
        gvm_jw_kint(w, "new_start", (int64_t)h->b + 1);
        gvm_jw_kint(w, "new_lines", (int64_t)h->nb);
        gvm_jw_kstr(w, "lines", gvm_buf_str(&lines));
        gvm_jw_object_end(w);
        w->out->failed |= lines.failed;
    }
    gvm_jw_array_end(w);
}

static int print_json(struct review *r, struct review_file *f, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 64u << 20);
    int x = review_load(r, f, err);
    if (x < 0)
        return x;
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->c->id);
    cli_change_json(&w, review_change(r, f));
    gvm_jw_kbool(&w, "text", f->is_text);
    gvm_jw_kbool(&w, "merged", f->merged);
    if (f->is_text)
        put_hunks(&w, f);
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    printf("%s\n", gvm_buf_cstr(&out));
    return 0;
}

/* ---- decisions by option ---- */

/* "path:1,3": the text behind the last colon when it is numbers. */
static const char *hunk_part(const char *word)
{
    const char *colon = strrchr(word, ':');
    return colon && colon[1] && strspn(colon + 1, "0123456789,") == strlen(colon + 1) ? colon
                                                                                      : NULL;
}

static int accept_hunks(struct review *r, struct review_file *f, const char *list,
                        struct gvm_err *err)
{
    struct gvm_str rest = gvm_str(list), number;
    int x = review_load(r, f, err);
    if (x < 0)
        return x;
    while (rest.n) {
        uint64_t k;
        gvm_str_cut(&rest, ',', &number);
        if (!f->is_text || gvm_parse_u64(number, f->n, &k) < 0 || k == 0)
            return gvm_err_set(err, EINVAL,
                               "'%.200s' has no hunk %.*s (gvm review --json counts them)",
                               review_change(r, f)->path.p, (int)number.n, number.p);
        f->hunk[k - 1] = ACCEPT;
    }
    return 0;
}

static int decide_file(struct review *r, struct review_file *f, enum verdict v, bool exact,
                       struct gvm_err *err)
{
    const struct gvm_change *ch = review_change(r, f);
    int x = review_load(r, f, err);
    if (x < 0)
        return x;
    /* A folder's name is no yes to what runs on the host, nor to a cache in it. */
    bool own = ch->class_ == GVM_CLASS_RUNS_ON_HOST || ch->class_ == GVM_CLASS_DISCARD;
    if (v == ACCEPT && own && !exact) {
        fputs("gvm: stays staged: ", stderr);
        cli_print_safe(stderr, ch->path);
        fprintf(stderr, ": %s; name it itself\n", ch->why);
        return 0;
    }
    if (v == ACCEPT && (review_barred(r, f) || f->clash))
        return gvm_err_set(err, ESTALE, "'%s' cannot land: %s", ch->path.p,
                           review_barred(r, f) ? review_barred(r, f)
                                               : "your file changed since, and it does not merge");
    review_decide(f, v);
    return 0;
}

static int decide(struct review *r, const char *word, enum verdict v, struct gvm_err *err)
{
    char path[2 * GVM_PATH_MAX], cut[GVM_PATH_MAX];
    bool found = false;
    const char *hunks = v == ACCEPT ? hunk_part(word) : NULL;
    if (hunks && gvm_str_copy(cut, sizeof(cut), (struct gvm_str){word, (size_t)(hunks - word)}) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "too long a path");
    int x = cli_workspace_path(&r->c->rec, hunks ? cut : word, path, err);
    for (size_t i = 0; x == 0 && i < r->n; i++) {
        struct review_file *f = &r->files[i];
        struct gvm_str p = review_change(r, f)->path;
        bool exact = gvm_str_eqz(p, path);
        if (!exact && (hunks || !cli_is_below(p, gvm_str(path))))
            continue;
        found = true;
        x = hunks ? accept_hunks(r, f, hunks + 1, err) : decide_file(r, f, v, exact, err);
    }
    if (x == 0 && !found)
        return gvm_err_set(err, ENOENT, "run %s has no change at '%s'", r->c->id, word);
    return x;
}

static int decide_all(struct review *r, const struct options *o, struct gvm_err *err)
{
    int x = 0;
    r->drop_rest = o->drop_rest;
    for (size_t i = 0; x == 0 && i < o->accept.n; i++)
        x = decide(r, o->accept.v[i], ACCEPT, err);
    for (size_t i = 0; x == 0 && i < o->discard.n; i++)
        x = decide(r, o->discard.v[i], DROP, err);
    return x;
}

/* ---- the whole ---- */

static int carry_out(struct review *r, struct gvm_err *err)
{
    struct review_result n;
    char a[64], b[64];
    int x = review_apply(r, &n, err);
    if (x < 0)
        return x;
    printf("%s landed in %s", cli_count(n.landed, "change", a), r->c->rec.workspace);
    if (n.parts)
        printf(" (%zu in part)", n.parts);
    printf("; %s thrown away; the rest stays staged\n", cli_count(n.dropped, "change", b));
    if (n.failed)
        return gvm_err_set(err, ESTALE, "%s could not be carried out and are still staged",
                           cli_count(n.failed, "decision", a));
    return cli_prune_undo(&r->c->rules, err);
}

static void print_list(const struct review *r)
{
    char count[64];
    for (size_t i = 0; i < r->n; i++)
        cli_print_change(stdout, review_change(r, &r->files[i]), cli_color(STDOUT_FILENO));
    printf("%s staged in run %s until you decide (gvm review, gvm commit, gvm discard)\n",
           cli_count(r->n, "change", count), r->c->id);
}

static int on_terminal(struct review *r, struct gvm_err *err)
{
    int x = review_interactive(r, err);
    if (x < 0)
        return x;
    if (r->done)
        return carry_out(r, err);
    printf("nothing was done; everything stays staged\n");
    return 0;
}

static int review_run(struct review *r, const struct options *o, struct gvm_err *err)
{
    if (o->json) {
        int x = 0;
        for (size_t i = 0; x == 0 && i < r->n; i++)
            x = print_json(r, &r->files[i], err);
        return x;
    }
    bool by_option = o->accept.n || o->discard.n;
    if (r->n == 0 && !by_option) {
        printf("run %s has no changes waiting\n", r->c->id);
        return 0;
    }
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (!by_option && !terminal) {
        print_list(r);
        return 0;
    }
    if (cli_changes_live(r->c))
        return gvm_err_set(err, EBUSY,
                           "the agent of run %s still runs; its files can land when it has ended",
                           r->c->id);
    if (!by_option)
        return on_terminal(r, err);
    int x = decide_all(r, o, err);
    return x < 0 ? x : carry_out(r, err);
}

static int review(int argc, char **argv, const struct options *o, struct gvm_err *err)
{
    GVM_CLEANUP(cli_changes_done) struct cli_changes c;
    GVM_CLEANUP(review_done) struct review r = {0};
    int x = cli_changes_open(argc, argv, &c, err);
    for (size_t i = 0; x == 0 && o->all && i < c.all.n; i++)
        c.exact[i] |= c.chosen[i];
    if (x == 0 && o->branch)
        return review_as_branch(&c, o->branch, err);
    if (x == 0 && o->patch)
        return review_as_patch(&c, o->patch_file, err);
    if (x == 0)
        x = review_init(&r, &c, err);
    return x < 0 ? x : review_run(&r, o, err);
}

static int add_word(struct words *w, const char *value)
{
    if (w->n == MAX_WORDS)
        return cli_usage("review", "more than %d decisions; name folders", MAX_WORDS);
    w->v[w->n++] = value;
    return -1;
}

enum { OPT_ACCEPT = 256, OPT_DISCARD, OPT_BRANCH, OPT_PATCH };

/* -1 = go on. */
static int take(int c, char **argv, struct options *o)
{
    switch (c) {
    case 'j':
        o->json = true;
        return -1;
    case 'r':
        o->drop_rest = true;
        return -1;
    case 'a':
        o->all = true;
        return -1;
    case OPT_ACCEPT:
        return add_word(&o->accept, optarg);
    case OPT_DISCARD:
        return add_word(&o->discard, optarg);
    case OPT_BRANCH:
        o->branch = optarg;
        return -1;
    case OPT_PATCH:
        o->patch = true;
        o->patch_file = optarg;
        return -1;
    case 'h':
        return cli_help(cli_review_usage);
    default:
        return cli_bad_option("review", argv);
    }
}

int cli_review(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"drop-rest", no_argument, NULL, 'r'},
                                          {"all", no_argument, NULL, 'a'},
                                          {"accept", required_argument, NULL, OPT_ACCEPT},
                                          {"discard", required_argument, NULL, OPT_DISCARD},
                                          {"as-branch", required_argument, NULL, OPT_BRANCH},
                                          {"as-patch", optional_argument, NULL, OPT_PATCH},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static struct options o;
    int code = -1;
    for (int c; code < 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;)
        code = take(c, argv, &o);
    if (code >= 0)
        return code;
    if (o.json + (o.accept.n || o.discard.n) + (o.branch != NULL) + o.patch > 1)
        return cli_usage("review", "--json, --accept and --discard, --as-branch and --as-patch "
                                   "exclude each other");
    struct gvm_err err = {0};
    int r = review(argc, argv, &o, &err);
    if (r == -EINVAL)
        return cli_usage("review", "%s", err.text);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
