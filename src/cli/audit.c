/* gvm audit: the record's evidence - keys, heads, proofs, verification. */
#include "cli/audit_int.h"
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char cli_audit_usage[] =
    "usage: gvm audit verify [--key KEY] [--dir DIR [--tiles]] [--since FILE]\n"
    "                        [--resume FILE] [--json]\n"
    "       gvm audit prove INDEX|EVENT [--out FILE] [--redact NAMES] [--dir DIR]\n"
    "       gvm audit prove EVENT --bundle|--run RUN|--where NAME=VALUE...\n"
    "                       [--out FILE] [--redact NAMES] [--dir DIR]\n"
    "       gvm audit extends --since FILE [--out FILE] [--dir DIR]\n"
    "       gvm audit verify-proof FILE --key KEY [--entry FILE] [--since FILE]\n"
    "                       [--json]\n"
    "       gvm audit checkpoint [--dir DIR]\n"
    "       gvm audit head FILE [--key KEY] [--witness KEY]... [--json]\n"
    "                       [--timestamp FILE --ca FILE]\n"
    "       gvm audit timestamp [--url URL] [--ca FILE] [--dir DIR]\n"
    "       gvm audit publish [--dir DIR]\n"
    "       gvm audit export --format jsonl|tlog-tiles [--out PATH] [--redact all]\n"
    "                       [--dir DIR]\n"
    "       gvm audit serve [--listen ADDRESS:PORT] [--dir DIR]\n"
    "       gvm audit key [--chain] [--dir DIR]\n"
    "       gvm audit keygen --out FILE [--origin NAME]\n"
    "       gvm audit rotate-key|protect-key|unprotect-key\n"
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
    "head          says what a checkpoint holds, which witnesses cosigned it, and\n"
    "              when an authority saw it\n"
    "timestamp     has an authority (RFC 3161) say that the head exists now; keeps\n"
    "              its answer and the head in the state directory, under anchors/\n"
    "publish       gives the head to everybody [audit] export names, and to the\n"
    "              authority of [audit.timestamp] when that is due; gvmd runs it\n"
    "export        writes what was signed: the lines, or a static directory of\n"
    "              tlog-tiles without private members, for strangers to verify\n"
    "serve         gives the same directory out over HTTP, read only, as the record\n"
    "              grows; says where, and goes on until it is stopped\n"
    "key           prints the verifier key\n"
    "keygen        makes a new signing seed and prints its verifier key\n"
    "rotate-key    makes a new signing seed for the record and has the old key vouch\n"
    "              for it; takes effect when gvmd starts next\n"
    "protect-key   puts the signing seed under the passphrase in the file that\n"
    "              GVM_LOG_PASSPHRASE_FILE names; gvmd then needs it to start.\n"
    "              unprotect-key undoes it\n"
    "\n"
    "      --key KEY      verifier key (name+hex+base64), or a file that holds one\n"
    "      --dir DIR      the ledger's directory, when it is not this user's own\n"
    "      --chain        the record's first key, and how it led to the present one:\n"
    "                     a file for --key\n"
    "      --tiles        DIR is a static directory of tlog-tiles, anybody's\n"
    "      --since FILE   a checkpoint kept elsewhere, older or newer\n"
    "      --resume FILE  a head verified before: reads only what came after it, and\n"
    "                     keeps the new one there when all is good\n"
    "      --entry FILE   the entry's bytes (FILE.entry)\n"
    "      --bundle       every entry of the event (a request's outcome ...)\n"
    "      --run RUN      every entry of a run\n"
    "      --where N=V    every entry whose member N is V; may be repeated\n"
    "      --redact A,B   leave out these private members (or: all)\n"
    "      --witness KEY  a witness's key, or a file that holds one; exit 3 when it\n"
    "                     did not cosign\n"
    "      --url URL      the authority, instead of [audit.timestamp] url\n"
    "      --timestamp F  an authority's answer for this head\n"
    "      --ca FILE      certificates of authorities that are trusted (PEM)\n"
    "      --format F     what export writes\n"
    "      --listen A:P   where serve listens (127.0.0.1 and any free port)\n"
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

/* The text of --key, of the file it names, or of the verifier-key in the ledger's directory. */
static int key_text(const struct audit_opts *o, struct gvm_buf *text, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_vkey key;
    if (o->key && gvm_vkey_parse(gvm_str(o->key), &key, NULL) == 0) {
        gvm_buf_init(text, GVM_MAX_VOUCHERS);
        return gvm_buf_addz(text, o->key) < 0 ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
    }
    int n = o->key ? snprintf(path, sizeof path, "%s", o->key)
                   : snprintf(path, sizeof path, "%s/verifier-key", o->dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return gvm_err_set(err, ENAMETOOLONG, "the key's name is too long");
    int r = audit_read(path, GVM_MAX_VOUCHERS, text, err);
    return gvm_err_wrap(err, r,
                        o->key ? "not a verifier key, nor a file that holds one"
                               : "no verifier key (--key)");
}

/* What stands behind the key's line, or (of our own directory) in key-chain. */
static int vouchers(const struct audit_opts *o, struct gvm_str rest, struct gvm_buf *file,
                    struct gvm_str *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_err why = {0};
    *ret = rest;
    if (rest.n || !o->dir[0])
        return 0;
    (void)snprintf(path, sizeof path, "%s/key-chain", o->dir);
    int r = gvm_read_file(path, file, &why);
    if (r < 0 && why.code != ENOENT)
        return gvm_err_set(err, why.code, "%s", why.text);
    *ret = gvm_buf_str(file);
    return 0;
}

int audit_keys_load(const struct audit_opts *o, struct gvm_keychain *ret, struct gvm_err *err)
{
    struct gvm_vkey first;
    struct gvm_buf text = {0}, file;
    struct gvm_str rest, line;
    gvm_buf_init(&file, GVM_MAX_VOUCHERS);
    int r = key_text(o, &text, err);
    rest = gvm_buf_str(&text);
    (void)gvm_str_cut(&rest, '\n', &line);
    if (!r)
        r = gvm_err_wrap(err, gvm_vkey_parse(line, &first, err), "the verifier key");
    if (!r)
        r = vouchers(o, rest, &file, &rest, err);
    if (!r)
        r = gvm_keychain_follow(&first, rest, ret, err);
    gvm_buf_done(&text);
    gvm_buf_done(&file);
    return r;
}

/* ---- which verb takes what ---- */

enum {
    KEY = 1 << 0,
    DIR = 1 << 1,
    SINCE = 1 << 2,
    JSON = 1 << 3,
    OUT = 1 << 4,
    ENTRY = 1 << 5,
    ORIGIN = 1 << 6,
    RUN = 1 << 7,
    WHERE = 1 << 8,
    REDACT = 1 << 9,
    BUNDLE = 1 << 10,
    FORMAT = 1 << 11,
    WITNESS = 1 << 12,
    TILES = 1 << 13,
    URL = 1 << 14,
    CA = 1 << 15,
    TIMESTAMP = 1 << 16,
    CHAIN = 1 << 17,
    RESUME = 1 << 18,
    LISTEN = 1 << 19,
    ARG = 1 << 30,
};

static const struct audit_verb {
    const char *name;
    int (*run)(const struct audit_opts *o);
    unsigned takes;
} verbs[] = {
    {"verify", audit_verify, KEY | DIR | SINCE | RESUME | JSON | TILES},
    {"prove", audit_prove, DIR | OUT | ARG | RUN | WHERE | REDACT | BUNDLE},
    {"extends", audit_extends, DIR | OUT | SINCE},
    {"verify-proof", audit_verify_proof, KEY | JSON | ENTRY | SINCE | ARG},
    {"checkpoint", audit_checkpoint, DIR},
    {"head", audit_head, KEY | DIR | WITNESS | JSON | ARG | TIMESTAMP | CA},
    {"timestamp", audit_timestamp, DIR | URL | CA},
    {"publish", audit_publish, DIR},
    {"export", audit_export, DIR | OUT | FORMAT | REDACT},
    {"serve", audit_serve, DIR | LISTEN},
    {"key", audit_key, DIR | CHAIN},
    {"keygen", audit_keygen, OUT | ORIGIN},
    {"rotate-key", audit_rotate_key, 0},
    {"protect-key", audit_protect_key, 0},
    {"unprotect-key", audit_unprotect_key, 0},
};

static const struct option options[] = {
    {"bundle", no_argument, NULL, BUNDLE},
    {"ca", required_argument, NULL, CA},
    {"chain", no_argument, NULL, CHAIN},
    {"dir", required_argument, NULL, DIR},
    {"entry", required_argument, NULL, ENTRY},
    {"format", required_argument, NULL, FORMAT},
    {"help", no_argument, NULL, 'h'},
    {"json", no_argument, NULL, JSON},
    {"key", required_argument, NULL, KEY},
    {"listen", required_argument, NULL, LISTEN},
    {"origin", required_argument, NULL, ORIGIN},
    {"out", required_argument, NULL, OUT},
    {"redact", required_argument, NULL, REDACT},
    {"resume", required_argument, NULL, RESUME},
    {"run", required_argument, NULL, RUN},
    {"since", required_argument, NULL, SINCE},
    {"tiles", no_argument, NULL, TILES},
    {"timestamp", required_argument, NULL, TIMESTAMP},
    {"url", required_argument, NULL, URL},
    {"where", required_argument, NULL, WHERE},
    {"witness", required_argument, NULL, WITNESS},
    {NULL, 0, NULL, 0},
};

static const char *option_name(int c)
{
    for (const struct option *o = options; o->name; o++)
        if (o->val == c)
            return o->name;
    return "?";
}

/* False when a list is full. */
static bool add(const char **list, unsigned *n, unsigned max, const char *arg)
{
    if (*n == max)
        return false;
    list[(*n)++] = arg;
    return true;
}

static bool set_option(struct audit_opts *o, int c, const char *arg)
{
    const struct {
        int c;
        const char **to;
    } texts[] = {{KEY, &o->key},       {SINCE, &o->since},   {RESUME, &o->resume},
                 {OUT, &o->out},       {ENTRY, &o->entry},   {RUN, &o->run},
                 {ORIGIN, &o->origin}, {REDACT, &o->redact}, {FORMAT, &o->format},
                 {URL, &o->url},       {CA, &o->ca},         {TIMESTAMP, &o->timestamp},
                 {LISTEN, &o->listen}};
    if (c == WHERE)
        return add(o->where, &o->nwhere, AUDIT_WHERE, arg);
    if (c == WITNESS)
        return add(o->witness, &o->nwitness, AUDIT_WITNESSES, arg);
    if (c == DIR)
        return gvm_str_copy(o->dir, sizeof o->dir, gvm_str(arg)) == 0;
    o->json |= c == JSON;
    o->bundle |= c == BUNDLE;
    o->tiles |= c == TILES;
    o->chain |= c == CHAIN;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].c == c)
            *texts[i].to = arg;
    return true;
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
        if (!set_option(o, c, optarg))
            return cli_usage("audit", "--%s is too long, or given too often", option_name(c)) + 1;
    }
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
