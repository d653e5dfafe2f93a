/* gvm reload: the daemon reads its rules again, all or nothing. */
#include "cli/cli.h"
#include "cli/verbs.h"

#include <errno.h>
#include <inttypes.h>

const char cli_reload_usage[] =
    "usage: gvm reload [--json]\n"
    "\n"
    "Makes the daemon read its rule files again. All or nothing: with an error in one\n"
    "of them (shown as file:line:column) the rules in force stay, and the exit code\n"
    "is 1.\n"
    "\n"
    "      --json  print the new rules' hash and number as JSON\n"
    "  -h, --help  this text\n";

/* INFO is one object, or {"policies":[...]} when several files are loaded. */
static void show(const struct gvm_json *info)
{
    const struct gvm_json *list = gvm_json_get(info, "policies");
    for (const struct gvm_json *p = list ? list->child : info; p; p = list ? p->next : NULL) {
        const char *config = gvm_json_text(p, "config", "");
        printf("%" PRId64 " rules from ", gvm_json_int(p, "rules", 0));
        cli_print_safe(stdout, gvm_str(*config ? config : "the built-in default"));
        printf(", hash %s\n", gvm_json_text(p, "hash", "?"));
    }
}

static int reload(bool json, struct gvm_err *err)
{
    struct gvm_chan *chan = NULL;
    int r = cli_connect(false, &chan, err);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return gvm_err_set(err, -r, "gvmd is not running; it reads the rules when it starts");
    if (r < 0)
        return r;
    struct gvm_msg m = {0};
    r = gvm_chan_call(chan, GVM_MSG_CLIENT_RELOAD, NULL, 0, NULL, 0, 30000, NULL, NULL, &m, err);
    struct gvm_arena *a = r < 0 ? NULL : gvm_arena_new(1u << 20);
    struct gvm_json *info = NULL;
    if (r == 0 && !a)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = gvm_json_parse(a, gvm_msg_str(&m), &info, err);
    if (r == 0 && json)
        printf("%.*s\n", GVM_STR_ARG(gvm_msg_str(&m)));
    else if (r == 0)
        show(info);
    gvm_arena_free(a);
    gvm_msg_done(&m);
    gvm_chan_free(chan);
    return r;
}

int cli_reload(int argc, char **argv)
{
    bool json;
    int r = cli_only_json("reload", cli_reload_usage, argc, argv, &json);
    if (r >= 0)
        return r;
    struct gvm_err err = {0};
    return reload(json, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
