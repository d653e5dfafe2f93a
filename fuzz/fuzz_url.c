/* One input as authority, as URL and as request target. Canonical forms must be fixed points, and
 * no path may keep anything that a server behind us could still resolve or decode into a separator
 * of dots. */
#include <stdint.h>
#include <stdlib.h>
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static void authority(struct gvm_str in)
{
    struct gvm_authority a, again;
    if (gvm_authority_parse(in, &a, NULL) < 0)
        return;
    size_t n = strlen(a.host);
    check(n > 0 && n <= GVM_MAX_HOST);
    for (size_t i = 0; i < n; i++) {
        char c = a.host[i];
        check((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
              c == '_' || (c == ':' && a.is_ip && a.ip.family == 6));
    }
    struct gvm_buf out;
    gvm_buf_init(&out, 512);
    check(gvm_authority_format(a.host, a.port, false, &out) == 0);
    check(gvm_authority_parse(gvm_buf_str(&out), &again, NULL) == 0);
    check(strcmp(a.host, again.host) == 0 && a.is_ip == again.is_ip);
    check(again.port == (a.port == 80 ? 0 : a.port));
    gvm_buf_done(&out);
}

static void check_path(struct gvm_str p)
{
    check(p.n > 0 && p.p[0] == '/');
    struct gvm_str rest = {p.p + 1, p.n - 1}, segment;
    for (bool more = true; more;) {
        more = gvm_str_cut(&rest, '/', &segment);
        check(segment.n > 0 || !more);
        check(!gvm_str_eqz(segment, ".") && !gvm_str_eqz(segment, ".."));
        for (size_t i = 0; i < segment.n; i++)
            check(segment.p[i] > ' ' && segment.p[i] < 127 && segment.p[i] != '\\' &&
                  segment.p[i] != '#');
    }
}

static void target(struct gvm_str in)
{
    struct gvm_buf path, query, path2, query2;
    bool has, has2;
    gvm_buf_init(&path, GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    gvm_buf_init(&path2, GVM_MAX_TARGET * 3);
    gvm_buf_init(&query2, GVM_MAX_TARGET);
    if (gvm_target_canon(in, &path, &query, &has, NULL) == 0) {
        check_path(gvm_buf_str(&path));
        check(gvm_target_canon(gvm_buf_str(&path), &path2, &query2, &has2, NULL) == 0);
        check(!has2 && gvm_str_eq(gvm_buf_str(&path), gvm_buf_str(&path2)));
        gvm_buf_reset(&path2);
        check(gvm_path_loose(gvm_buf_str(&path), &path2) == 0);
        check_path(gvm_buf_str(&path2));
        if (query.len)
            check(has);
    } else {
        check(path.len == 0 && query.len == 0);
    }
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    gvm_buf_done(&path2);
    gvm_buf_done(&query2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str in = {(const char *)data, size}, host, rest;
    bool tls;
    authority(in);
    target(in);
    if (gvm_absolute_split(in, &tls, &host, &rest, NULL) == 0) {
        check(host.n > 0 && rest.n > 0);
        authority(host);
        target(rest);
    }
    return 0;
}
