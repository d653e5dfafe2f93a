/* gvm diff: what a run would change, before it does. */
#include "cli/changes.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <unistd.h>

#define MAX_DIFF (16u << 20) /* one file's diff, bytes */

const char cli_diff_usage[] =
    "usage: gvm diff [RUN] [PATHS...] [--stat] [--json]\n"
    "\n"
    "Shows what a run wrote and what it would change in your workspace: the newest\n"
    "run, or the one named (the beginning of its id is enough). With PATHS only those\n"
    "files and folders.\n"
    "\n"
    "Each change has a class: 'auto' landed or lands by itself, 'manual' waits for\n"
    "gvm commit, 'runs-on-host' needs your yes for this very file, 'discard' stays\n"
    "behind unless named.\n"
    "\n"
    "      --stat  one line for each file\n"
    "      --json  one JSON object a line for each file\n"
    "  -h, --help  this text\n";

enum form { DIFF, STAT, JSON };

static void print_line(struct gvm_str line, bool color)
{
    const char *on = "";
    if (color && line.n) {
        if (gvm_str_starts(line, GVM_STR("diff ")) || gvm_str_starts(line, GVM_STR("--- ")) ||
            gvm_str_starts(line, GVM_STR("+++ ")))
            on = "\033[1m";
        else if (gvm_str_starts(line, GVM_STR("@@")))
            on = "\033[36m";
        else if (line.p[0] == '-')
            on = "\033[31m";
        else if (line.p[0] == '+')
            on = "\033[32m";
    }
    fputs(on, stdout);
    cli_print_text(stdout, line);
    fputs(*on ? "\033[0m\n" : "\n", stdout);
}

static int print_diff(const struct cli_changes *c, const struct gvm_change *ch, bool color,
                      struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, MAX_DIFF);
    int r = gvm_change_diff(c->dir, ch, &out, err);
    if (r < 0)
        return r;
    struct gvm_str rest = gvm_buf_str(&out), line;
    while (rest.n) {
        gvm_str_cut(&rest, '\n', &line);
        print_line(line, color);
    }
    return 0;
}

static int print_json(const struct cli_changes *c, const struct gvm_change *ch, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 1u << 20);
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", c->id);
    cli_change_json(&w, ch);
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    printf("%s\n", gvm_buf_cstr(&out));
    return 0;
}

static int print_change(const struct cli_changes *c, const struct gvm_change *ch, enum form form,
                        bool color, struct gvm_err *err)
{
    if (form == JSON)
        return print_json(c, ch, err);
    cli_print_change(stdout, ch, color);
    return form == DIFF ? print_diff(c, ch, color, err) : 0;
}

static void print_end(const struct cli_changes *c, size_t shown)
{
    char count[64];
    if (!shown) {
        printf("run %s has no changes waiting\n", c->id);
        return;
    }
    printf("%s waiting in run %s", cli_count(shown, "change", count), c->id);
    printf(cli_changes_live(c) ? " (its agent still runs)\n" : " (gvm commit, gvm discard)\n");
}

static int diff(int argc, char **argv, enum form form, struct gvm_err *err)
{
    GVM_CLEANUP(cli_changes_done) struct cli_changes c;
    int r = cli_changes_open(argc, argv, &c, err);
    bool color = cli_color(STDOUT_FILENO);
    size_t shown = 0;
    for (size_t i = 0; r == 0 && i < c.all.n; i++) {
        if (!c.chosen[i])
            continue;
        r = print_change(&c, &c.all.list[i], form, color, err);
        shown++;
    }
    if (r == 0 && form != JSON)
        print_end(&c, shown);
    return r;
}

int cli_diff(int argc, char **argv)
{
    static const struct option longs[] = {{"stat", no_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    enum form form = DIFF;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        switch (c) {
        case 's':
            form = STAT;
            break;
        case 'j':
            form = JSON;
            break;
        case 'h':
            return cli_help(cli_diff_usage);
        default:
            return cli_bad_option("diff", argv);
        }
    }
    struct gvm_err err = {0};
    return diff(argc, argv, form, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
