/* conf/load.c - a whole file in, a whole configuration out, or nothing.
 *
 * The text is checked before it is parsed: control bytes (they would reach a terminal through error
 * messages), and runs of dots deep enough to exhaust the stack of the TOML library. It is checked
 * after: a text that says [[rules]] and yields none was not understood.
 */
#include "conf/conf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* toml++ makes one nested table per dot of a key and takes them apart by recursion; 30,000 levels
 * overflow 8 MB of stack. Lines of up to DOTS_FREE dots under 256 nested values (the library's own
 * limit) stay below 17,000; lines with more share DOTS_BUDGET. */
enum { DOTS_FREE = 64, DOTS_BUDGET = 8192 };

static const struct gvm_conf_timeouts default_timeouts = {
    .head = 30000,
    .connect = 10000,
    .tls = 15000,
    .first_byte = 300000,
    .idle = 300000,
    .approval = 300000,
    .pool_idle = 60000,
    .pool_life = 3600000,
};

int conf_new(size_t max, struct gvm_conf **ret, struct gvm_err *err)
{
    struct gvm_arena *a = gvm_arena_new(max);
    struct gvm_conf *c = a ? gvm_arena_alloc(a, sizeof *c) : NULL;
    if (!c) {
        gvm_arena_free(a);
        return gvm_err_set(err, ENOMEM, "no memory for the configuration");
    }
    c->arena = a;
    c->path = c->ca_pem = c->proxy_host = GVM_STR("");
    c->dflt = (struct gvm_conf_decision){.type = GVM_DELAY, .delay_ms = 300};
    c->timeouts = default_timeouts;
    c->undo_keep_ms = UINT64_C(90) * 86400000;
    c->anchor = (struct gvm_conf_anchor){.export_ms = 600000, .ts_ms = 86400000};
    c->anchor.ts_url = c->anchor.ts_ca = GVM_STR("");
    *ret = c;
    return 0;
}

void gvm_conf_free(struct gvm_conf *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->ncreds; i++) {
        const struct gvm_str secrets[] = {c->creds[i].value, c->creds[i].identity};
        for (size_t k = 0; k < 2; k++)
            if (secrets[k].n)
                explicit_bzero((char *)(uintptr_t)secrets[k].p, secrets[k].n);
    }
    gvm_arena_free(c->arena); /* `c` lies in it */
}

int conf_fill_hash(struct gvm_conf *c, struct gvm_err *err)
{
    struct gvm_buf text;
    uint8_t md[32];
    gvm_buf_init(&text, GVM_MAX_POLICY);
    int r = gvm_policy_encode(c, &text);
    if (r < 0)
        r = gvm_err_set(err, -r, "the policy is larger than %u bytes", GVM_MAX_POLICY);
    else if (EVP_Digest(gvm_buf_data(&text), text.len, md, NULL, EVP_sha256(), NULL) != 1)
        r = gvm_err_set(err, ENOMEM, "SHA-256 failed");
    else
        gvm_hex(c->hash, md, sizeof md);
    gvm_buf_done(&text);
    return r;
}

/* ---- checks on the text ---- */

static int check_dots(struct conf_ctx *x, uint32_t line, unsigned dots, unsigned *budget)
{
    if (dots <= DOTS_FREE)
        return 0;
    if (dots > *budget)
        return conf_bad(x, line, 1,
                        "the line has %u dots; that many dotted parts are not read, use "
                        "shorter keys or patterns",
                        dots);
    *budget -= dots;
    return 0;
}

static int check_text(struct conf_ctx *x, struct gvm_str text)
{
    uint32_t line = 1, col = 1;
    unsigned dots = 0, budget = DOTS_BUDGET;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool c1 = c == 0xc2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xa0;
        bool crlf = c == '\r' && i + 1 < text.n && text.p[i + 1] == '\n';
        if (((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f || c1) && !crlf)
            return conf_bad(x, line, col,
                            "control byte 0x%02x; take it out (it may have come from a "
                            "terminal)",
                            c1 ? (unsigned char)text.p[i + 1] : c);
        dots += c == '.';
        if (c == '\n') {
            int r = check_dots(x, line, dots, &budget);
            if (r < 0)
                return r;
            line++;
            col = dots = 0;
        }
        col += (c & 0xc0) != 0x80;
    }
    return check_dots(x, line, dots, &budget);
}

/* Line of the first "[[rules]]" header in the text; 0 when there is none. */
static uint32_t find_header(struct gvm_str text)
{
    struct gvm_str line;
    for (uint32_t n = 1; text.n; n++) {
        (void)gvm_str_cut(&text, '\n', &line);
        if (gvm_str_starts(gvm_str_trim(line), GVM_STR("[[rules]]")))
            return n;
    }
    return 0;
}

static int check_header(struct conf_ctx *x, struct gvm_str text)
{
    uint32_t line = x->c->nrules ? 0 : find_header(text);
    if (!line)
        return 0;
    return conf_bad(x, line, 1,
                    "[[rules]] stands here but no rule was read; look for a string that is "
                    "not closed before it");
}

/* ---- parse ---- */

static int parse_toml(struct conf_ctx *x, struct gvm_str text, struct conf_toml **ret,
                      const struct conf_node **ret_root)
{
    char msg[400] = "";
    uint32_t line = 1, col = 1;
    int r =
        conf_toml_parse(text.p ? text.p : "", text.n, ret, ret_root, &line, &col, msg, sizeof msg);
    if (r == -ENOMEM)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    if (r < 0)
        return conf_bad(x, line ? line : 1, col ? col : 1, "not valid TOML: %s; correct the line",
                        msg);
    return 0;
}

int conf_parse_text(struct conf_ctx *x, struct gvm_str text, struct conf_toml **ret,
                    const struct conf_node **ret_root)
{
    int r = text.n > GVM_MAX_CONFIG
                ? gvm_err_set(x->err, EFBIG, "%s: longer than %u bytes", x->label, GVM_MAX_CONFIG)
                : check_text(x, text);
    return r < 0 ? r : parse_toml(x, text, ret, ret_root);
}

static int read_text(struct conf_ctx *x, struct gvm_str text)
{
    struct conf_toml *toml = NULL;
    const struct conf_node *root = NULL;
    int r = conf_parse_text(x, text, &toml, &root);
    if (r >= 0)
        r = conf_read_document(x, root);
    if (r >= 0)
        r = check_header(x, text);
    if (r >= 0)
        r = conf_fill_hash(x->c, x->err);
    conf_toml_free(toml);
    return r;
}

static int parse_in(struct conf_ctx *x, struct gvm_str text, struct gvm_conf **ret)
{
    if (text.n > GVM_MAX_CONFIG)
        return gvm_err_set(x->err, EFBIG, "%s: longer than %u bytes; split it or use patterns",
                           x->label, GVM_MAX_CONFIG);
    int r = conf_new((size_t)GVM_MAX_CONFIG * 16, &x->c, x->err);
    if (r < 0)
        return r;
    x->c->path = conf_dup(x, gvm_str(x->label));
    r = x->c->path.p ? read_text(x, text)
                     : gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    if (r < 0) {
        gvm_conf_free(x->c);
        return r;
    }
    *ret = x->c;
    return 0;
}

int gvm_conf_parse(struct gvm_str text, const char *label, const char *base, struct gvm_conf **ret,
                   struct gvm_err *err)
{
    struct conf_ctx x = {.label = label, .base = base, .err = err};
    return parse_in(&x, text, ret);
}

int gvm_conf_default(struct gvm_conf **ret, struct gvm_err *err)
{
    struct gvm_conf *c;
    int r = conf_new(64u << 10, &c, err);
    if (r < 0)
        return r;
    r = conf_fill_hash(c, err);
    if (r < 0) {
        gvm_conf_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

/* ---- file ---- */

/* One open: what is judged by mode is what is read. */
static int read_file(const char *path, struct gvm_buf *text, mode_t *ret_mode, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) < 0)
        return gvm_err_sys(err, errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return gvm_err_set(err, EINVAL, "%s is not a regular file; give a TOML file", path);
    if (st.st_mode & S_IWOTH)
        return gvm_err_set(err, EPERM,
                           "%s can be written by everybody (mode %04o); run chmod o-w on it", path,
                           (unsigned)(st.st_mode & 07777));
    int r = gvm_read_fd(fd, text);
    if (r == -EFBIG || r == -ENOBUFS)
        return gvm_err_set(err, EFBIG, "%s is longer than %u bytes; split it or use patterns", path,
                           GVM_MAX_CONFIG);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read %s", path);
    *ret_mode = st.st_mode;
    return 0;
}

int conf_base(const char *path, char dst[GVM_PATH_MAX], struct gvm_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    struct gvm_str dir = {slash ? path : ".", n ? n : 1};
    if (gvm_str_copy(dst, GVM_PATH_MAX, dir) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path of the configuration is too long");
    return 0;
}

int gvm_conf_load(const char *path, struct gvm_conf **ret, struct gvm_err *err)
{
    struct conf_ctx x = {.label = path, .err = err};
    char base[GVM_PATH_MAX];
    struct gvm_buf text;
    int r = conf_base(path, base, err);
    if (r < 0)
        return r;
    x.base = base;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    r = read_file(path, &text, &x.mode, err);
    x.loose = (x.mode & 077) != 0;
    if (r >= 0)
        r = parse_in(&x, gvm_buf_str(&text), ret);
    gvm_buf_wipe(&text);
    return r;
}
