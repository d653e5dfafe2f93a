/* rules/doh.c - is a request a name query in the clothes of HTTPS?
 *
 * Names are answered by GVM itself, so that asking for one tells nobody anything. A resolver
 * reached over HTTPS would undo that, and it is a host like any other: without a rule that names
 * it, the default would hold, which may let it pass. Therefore the default never does.
 *
 * Recognised are RFC 8484 (the media type, or the path that every server of it has), RFC 9230, and
 * the JSON interface of the large public resolvers. This is not what keeps data in (any host may
 * take data by any name); it keeps an agent's programs from going around the record of names.
 */
#include "rules/rules_int.h"

/* Is one of the media types in a list of them (RFC 9110 5.6.1)? */
static bool lists_dns(struct gvm_str value)
{
    static const char *const types[] = {"application/dns-message", "application/dns-json",
                                        "application/oblivious-dns-message"};
    for (bool more = true; more;) {
        struct gvm_str one, type;
        more = gvm_str_cut(&value, ',', &one);
        (void)gvm_str_cut(&one, ';', &type); /* without parameters */
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (gvm_str_ieqz(gvm_str_trim(type), types[i]))
                return true;
    }
    return false;
}

/* The value of a query's parameter as it stands there. */
static bool parameter(struct gvm_str query, struct gvm_str name, struct gvm_str *ret)
{
    for (bool more = true; more;) {
        struct gvm_str one, key;
        more = gvm_str_cut(&query, '&', &one);
        if (gvm_str_cut(&one, '=', &key) && gvm_str_eq(key, name)) {
            *ret = one;
            return true;
        }
    }
    return false;
}

/* RFC 8484 4.1: a DNS message in base64url. The smallest question has 17 bytes. */
static bool carries_message(struct gvm_str query)
{
    struct gvm_str v;
    if (!parameter(query, GVM_STR("dns"), &v) || v.n < 23)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        char c = gvm_lower(v.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr("-_=", c))
            return false;
    }
    return true;
}

bool rules_is_doh(const struct gvm_facts *f)
{
    struct gvm_str fields = f->fields, name;
    struct gvm_header h;
    if (gvm_str_ends(f->path, GVM_STR("/dns-query")) || carries_message(f->query))
        return true;
    if (gvm_str_eqz(f->path, "/resolve") && parameter(f->query, GVM_STR("name"), &name))
        return true;
    while (gvm_fields_next(&fields, &h))
        if ((gvm_str_ieqz(h.name, "accept") || gvm_str_ieqz(h.name, "content-type")) &&
            lists_dns(h.value))
            return true;
    return false;
}
