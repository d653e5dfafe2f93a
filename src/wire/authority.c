/* authority.c - host[:port] in every spelling to the one that is matched, recorded and dialled.
 *
 *     text -> host, port          brackets only around IPv6, one ':' at most otherwise
 *     host -> ASCII               UTS 46 mapping (libidn2): case, width, U+3002 and U+FF0E to '.'
 *     ASCII -> labels             lower case, one trailing dot off, [a-z0-9_-]{1,63}, 253 in all
 *     labels -> address           a last label that is a number makes it IPv4 (WHATWG URL 3.5)
 *
 * Each step looks at the outcome of the one before, so that nothing can appear after its check.
 */
#include "wire/url.h"

#include <idn2.h>
#include "wire/wire_int.h"

/* Before mapping a name may be longer: 253 characters of up to four bytes. */
#define HOST_TEXT_MAX (4 * GVM_MAX_HOST)

static void free_idn(uint8_t **p)
{
    if (*p)
        idn2_free(*p);
}

static const char *bad_byte_reason(char c)
{
    switch (c) {
    case '@':
        return "user information is not allowed in a host";
    case '%':
        return "a percent-encoded host or a zone is not allowed";
    case ':':
        return "an IPv6 address needs brackets";
    default:
        return "the host has a byte that no host name has";
    }
}

/* Only bytes that a host name may have; bytes >= 0x80 too when `idn`. */
static int check_bytes(struct gvm_str host, bool idn, struct gvm_err *err)
{
    for (size_t i = 0; i < host.n; i++)
        if (!wire_is(host.p[i], WIRE_HOST) && !(idn && (uint8_t)host.p[i] >= 0x80))
            return gvm_err_set(err, EINVAL, "%s", bad_byte_reason(host.p[i]));
    return 0;
}

static bool has_non_ascii(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] >= 0x80)
            return true;
    return false;
}

static bool has_ace_label(struct gvm_str s)
{
    for (size_t i = 0; i + 4 <= s.n; i++)
        if ((i == 0 || s.p[i - 1] == '.') &&
            gvm_str_ieq((struct gvm_str){s.p + i, 4}, GVM_STR("xn--")))
            return true;
    return false;
}

/* An A-label is kept as it is: to DNS it is plain letters. It is refused when it is no Punycode,
 * not the Punycode that its own text would get, or of text that UTS 46 does not know as valid; not
 * when IDNA 2008 merely dislikes the text, because such names exist (emoji domains). */
static bool is_false_ace(int rc)
{
    return rc == IDN2_PUNYCODE_BAD_INPUT || rc == IDN2_PUNYCODE_BIG_OUTPUT ||
           rc == IDN2_PUNYCODE_OVERFLOW || rc == IDN2_INVALID_ALABEL ||
           rc == IDN2_UALABEL_MISMATCH || rc == IDN2_ALABEL_ROUNDTRIP_FAILED ||
           rc == IDN2_INVALID_NONTRANSITIONAL || rc == IDN2_ENCODING_ERROR;
}

/* Maps to ASCII. *host comes back pointing into *ret_mem when it changed. */
static int map_idn(struct gvm_str *host, uint8_t **ret_mem, struct gvm_err *err)
{
    bool idn = has_non_ascii(*host);
    if (!idn && !has_ace_label(*host))
        return 0;
    if (!gvm_utf8_valid(*host))
        return gvm_err_set(err, EINVAL, "the host is not UTF-8");
    char text[HOST_TEXT_MAX + 1];
    if (gvm_str_copy(text, sizeof text, *host) < 0)
        return gvm_err_set(err, EINVAL, "the host is too long");
    uint8_t *mapped = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &mapped, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_MALLOC)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (rc != IDN2_OK && (idn || is_false_ace(rc)))
        return gvm_err_set(err, EINVAL, "the host is no valid international name: %s",
                           idn2_strerror(rc));
    if (rc != IDN2_OK)
        return 0;
    *ret_mem = mapped;
    *host = gvm_str((const char *)mapped);
    return 0;
}

/* WHATWG URL 3.5 "ends in a number": all digits, or 0x and hex digits. */
static bool is_number(struct gvm_str label)
{
    if (label.n >= 2 && label.p[0] == '0' && (label.p[1] | 0x20) == 'x')
        return wire_all((struct gvm_str){label.p + 2, label.n - 2}, WIRE_HEX);
    return label.n > 0 && wire_all(label, WIRE_DIGIT);
}

/* `host` is ASCII of the right bytes. Fills ret->host in lower case. */
static int split_labels(struct gvm_str host, struct gvm_authority *ret, struct gvm_str *ret_last,
                        struct gvm_err *err)
{
    if (host.n > 0 && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n == 0)
        return gvm_err_set(err, EINVAL, "the host is empty");
    if (host.n > GVM_MAX_HOST)
        return gvm_err_set(err, EINVAL, "the host is longer than %u bytes", GVM_MAX_HOST);
    size_t start = 0;
    for (size_t i = 0; i <= host.n; i++) {
        if (i < host.n && host.p[i] != '.') {
            ret->host[i] = gvm_lower(host.p[i]);
            continue;
        }
        if (i == start)
            return gvm_err_set(err, EINVAL, "the host has an empty label");
        if (i - start > 63)
            return gvm_err_set(err, EINVAL, "a label of the host is longer than 63 bytes");
        if (i < host.n)
            start = i + 1;
        ret->host[i] = i < host.n ? '.' : '\0';
    }
    *ret_last = (struct gvm_str){ret->host + start, host.n - start};
    return 0;
}

static void set_ip(struct gvm_authority *ret, const struct gvm_ip *ip)
{
    char text[INET6_ADDRSTRLEN];
    gvm_ip_text(ip, text);
    ret->is_ip = true;
    ret->ip = *ip;
    memcpy(ret->host, text, strlen(text) + 1);
}

static int parse_name(struct gvm_str host, struct gvm_authority *ret, struct gvm_err *err)
{
    GVM_CLEANUP(free_idn) uint8_t *mem = NULL;
    if (host.n > HOST_TEXT_MAX)
        return gvm_err_set(err, EINVAL, "the host is too long");
    int r = check_bytes(host, true, err);
    if (r == 0)
        r = map_idn(&host, &mem, err);
    if (r == 0 && mem)
        r = check_bytes(host, false, err);
    struct gvm_str last = {NULL, 0};
    if (r == 0)
        r = split_labels(host, ret, &last, err);
    if (r < 0)
        return r;
    if (!is_number(last))
        return 0;
    struct gvm_ip ip;
    if (gvm_ip_parse(gvm_str(ret->host), &ip) < 0)
        return gvm_err_set(err, EINVAL, "the host ends in a number but is no IPv4 address");
    set_ip(ret, &ip);
    return 0;
}

/* IPv4 in mapped or compatible form is the same host as its dotted quad; :: and ::1 are not. */
static void unwrap(struct gvm_ip *ip)
{
    static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool compatible = memcmp(ip->bytes, zero, 12) == 0 && gvm_get32(ip->bytes + 12) > 1;
    if (!compatible && memcmp(ip->bytes, mapped, 12) != 0)
        return;
    struct gvm_ip v4 = {.family = 4};
    memcpy(v4.bytes, ip->bytes + 12, 4);
    *ip = v4;
}

static int parse_bracketed(struct gvm_str inner, struct gvm_authority *ret, struct gvm_err *err)
{
    struct gvm_ip ip;
    if (gvm_str_find(inner, '%') >= 0)
        return gvm_err_set(err, EINVAL, "an IPv6 zone is not allowed");
    if (gvm_str_find(inner, ':') < 0 || gvm_ip_parse(inner, &ip) < 0)
        return gvm_err_set(err, EINVAL, "the brackets do not hold an IPv6 address");
    unwrap(&ip);
    set_ip(ret, &ip);
    return 0;
}

static int parse_port(struct gvm_str text, uint16_t *ret, struct gvm_err *err)
{
    uint64_t v;
    if (gvm_parse_u64(text, 65535, &v) < 0 || v == 0)
        return gvm_err_set(err, EINVAL, "the port is not a number from 1 to 65535");
    *ret = (uint16_t)v;
    return 0;
}

/* Cuts "host[:port]" or "[v6][:port]" into its parts; *ret_port.p is NULL when there is none. */
static int split_port(struct gvm_str text, struct gvm_str *ret_host, struct gvm_str *ret_port,
                      bool *ret_bracketed, struct gvm_err *err)
{
    *ret_port = (struct gvm_str){NULL, 0};
    *ret_bracketed = text.n > 0 && text.p[0] == '[';
    if (!*ret_bracketed) {
        struct gvm_str rest = text;
        if (gvm_str_cut(&rest, ':', ret_host))
            *ret_port = rest;
        if (ret_port->p && gvm_str_find(rest, ':') >= 0)
            return gvm_err_set(err, EINVAL, "%s", bad_byte_reason(':'));
        return 0;
    }
    ptrdiff_t end = gvm_str_find(text, ']');
    if (end < 0)
        return gvm_err_set(err, EINVAL, "a bracket of the host is not closed");
    *ret_host = (struct gvm_str){text.p + 1, (size_t)end - 1};
    struct gvm_str rest = {text.p + end + 1, text.n - (size_t)end - 1};
    if (rest.n > 0 && rest.p[0] != ':')
        return gvm_err_set(err, EINVAL, "something stands between the bracket and the port");
    if (rest.n > 0)
        *ret_port = (struct gvm_str){rest.p + 1, rest.n - 1};
    return 0;
}

int gvm_authority_parse(struct gvm_str text, struct gvm_authority *ret, struct gvm_err *err)
{
    struct gvm_str host, port;
    bool bracketed;
    struct gvm_authority a;
    a.is_ip = false;
    a.ip = (struct gvm_ip){0};
    a.port = 0;
    if (text.n == 0)
        return gvm_err_set(err, EINVAL, "the host is empty");
    int r = split_port(text, &host, &port, &bracketed, err);
    if (r == 0)
        r = bracketed ? parse_bracketed(host, &a, err) : parse_name(host, &a, err);
    if (r == 0 && port.p)
        r = parse_port(port, &a.port, err);
    if (r < 0)
        return r;
    *ret = a;
    return 0;
}

int gvm_authority_format(const char *host, uint16_t port, bool tls, struct gvm_buf *out)
{
    struct gvm_str name = gvm_str(host);
    bool v6 = name.n && memchr(name.p, ':', name.n);
    int r = v6 ? gvm_buf_addc(out, '[') : 0;
    r |= gvm_buf_adds(out, name);
    r |= v6 ? gvm_buf_addc(out, ']') : 0;
    if (port && port != (tls ? 443 : 80)) {
        r |= gvm_buf_addc(out, ':');
        r |= gvm_buf_addu(out, port);
    }
    return r ? -ENOBUFS : 0;
}

int gvm_absolute_split(struct gvm_str url, bool *ret_tls, struct gvm_str *ret_authority,
                       struct gvm_str *ret_target, struct gvm_err *err)
{
    static const struct {
        struct gvm_str prefix;
        bool tls;
    } schemes[] = {{{"http://", 7}, false},
                   {{"https://", 8}, true},
                   {{"ws://", 5}, false},
                   {{"wss://", 6}, true}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t skip = schemes[i].prefix.n;
        if (url.n < skip || !gvm_str_ieq((struct gvm_str){url.p, skip}, schemes[i].prefix))
            continue;
        struct gvm_str rest = {url.p + skip, url.n - skip};
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
            n++;
        if (n == 0)
            return gvm_err_set(err, EINVAL, "the URL has no host");
        *ret_tls = schemes[i].tls;
        *ret_authority = (struct gvm_str){rest.p, n};
        *ret_target = n < rest.n ? (struct gvm_str){rest.p + n, rest.n - n} : GVM_STR("/");
        return 0;
    }
    return gvm_err_set(err, EINVAL, "the URL is not http or https");
}
