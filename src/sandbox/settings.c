/* Files of settings (.env) with their values taken out.
 *
 * Only what is surely a name leaves this file: [export] NAME = value, where NAME is a letter or
 * underscore and then letters, digits, underscores, dots. Values may be quoted with ", ' or `, over
 * several lines. Comments are left out, they often hold the value of yesterday. A line that is
 * nothing of this kind is left out together with what follows it up to the next assignment: it may
 * be the middle of a key, whose last line looks like a name.
 */
/* SHA256_Update() and not EVP: loading OpenSSL's providers takes longer than all the rest. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <openssl/sha.h>

#define MAX_NAME 128
#define PH_BYTES 12

static bool is_name(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        bool more = (c >= '0' && c <= '9') || c == '.';
        if (!letter && !(i && more))
            return false;
    }
    return s.n > 0 && s.n <= MAX_NAME;
}

static struct gvm_str trim(struct gvm_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

/* "gvm-ph-" and hex digits made of the file and the name, so that it is the same in every run and
 * says nothing about the value. */
static void put_placeholder(struct gvm_buf *out, const char *path, struct gvm_str name)
{
    SHA256_CTX c;
    uint8_t sum[SHA256_DIGEST_LENGTH];
    char hex[2 * PH_BYTES + 1];
    SHA256_Init(&c);
    SHA256_Update(&c, path, strlen(path) + 1);
    SHA256_Update(&c, name.p, name.n);
    SHA256_Final(sum, &c);
    gvm_hex(hex, sum, PH_BYTES);
    gvm_buf_addz(out, SANDBOX_PLACEHOLDER);
    gvm_buf_add(out, hex, 2 * PH_BYTES);
}

/* Goes behind a quoted value, which may end lines later; an unclosed one takes all that is left. */
static void skip_quoted(struct gvm_str *rest, struct gvm_str value)
{
    char quote = value.p[0];
    const char *end = rest->p ? rest->p + rest->n : value.p + value.n;
    const char *p = value.p + 1;
    while (p < end && *p != quote)
        p += *p == '\\' && quote == '"' && p + 1 < end ? 2 : 1;
    if (p < value.p + value.n)
        return; /* closed on the same line */
    const char *next = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    *rest = next ? (struct gvm_str){next + 1, (size_t)(end - next - 1)} : (struct gvm_str){end, 0};
}

/* Only "=": the end of something in base64, whose beginning is no name. */
static bool is_padding(struct gvm_str value)
{
    return value.n <= 1 && (value.n == 0 || value.p[0] == '=');
}

int sandbox_settings_mask(struct gvm_str text, const char *path, struct gvm_buf *out)
{
    struct gvm_str rest = text, line, name;
    bool lost = false; /* the line before was nothing we know */
    if (memchr(text.p ? text.p : "", '\0', text.n))
        return -EINVAL;
    while (rest.n) {
        gvm_str_cut(&rest, '\n', &line);
        line = trim(line);
        if (line.n == 0 || line.p[0] == '#') {
            lost = lost && line.n; /* an empty line ends what was lost */
            continue;
        }
        struct gvm_str value = line;
        bool assigns = gvm_str_cut(&value, '=', &name);
        value = trim(value);
        name = trim(name);
        if (gvm_str_starts(name, GVM_STR("export ")))
            name = trim((struct gvm_str){name.p + 7, name.n - 7});
        if (!assigns || !is_name(name) || (lost && is_padding(value))) {
            lost = true;
            continue;
        }
        lost = false;
        gvm_buf_adds(out, name);
        gvm_buf_addc(out, '=');
        if (value.n)
            put_placeholder(out, path, name);
        gvm_buf_addc(out, '\n');
        if (value.n && strchr("\"'`", value.p[0]))
            skip_quoted(&rest, value);
    }
    return out->failed ? -ENOMEM : 0;
}
