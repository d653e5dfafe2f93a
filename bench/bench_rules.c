/* bench_rules - what one decision costs, at several sizes of rule set.
 *
 * Usage: bench_rules [SECONDS-PER-FIGURE]. Prints one line per set: rules, ns for a decision whose
 * rule is found by exact host, by suffix, by any-host path, for one that ends at the catch-all, and
 * for a mix of the first three. Facts come in random order out of 2,048, which fit the second-level
 * cache: a request was parsed just before it is judged. "cold" is the mix out of 65,536, where
 * facts and the rules they need all come from memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include "rules/rules.h"

enum { NEAR = 1 << 11, FAR = 1 << 16 };

static uint64_t seed = 88172645463325252ull;

static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

/* Of ten rules six name a host, two a suffix, two any host with a path; the last is a catch-all. */
static void write_rules(struct gvm_buf *b, uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i++) {
        gvm_buf_addz(b, "[[rules]]\nmethod='");
        gvm_buf_addz(b, i % 3 ? "*" : "GET");
        if (i % 10 < 6)
            gvm_buf_addf(b, "'\npattern='api%u.example.com/v%u/**'", i / 3, i % 3);
        else if (i % 10 < 8)
            gvm_buf_addf(b, "'\npattern='*.zone%u.test'", i);
        else
            gvm_buf_addf(b, "'\npattern='*/area%u/{id}/x'", i);
        gvm_buf_addz(b, "\ndecision='Allow'\n");
    }
    gvm_buf_addz(b, "[[rules]]\nmethod='*'\npattern='*'\ndecision='Deny'\n");
}

enum { EXACT, SUFFIX, ANY, NONE, MIX, NKINDS };
static const char *const kinds[] = {"exact", "suffix", "any-host", "catch-all", "mix"};

static void make_facts(struct gvm_facts *f, uint32_t kind, uint32_t n, struct gvm_arena *a)
{
    uint32_t i = n > 10 ? rnd() % (n - 10) : 0;
    char *host = NULL, *path = NULL;
    i -= i % 10;
    if (kind == EXACT) {
        i += rnd() % 6;
        host = gvm_arena_printf(a, "api%u.example.com", i / 3);
        path = gvm_arena_printf(a, "/v%u/messages/count", i % 3);
    } else if (kind == SUFFIX) {
        host = gvm_arena_printf(a, "one.two.zone%u.test", i + 6 + rnd() % 2);
        path = gvm_arena_printf(a, "/some/longer/path/of/a/request");
    } else {
        host = gvm_arena_printf(a, "host%u.unknown.example.net", rnd() % 50000);
        path = kind == ANY ? gvm_arena_printf(a, "/area%u/%u/x", i + 8 + rnd() % 2, rnd())
                           : gvm_arena_printf(a, "/nothing/like/it");
    }
    if (!host || !path)
        abort();
    *f = (struct gvm_facts){.method = GVM_STR("GET"),
                            .host = gvm_str(host),
                            .port = 443,
                            .tls = true,
                            .path = gvm_str(path),
                            .agent = GVM_STR("bench"),
                            .now_ns = 1};
}

static double measure(const struct gvm_ruleset *rs, uint32_t n, uint32_t kind, uint32_t nfacts,
                      double seconds)
{
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    struct gvm_facts *facts = calloc(nfacts, sizeof *facts);
    if (!a || !facts)
        abort();
    for (uint32_t i = 0; i < nfacts; i++)
        make_facts(&facts[i], kind == MIX ? rnd() % MIX : kind, n, a);
    uint64_t count = 0, sum = 0;
    int64_t start = gvm_mono_ns(), spent;
    do {
        for (uint32_t i = 0; i < 4096; i++, count++) {
            struct gvm_verdict v;
            gvm_rules_decide(rs, &facts[rnd() % nfacts], &v);
            sum += (uint64_t)v.rule;
        }
        spent = gvm_mono_ns() - start;
    } while ((double)spent < seconds * 1e9);
    free(facts);
    gvm_arena_free(a);
    if (sum == 1)
        puts("");
    return (double)spent / (double)count;
}

static void bench(uint32_t n, double seconds)
{
    struct gvm_buf text;
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct gvm_err err = {0};
    gvm_buf_init(&text, GVM_MAX_CONFIG * 4);
    write_rules(&text, n);
    int64_t t0 = gvm_mono_ns();
    if (gvm_conf_parse(gvm_buf_str(&text), "bench", NULL, &conf, &err) < 0 ||
        gvm_rules_compile(conf, &rs, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    printf("%7u rules, load %5.0f ms:", n, (double)(gvm_mono_ns() - t0) / 1e6);
    for (uint32_t k = 0; k < NKINDS; k++)
        printf("  %s %.0f ns", kinds[k], measure(rs, n, k, NEAR, seconds));
    printf("  cold %.0f ns\n", measure(rs, n, MIX, FAR, seconds));
    gvm_rules_free(rs);
    gvm_conf_free(conf);
    gvm_buf_done(&text);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {68, 1000, 10000, 100000};
    uint64_t ms = 300;
    if (argc > 1 && gvm_parse_u64(gvm_str(argv[1]), 60, &ms) == 0)
        ms *= 1000;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        bench(sizes[i], (double)ms / 1e3);
    return 0;
}
