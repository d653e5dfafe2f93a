/* conf/zone.c - a time zone out of its TZif file (RFC 9636), reduced to what a rule needs.
 *
 *   header   "TZif" version(1) reserved(15) isutcnt isstdcnt leapcnt timecnt typecnt charcnt (4
 * each) v1 data  4-byte times; skipped: version 2 and up repeat it with 8-byte times behind a
 * second header, and a newline, a POSIX rule, a newline at the end
 */
#include "conf/conf_int.h"

#include <errno.h>
#include <stdio.h>

enum { HEADER = 44, KEEP_FROM = 946684800 /* 2000-01-01 */, MAX_CHANGES = 1024 };

struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

/* False when the header is not one. */
static bool read_header(struct gvm_str s, struct counts *c)
{
    if (s.n < HEADER || memcmp(s.p, "TZif", 4) != 0 || s.p[4] < '2')
        return false;
    const uint8_t *p = (const uint8_t *)s.p + 20;
    *c = (struct counts){gvm_get32(p),      gvm_get32(p + 4),  gvm_get32(p + 8),
                         gvm_get32(p + 12), gvm_get32(p + 16), gvm_get32(p + 20)};
    return c->time <= MAX_CHANGES * 4 && c->type >= 1 && c->type <= 256 && c->chars <= 4096 &&
           c->leap <= 1024 && c->isut <= 256 && c->isstd <= 256;
}

static size_t data_size(const struct counts *c, size_t time_bytes)
{
    return c->time * time_bytes + c->time + c->type * 6 + c->chars + c->leap * (time_bytes + 4) +
           c->isstd + c->isut;
}

static int64_t get64(const uint8_t *p)
{
    return (int64_t)((uint64_t)gvm_get32(p) << 32 | gvm_get32(p + 4));
}

static int take(struct conf_ctx *x, struct gvm_str s, const struct counts *c,
                struct gvm_conf_zone *z)
{
    const uint8_t *times = (const uint8_t *)s.p, *kinds = times + c->time * 8,
                  *types = kinds + c->time;
    z->from = gvm_arena_alloc(x->c->arena, (c->time + 1) * sizeof *z->from);
    z->offset = gvm_arena_alloc(x->c->arena, (c->time + 1) * sizeof *z->offset);
    if (!z->from || !z->offset)
        return -ENOMEM;
    z->first = (int32_t)gvm_get32(types);
    for (uint32_t i = 0; i < c->time; i++) {
        int64_t at = get64(times + i * 8);
        if (kinds[i] >= c->type)
            return -EINVAL;
        int32_t offset = (int32_t)gvm_get32(types + kinds[i] * 6);
        if (at < KEEP_FROM) {
            z->first = offset;
            continue;
        }
        z->from[z->n] = at;
        z->offset[z->n++] = offset;
    }
    return 0;
}

static int parse(struct conf_ctx *x, struct gvm_str s, struct gvm_conf_zone *z)
{
    struct counts c;
    if (!read_header(s, &c) || s.n - HEADER < data_size(&c, 4))
        return -EINVAL;
    size_t skip = HEADER + data_size(&c, 4);
    s = (struct gvm_str){s.p + skip, s.n - skip};
    if (!read_header(s, &c) || s.n - HEADER < data_size(&c, 8) + 2)
        return -EINVAL;
    s = (struct gvm_str){s.p + HEADER, s.n - HEADER};
    int r = take(x, s, &c, z);
    if (r < 0)
        return r;
    size_t size = data_size(&c, 8);
    struct gvm_str foot = {s.p + size, s.n - size}, rule;
    if (foot.p[0] != '\n')
        return -EINVAL;
    foot = (struct gvm_str){foot.p + 1, foot.n - 1};
    if (!gvm_str_cut(&foot, '\n', &rule) || rule.n > 128)
        return -EINVAL;
    z->rule = conf_dup(x, rule);
    return z->rule.p ? 0 : -ENOMEM;
}

/* Letters, digits and what zone names have between them; no "..", nothing absolute. */
static bool plain_name(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = gvm_lower(s.p[i]);
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                  c == '+' || (c == '/' && i && s.p[i - 1] != '/');
        if (!ok)
            return false;
    }
    return s.n > 0 && s.n < 64 && s.p[s.n - 1] != '/';
}

int conf_read_zone(struct conf_ctx *x, const struct conf_node *v, struct gvm_str name,
                   struct gvm_conf_zone *ret)
{
    struct gvm_conf_zone z = {.name = conf_dup(x, name), .rule = GVM_STR("")};
    char path[128];
    struct gvm_buf file;
    if (!z.name.p)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    if (gvm_str_eqz(name, "UTC")) {
        *ret = z;
        return 0;
    }
    if (!plain_name(name))
        return conf_bad_at(x, v, "tz is not the name of a zone; write it like \"Europe/Berlin\"");
    (void)snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", GVM_STR_ARG(name));
    gvm_buf_init(&file, 64u << 10);
    int r = gvm_read_file(path, &file, NULL);
    r = r < 0 ? -ENOENT : parse(x, gvm_buf_str(&file), &z);
    gvm_buf_done(&file);
    if (r == -ENOMEM)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    if (r < 0)
        return conf_bad_at(x, v,
                           "the zone \"%.*s\" %s; write it like \"Europe/Berlin\", and install "
                           "tzdata",
                           GVM_STR_ARG(name),
                           r == -ENOENT ? "is not in /usr/share/zoneinfo" : "has a broken file");
    *ret = z;
    return 0;
}
