/* names.c - the table name <-> synthetic address of one run.
 *
 * Names are numbered as they come; number i is
 *
 *     IPv4  198.18.1.0 + i, without the last bytes 0 and 255 (some clients think: broadcast)
 *     IPv6  fd00:6776:6d00:1:: + i + 1
 *
 * so that the way back is arithmetic. An address never changes or goes away while the run lives.
 */
#include "dns/dns_int.h"

#include <errno.h>
#include <stdlib.h>

enum { PER_24 = 254, GROW_MIN = 64, MAX_ODD = 4096 };
#define V4_FIRST 0xc6120100u /* 198.18.1.0 */
#define V4_LAST  0xc613ffffu /* 198.19.255.255 */

static_assert(GVM_MAX_DNS_NAMES / PER_24 < (V4_LAST - V4_FIRST) >> 8,
              "the IPv4 range holds all names");

static const uint8_t v6_prefix[] = {0xfd, 0x00, 0x67, 0x76, 0x6d, 0x00};

struct entry {
    uint32_t number;
    char name[]; /* NUL-ended */
};

struct gvm_dns_names {
    struct gvm_map *by_name; /* struct entry, owned by the map */
    struct entry **by_number;
    uint32_t count, room;
    struct gvm_map *odd; /* names that got no address; the values mean nothing */
};

struct gvm_dns_names *gvm_dns_names_new(void)
{
    struct gvm_dns_names *t = gvm_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->by_name = gvm_map_new(GVM_MAX_DNS_NAMES, free);
    t->odd = gvm_map_new(MAX_ODD, NULL);
    if (!t->by_name || !t->odd) {
        gvm_dns_names_free(t);
        return NULL;
    }
    return t;
}

void gvm_dns_names_free(struct gvm_dns_names *t)
{
    if (!t)
        return;
    gvm_map_free(t->by_name);
    gvm_map_free(t->odd);
    free(t->by_number);
    free(t);
}

static void addresses(uint32_t number, struct gvm_ip *ret_v4, struct gvm_ip *ret_v6)
{
    *ret_v4 = (struct gvm_ip){.family = 4};
    gvm_put32(ret_v4->bytes, V4_FIRST + (number / PER_24 << 8) + number % PER_24 + 1);
    *ret_v6 = (struct gvm_ip){.family = 6};
    memcpy(ret_v6->bytes, v6_prefix, sizeof v6_prefix);
    ret_v6->bytes[7] = 1;
    gvm_put32(ret_v6->bytes + 12, number + 1);
}

/* The number behind an address; GVM_MAX_DNS_NAMES or more when there cannot be one. */
static uint32_t number_of(const struct gvm_ip *ip)
{
    if (ip->family == 4) {
        uint32_t a = gvm_get32(ip->bytes), last = a & 0xff;
        if (a < V4_FIRST || a > V4_LAST || last == 0 || last == 255)
            return UINT32_MAX;
        return (a - V4_FIRST) / 256 * PER_24 + last - 1;
    }
    struct gvm_ip v4, v6;
    addresses(0, &v4, &v6);
    if (ip->family != 6 || memcmp(ip->bytes, v6.bytes, 12) != 0 || gvm_get32(ip->bytes + 12) == 0)
        return UINT32_MAX;
    return gvm_get32(ip->bytes + 12) - 1;
}

static int make_room(struct gvm_dns_names *t)
{
    if (t->count < t->room)
        return 0;
    uint32_t room = t->room ? t->room * 2 : GROW_MIN;
    struct entry **p = realloc(t->by_number, room * sizeof *p);
    if (!p)
        return -ENOMEM;
    t->by_number = p;
    t->room = room;
    return 0;
}

static int add(struct gvm_dns_names *t, const char *name, struct entry **ret)
{
    size_t len = strlen(name);
    if (t->count == GVM_MAX_DNS_NAMES)
        return -ENOBUFS;
    int r = make_room(t);
    if (r < 0)
        return r;
    struct entry *e = gvm_calloc(1, sizeof *e + len + 1);
    if (!e)
        return -ENOMEM;
    e->number = t->count;
    memcpy(e->name, name, len + 1);
    r = gvm_map_put(t->by_name, (struct gvm_str){name, len}, e);
    if (r < 0) {
        free(e);
        return r;
    }
    t->by_number[t->count++] = e;
    *ret = e;
    return 0;
}

int gvm_dns_names_assign(struct gvm_dns_names *t, const char *name, struct gvm_ip *ret_v4,
                         struct gvm_ip *ret_v6, bool *ret_new)
{
    struct entry *e = gvm_map_get(t->by_name, gvm_str(name));
    bool fresh = !e;
    if (fresh) {
        int r = add(t, name, &e);
        if (r < 0)
            return r;
    }
    addresses(e->number, ret_v4, ret_v6);
    *ret_new = fresh;
    return 0;
}

const char *gvm_dns_names_find(const struct gvm_dns_names *t, const struct gvm_ip *ip)
{
    uint32_t number = number_of(ip);
    return number < t->count ? t->by_number[number]->name : NULL;
}

bool gvm_dns_is_synthetic(const struct gvm_ip *ip)
{
    if (ip->family == 4)
        return ip->bytes[0] == 198 && (ip->bytes[1] & 0xfe) == 18;
    return ip->family == 6 && memcmp(ip->bytes, v6_prefix, sizeof v6_prefix) == 0;
}

bool dns_odd_is_new(struct gvm_dns_names *t, const char *name)
{
    if (gvm_map_get(t->odd, gvm_str(name)))
        return false;
    /* When the table is full the name counts as new each time: told too often, never too seldom. */
    int r = gvm_map_put(t->odd, gvm_str(name), t);
    (void)r;
    return true;
}
