/* Any packet to the name server: every answer is well formed, repeats the question, and its address
 * leads back to the name. Two packets in one input share a table. */
#include <stdint.h>
#include <stdlib.h>
#include "dns/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

/* An answer without its records, flags and counts is the query again: our own parser must read it.
 */
static void check_question(struct gvm_str answer, const struct gvm_dns_reply *reply)
{
    struct gvm_dns_question again;
    struct gvm_buf copy;
    gvm_buf_init(&copy, GVM_MAX_DNS);
    check(gvm_buf_add(&copy, answer.p, 2) == 0 &&
          gvm_buf_add(&copy, "\1\0\0\1\0\0\0\0\0\0", 10) == 0);
    check(gvm_buf_add(&copy, answer.p + 12, reply->question.question_end - 12) == 0);
    check(gvm_dns_parse(gvm_buf_str(&copy), &again, NULL) == 0);
    check(strcmp(again.name, reply->question.name) == 0 && again.qtype == reply->question.qtype);
    gvm_buf_done(&copy);
}

static void serve(struct gvm_dns_names *t, struct gvm_str query)
{
    struct gvm_dns_reply reply;
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_DNS);
    if (gvm_dns_serve(t, query, &out, &reply) == 0) {
        const uint8_t *p = gvm_buf_data(&out);
        check(out.len >= 12 && out.len <= 512 && p && memcmp(p, query.p, 2) == 0);
        check((p[2] & 0x80) && (unsigned)(p[3] & 15) == reply.rcode);
        unsigned answers = gvm_get16(p + 6), additional = gvm_get16(p + 10);
        check(gvm_get16(p + 4) == reply.parsed && answers <= 1 && gvm_get16(p + 8) == 0);
        size_t want = reply.parsed ? reply.question.question_end : 12;
        if (reply.parsed) {
            check_question(gvm_buf_str(&out), &reply);
            check(additional == reply.question.edns);
        }
        if (answers) {
            struct gvm_ip ip = {.family = reply.question.qtype == GVM_DNS_A ? 4 : 6};
            size_t n = ip.family == 4 ? 4 : 16;
            memcpy(ip.bytes, p + want + 12, n);
            want += 12 + n;
            const char *name = gvm_dns_names_find(t, &ip);
            check(gvm_ip_class(&ip) == GVM_IP_LOOPBACK ||
                  (name && strcmp(name, reply.question.name) == 0 && gvm_dns_is_synthetic(&ip)));
        }
        check(out.len == want + 11 * additional);
    } else {
        check(out.len == 0);
    }
    gvm_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_dns_names *t = gvm_dns_names_new();
    if (!t)
        return 0;
    struct gvm_str in = {(const char *)data, size};
    serve(t, in);
    serve(t, in);
    if (size > 40) {
        serve(t, (struct gvm_str){in.p, size / 2});
        serve(t, (struct gvm_str){in.p + size / 2, size - size / 2});
    }
    gvm_dns_names_free(t);
    return 0;
}
