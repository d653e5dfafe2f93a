/* gvm audit: the record's evidence - keys, heads, proofs, verification. */
#include "cli/audit_int.h"
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

const char cli_audit_usage[] =
    "usage: gvm audit verify [--key KEY] [--dir DIR] [--since FILE] [--resume FILE]\n"
    "                        [--json]\n"
    "       gvm audit prove INDEX|EVENT [--out FILE] [--redact NAMES] [--dir DIR]\n"
    "       gvm audit prove EVENT --bundle|--run RUN|--where NAME=VALUE...\n"
    "                       [--out FILE] [--redact NAMES] [--dir DIR]\n"
    "       gvm audit extends --since FILE [--out FILE] [--dir DIR]\n"
    "       gvm audit verify-proof FILE --key KEY [--entry FILE] [--since FILE]\n"
    "                       [--json]\n"
    "       gvm audit checkpoint [--dir DIR]\n"
    "       gvm audit key [--dir DIR]\n"
    "       gvm audit keygen --out FILE [--origin NAME]\n"
    "\n"
    "The record is a transparency log in the formats of c2sp.org: other programs\n"
    "that read them verify it too.\n"
    "\n"
    "verify        reads the whole record: every entry, tile and signature\n"
    "prove         makes the proof that one entry stands in the record; with --out it\n"
    "              writes FILE, the entry itself into FILE.entry, and its private\n"
    "              members into FILE.private. With --bundle, --run or --where it puts\n"
    "              all entries that fit, and their proofs, into one file\n"
    "extends       makes the proof that the record extends an older head\n"
    "verify-proof  checks what these made; needs nothing but the files and the key\n"
    "checkpoint    prints the signed head; kept elsewhere, it shows later whether the\n"
    "              record was cut or rewritten (verify --since)\n"
    "key           prints the verifier key\n"
    "keygen        makes a new signing seed and prints its verifier key\n"
    "\n"
    "      --key KEY      verifier key (name+hex+base64), or a file that holds one\n"
    "      --dir DIR      the ledger's directory, when it is not this user's own\n"
    "      --since FILE   a checkpoint kept elsewhere, older or newer\n"
    "      --resume FILE  a head verified before: reads only what came after it, and\n"
    "                     keeps the new one there when all is good\n"
    "      --entry FILE   the entry's bytes (FILE.entry)\n"
    "      --bundle       every entry of the event (a request's outcome ...)\n"
    "      --run RUN      every entry of a run\n"
    "      --where N=V    every entry whose member N is V; may be repeated\n"
    "      --redact A,B   leave out these private members (or: all)\n"
    "      --out FILE     where to write\n"
    "      --origin NAME  the name of the log the key is for\n"
    "      --json         as one JSON object\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0 all good, 1 failed, 2 usage, or a record or key that cannot be\n"
    "used, 3 tampering found.\n";

int audit_read(const char *path, size_t max, struct gvm_buf *out, struct gvm_err *err)
{
    gvm_buf_init(out, max);
    return gvm_read_file(path, out, err);
}

int audit_write(const char *path, const char *suffix, const struct gvm_buf *b, struct gvm_err *err)
{
    char name[GVM_PATH_MAX];
    int n = snprintf(name, sizeof name, "%s%s", path, suffix);
    if (n < 0 || (size_t)n >= sizeof name)
        return gvm_err_set(err, ENAMETOOLONG, "the name is too long");
    GVM_AUTOCLOSE int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot write %s", name);
    int r = gvm_write_all(fd, gvm_buf_data(b), b->len);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", name) : 0;
}

int audit_key_load(const struct audit_opts *o, struct gvm_vkey *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    if (o->key && gvm_vkey_parse(gvm_str(o->key), ret, NULL) == 0)
        return 0;
    if (o->key)
        (void)snprintf(path, sizeof path, "%s", o->key);
    else
        (void)snprintf(path, sizeof path, "%s/verifier-key", o->dir);
    struct gvm_buf text;
    int r = audit_read(path, 4096, &text, err);
    if (!r)
        r = gvm_err_wrap(err, gvm_vkey_parse(gvm_buf_str(&text), ret, err), "%s", path);
    else
        gvm_err_wrap(err, r,
                     o->key ? "not a verifier key, nor a file that holds one"
                            : "no verifier key (--key)");
    gvm_buf_done(&text);
    return r;
}

static int print_key(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_vkey key;
    struct gvm_buf text;
    if (audit_key_load(o, &key, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    gvm_buf_init(&text, 1024);
    if (gvm_vkey_text(&key, &text) == 0)
        printf("%s\n", gvm_buf_cstr(&text));
    gvm_buf_done(&text);
    return cli_flush();
}

static int print_checkpoint(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_buf note;
    struct gvm_checkpoint cp;
    char path[GVM_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/checkpoint", o->dir);
    int r = audit_read(path, GVM_MAX_NOTE, &note, &err);
    if (!r) /* so that nothing but a checkpoint reaches the terminal */
        r = gvm_err_wrap(&err, gvm_checkpoint_parse(gvm_buf_str(&note), &cp, &err), "%s", path);
    if (!r)
        fwrite(gvm_buf_data(&note), 1, note.len, stdout);
    gvm_buf_done(&note);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}

/* The proof that the record extends an older head, as a witness wants it. */
static int extends(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_buf note, proof;
    struct gvm_checkpoint old;
    if (!o->since)
        return cli_usage("audit", "extends needs the older checkpoint: --since FILE");
    gvm_buf_init(&proof, GVM_MAX_PROOF);
    int r = audit_read(o->since, GVM_MAX_NOTE, &note, &err);
    if (!r)
        r = gvm_err_wrap(&err, gvm_checkpoint_parse(gvm_buf_str(&note), &old, &err), "%s",
                         o->since);
    int code = GVM_EXIT_ERROR;
    if (!r) {
        r = gvm_extends_make(o->dir, &old, &proof, &err);
        code = r == -EBADMSG ? GVM_EXIT_DENIED : GVM_EXIT_ERROR;
    }
    if (!r && o->out)
        r = audit_write(o->out, "", &proof, &err);
    else if (!r)
        fwrite(gvm_buf_data(&proof), 1, proof.len, stdout);
    gvm_buf_done(&note);
    gvm_buf_done(&proof);
    return r < 0 ? cli_fail(code, &err) : cli_flush();
}

static int write_seed(const char *path, const uint8_t seed[32], struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, errno == EEXIST ? "%s is left as it is" : "cannot make %s",
                           path);
    int r = gvm_write_all(fd, seed, 32);
    if (!r && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", path) : 0;
}

static int keygen(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    uint8_t seed[32];
    struct gvm_vkey key;
    struct gvm_buf text;
    char host[128] = "localhost", name[GVM_MAX_ORIGIN + 1];
    if (!o->out)
        return cli_usage("audit", "keygen needs --out FILE");
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, sizeof name, "gvm.local/%s/%u", host, (unsigned)geteuid());
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        return cli_fail(GVM_EXIT_ERROR, &err);
    int r = gvm_vkey_from_seed(seed, o->origin ? o->origin : name, &key, &err);
    int bad = r == -EINVAL ? GVM_EXIT_USAGE : GVM_EXIT_ERROR;
    if (!r)
        r = write_seed(o->out, seed, &err);
    explicit_bzero(seed, sizeof seed);
    if (r < 0)
        return cli_fail(bad, &err);
    gvm_buf_init(&text, 1024);
    if (gvm_vkey_text(&key, &text) == 0)
        printf("%s\n", gvm_buf_cstr(&text));
    gvm_buf_done(&text);
    return cli_flush();
}

/* ---- which verb takes what ---- */

enum {
    KEY = 1,
    DIR = 2,
    SINCE = 4,
    JSON = 8,
    OUT = 16,
    ENTRY = 32,
    ORIGIN = 64,
    ARG = 128,
    RUN = 256,
    WHERE = 512,
    REDACT = 1024,
    BUNDLE = 2048,
    RESUME = 4096
};

static const struct audit_verb {
    const char *name;
    int (*run)(const struct audit_opts *o);
    unsigned takes;
} verbs[] = {
    {"verify", audit_verify, KEY | DIR | SINCE | RESUME | JSON},
    {"prove", audit_prove, DIR | OUT | ARG | RUN | WHERE | REDACT | BUNDLE},
    {"extends", extends, DIR | OUT | SINCE},
    {"verify-proof", audit_verify_proof, KEY | JSON | ENTRY | SINCE | ARG},
    {"checkpoint", print_checkpoint, DIR},
    {"key", print_key, DIR},
    {"keygen", keygen, OUT | ORIGIN},
};

static const struct option options[] = {
    {"key", required_argument, NULL, KEY},
    {"dir", required_argument, NULL, DIR},
    {"since", required_argument, NULL, SINCE},
    {"json", no_argument, NULL, JSON},
    {"resume", required_argument, NULL, RESUME},
    {"out", required_argument, NULL, OUT},
    {"entry", required_argument, NULL, ENTRY},
    {"origin", required_argument, NULL, ORIGIN},
    {"run", required_argument, NULL, RUN},
    {"where", required_argument, NULL, WHERE},
    {"redact", required_argument, NULL, REDACT},
    {"bundle", no_argument, NULL, BUNDLE},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char *option_name(int c)
{
    for (const struct option *o = options; o->name; o++)
        if (o->val == c)
            return o->name;
    return "?";
}

static void set_option(struct audit_opts *o, int c, const char *arg)
{
    struct {
        int c;
        const char **to;
    } texts[] = {{KEY, &o->key}, {SINCE, &o->since},  {RESUME, &o->resume},
                 {OUT, &o->out}, {ENTRY, &o->entry},  {ORIGIN, &o->origin},
                 {RUN, &o->run}, {REDACT, &o->redact}};
    if (c == JSON)
        o->json = true;
    if (c == BUNDLE)
        o->bundle = true;
    if (c == WHERE && o->nwhere < AUDIT_WHERE)
        o->where[o->nwhere] = arg;
    o->nwhere += c == WHERE;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].c == c)
            *texts[i].to = arg;
}

/* 0, or an exit code + 1: everything was said. */
static int parse(const struct audit_verb *verb, struct audit_opts *o, int argc, char **argv)
{
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'h')
            return cli_help(cli_audit_usage) + 1;
        if (c == '?')
            return cli_bad_option("audit", argv) + 1;
        if (!(verb->takes & (unsigned)c))
            return cli_usage("audit", "%s takes no --%s", verb->name, option_name(c)) + 1;
        if (c == DIR && gvm_str_copy(o->dir, sizeof o->dir, gvm_str(optarg)) < 0)
            return cli_usage("audit", "the directory's name is too long") + 1;
        set_option(o, c, optarg);
    }
    if (o->nwhere > AUDIT_WHERE)
        return cli_usage("audit", "--where at most %u times", AUDIT_WHERE) + 1;
    if (verb->takes & ARG && optind < argc)
        o->arg = argv[optind++];
    if (optind < argc)
        return cli_usage("audit", "what is '%s'?", argv[optind]) + 1;
    return 0;
}

int cli_audit(int argc, char **argv)
{
    struct gvm_err err = {0};
    struct audit_opts o = {0};
    const struct audit_verb *verb = NULL;
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return cli_help(cli_audit_usage);
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            verb = &verbs[i];
    if (!verb)
        return cli_usage("audit", argc > 1 ? "there is no 'audit %s'" : "audit what?%s",
                         argc > 1 ? argv[1] : "");
    int r = parse(verb, &o, argc - 1, argv + 1);
    if (r)
        return r - 1;
    if (!o.dir[0] && gvm_place_path(GVM_PLACE_STATE, "ledger", o.dir, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    return verb->run(&o);
}
