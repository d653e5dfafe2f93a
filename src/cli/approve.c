/* gvm approve: a person answers requests that a rule holds. */
#include "cli/approve_int.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 15000

const char cli_approve_usage[] =
    "usage: gvm approve\n"
    "       gvm approve --list [--json]\n"
    "       gvm approve --id ID --allow|--deny [--for TIME|run] [--reason TEXT]\n"
    "\n"
    "Answers requests that wait because a rule says RequireApproval. Alone, on a\n"
    "terminal: waits for them, shows each, and takes one key: a allow once, r allow\n"
    "for this run, d deny, s skip, q quit. No answer is never a yes: a request that\n"
    "nobody answers in time is denied.\n"
    "\n"
    "      --list         print what waits now\n"
    "      --id ID        the request to answer, as --list shows it\n"
    "      --allow        let it go\n"
    "      --deny         refuse it\n"
    "      --for TIME     allow what is like it for so long: 10m, 2h, or run\n"
    "      --reason TEXT  kept in the record\n"
    "      --json         print JSON, one object a line\n"
    "  -h, --help         this text\n";

struct options {
    bool list, json, allow, deny;
    const char *id, *for_text, *reason;
};

/* Where the person sits; NULL for a script. */
static const char *terminal_name(char dst[64])
{
    return isatty(STDIN_FILENO) && ttyname_r(STDIN_FILENO, dst, 64) == 0 ? dst : NULL;
}

int approve_send(struct gvm_chan *chan, const struct approve_answer *a,
                 void (*other)(void *arg, const struct gvm_msg *m), void *arg, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 4096);
    struct gvm_jw w;
    char terminal[64];
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "id", a->id);
    gvm_jw_kstrz(&w, "terminal", terminal_name(terminal));
    gvm_jw_kbool(&w, "allow", a->allow);
    gvm_jw_key(&w, "for");
    if (a->for_ms)
        gvm_jw_uint(&w, a->for_ms);
    else
        gvm_jw_strz(&w, a->for_run ? "run" : "once");
    gvm_jw_kstrz(&w, "reason", a->reason ? a->reason : "");
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, E2BIG, "the reason is too long");
    struct gvm_msg m = {0};
    int r = gvm_chan_call(chan, GVM_MSG_DECIDE, gvm_buf_data(&out), out.len, NULL, 0,
                          CALL_TIMEOUT_MS, other, arg, &m, err);
    gvm_msg_done(&m);
    return r;
}

static void field(FILE *f, const char *name, const struct gvm_json *ask, const char *key)
{
    const char *text = gvm_json_text(ask, key, "");
    if (!*text)
        return;
    fprintf(f, "  %-8s ", name);
    cli_print_safe(f, gvm_str(text));
    fputc('\n', f);
}

void approve_show(FILE *f, const struct gvm_json *ask, bool color)
{
    fputs(color ? "\033[1m" : "", f);
    cli_print_safe(f, gvm_str(gvm_json_text(ask, "method", "?")));
    fputc(' ', f);
    cli_print_safe(f, gvm_str(gvm_json_text(ask, "url", "?")));
    fputs(color ? "\033[0m\n" : "\n", f);
    field(f, "id", ask, "id");
    field(f, "agent", ask, "agent");
    field(f, "run", ask, "run");
    field(f, "rule", ask, "rule");
    field(f, "reason", ask, "reason");
    field(f, "body", ask, "excerpt");
}

static int list(struct gvm_chan *chan, bool json, struct gvm_err *err)
{
    struct gvm_msg m = {0};
    int r = gvm_chan_call(chan, GVM_MSG_APPROVALS, NULL, 0, NULL, 0, CALL_TIMEOUT_MS, NULL, NULL,
                          &m, err);
    if (r < 0)
        return r;
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    struct gvm_json *v = NULL;
    r = a ? gvm_json_parse(a, gvm_msg_str(&m), &v, err) : gvm_err_set(err, ENOMEM, "out of memory");
    const struct gvm_json *pending = r == 0 ? gvm_json_get(v, "pending") : NULL;
    for (const struct gvm_json *ask = pending ? pending->child : NULL; ask; ask = ask->next) {
        if (json)
            printf("%.*s\n", GVM_STR_ARG(ask->raw));
        else
            approve_show(stdout, ask, cli_color(STDOUT_FILENO));
    }
    if (r == 0 && !json && !(pending && pending->child))
        puts("nothing waits for an answer");
    if (v && gvm_json_bool(v, "more", false))
        cli_say("more requests wait than are shown");
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return r;
}

static int decide(struct gvm_chan *chan, const struct options *o, const struct approve_answer *a,
                  struct gvm_err *err)
{
    int r = approve_send(chan, a, NULL, NULL, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "request %.64s", a->id);
    if (o->json) {
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
        gvm_buf_init(&out, 4096);
        struct gvm_jw w;
        gvm_jw_init(&w, &out);
        gvm_jw_object(&w);
        gvm_jw_kstrz(&w, "id", a->id);
        gvm_jw_kbool(&w, "allow", a->allow);
        gvm_jw_object_end(&w);
        printf("%s\n", gvm_buf_cstr(&out));
        return 0;
    }
    printf(a->allow ? "allowed\n" : "denied\n");
    return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"list", no_argument, NULL, 'l'},
                                          {"id", required_argument, NULL, 'i'},
                                          {"allow", no_argument, NULL, 'a'},
                                          {"deny", no_argument, NULL, 'd'},
                                          {"for", required_argument, NULL, 'f'},
                                          {"reason", required_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        switch (c) {
        case 'l':
            o->list = true;
            break;
        case 'i':
            o->id = optarg;
            break;
        case 'a':
            o->allow = true;
            break;
        case 'd':
            o->deny = true;
            break;
        case 'f':
            o->for_text = optarg;
            break;
        case 'r':
            o->reason = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'h':
            cli_help(cli_approve_usage);
            return -1;
        default:
            return cli_bad_option("approve", argv);
        }
    }
    return optind < argc ? cli_usage("approve", "unexpected '%s'", argv[optind]) : 0;
}

/* The answer the options ask for; an exit code, 0 when they are in order. */
static int to_answer(const struct options *o, struct approve_answer *a)
{
    if (o->list)
        return cli_usage("approve", "--list and --id do not go together");
    if (o->allow == o->deny)
        return cli_usage("approve", "say --allow or --deny");
    if (o->for_text && o->deny)
        return cli_usage("approve", "--for goes with --allow");
    if (o->id[0] == '\0' || strlen(o->id) > 256)
        return cli_usage("approve", "that is no request's id");
    if (o->reason && strlen(o->reason) > GVM_MAX_REASON)
        return cli_usage("approve", "a reason has at most %u bytes", GVM_MAX_REASON);
    *a = (struct approve_answer){.id = o->id, .allow = o->allow, .reason = o->reason};
    if (!o->for_text || strcmp(o->for_text, "once") == 0)
        return 0;
    a->for_run = strcmp(o->for_text, "run") == 0;
    if (!a->for_run && (gvm_parse_duration_ms(gvm_str(o->for_text), &a->for_ms) < 0 || !a->for_ms))
        return cli_usage("approve", "--for needs a time like 10m, or run");
    return 0;
}

static int without_daemon(const struct options *o, int r, struct gvm_err *err)
{
    if (r != -ENOENT && r != -ECONNREFUSED)
        return cli_fail(GVM_EXIT_ERROR, err);
    if (o->id) {
        gvm_err_set(err, ENOENT, "gvmd is not running: no request waits");
        return cli_fail(GVM_EXIT_ERROR, err);
    }
    if (!o->json)
        puts("nothing waits for an answer: gvmd is not running");
    return cli_flush();
}

int cli_approve(int argc, char **argv)
{
    struct options o = {0};
    struct approve_answer answer = {0};
    int code = parse(argc, argv, &o);
    if (code)
        return code < 0 ? GVM_EXIT_OK : code;
    o.list |= o.json && !o.id;
    if (!o.id && (o.allow || o.deny || o.for_text || o.reason))
        return cli_usage("approve", "say which request with --id");
    if (o.id && (code = to_answer(&o, &answer)) != 0)
        return code;
    bool ask = !o.id && !o.list;
    if (ask && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
        return cli_usage("approve", "there is no terminal to ask on; use --list and --id");
    struct gvm_err err = {0};
    struct gvm_chan *chan = NULL;
    int r = cli_connect(ask, &chan, &err);
    if (r < 0)
        return without_daemon(&o, r, &err);
    if (ask)
        code = approve_interactive(chan);
    else
        r = o.id ? decide(chan, &o, &answer, &err) : list(chan, o.json, &err);
    gvm_chan_free(chan);
    if (r < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    int flushed = cli_flush();
    return code ? code : flushed;
}
