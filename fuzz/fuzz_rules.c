/* A policy (TOML, or the JSON text a proxy gets) and a request: the lines before the first line of
 * "---" are the request (method, host, port, path, agent), the rest is the policy.
 *
 * The verdict is the same each time, is the first rule that the plain list finds, is one of the
 * five, and survives the way through the policy text.
 */
#include <stdint.h>
#include <stdlib.h>
#include "rules/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load(struct gvm_str text, struct gvm_ruleset **ret, struct gvm_conf **ret_conf)
{
    struct gvm_err err = {0};
    int r;
    if (text.n && text.p[0] == '{')
        r = gvm_policy_decode(text, ret_conf, &err);
    else
        r = gvm_conf_parse(text, "gvm.toml", NULL, ret_conf, &err);
    if (r >= 0)
        r = gvm_rules_compile(*ret_conf, ret, &err);
    if (r < 0 && (err.code <= 0 || !err.text[0]))
        abort();
    return r;
}

static void same(const struct gvm_verdict *a, const struct gvm_verdict *b)
{
    if (a->decision != b->decision || a->rule != b->rule || a->delay_ms != b->delay_ms ||
        a->private_ok != b->private_ok || a->intercept != b->intercept ||
        !gvm_str_eq(a->name, b->name) || !gvm_str_eq(a->reason, b->reason))
        abort();
}

static void check(const struct gvm_ruleset *rs, const struct gvm_ruleset *other,
                  const struct gvm_facts *f)
{
    struct gvm_verdict v, again, elsewhere, opaque;
    int32_t first = -1;
    gvm_rules_decide(rs, f, &v);
    gvm_rules_decide(rs, f, &again);
    gvm_rules_decide(other, f, &elsewhere);
    same(&v, &again);
    same(&v, &elsewhere);
    if (v.rule < -1 || v.rule >= (int32_t)gvm_rules_count(rs) || v.decision > GVM_ALLOW)
        abort();
    (void)gvm_rules_matches(rs, f, &first, 1);
    if (!v.lenient && v.rule != first)
        abort();
    if (v.rule < 0 && f->protocol == GVM_PROTO_TCP && v.decision != GVM_DENY)
        abort();
    if (gvm_rules_opaque(rs, f, &opaque) && (opaque.intercept || opaque.decision == GVM_DENY))
        abort();
}

static void judge(const struct gvm_ruleset *rs, const struct gvm_ruleset *other,
                  struct gvm_str head)
{
    struct gvm_str line[5] = {0};
    struct gvm_buf path, query;
    struct gvm_authority auth;
    bool has_query;
    for (unsigned i = 0; i < 5; i++)
        (void)gvm_str_cut(&head, '\n', &line[i]);
    gvm_buf_init(&path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    if (gvm_authority_parse(line[1], &auth, NULL) >= 0 &&
        gvm_target_canon(line[3], &path, &query, &has_query, NULL) >= 0) {
        struct gvm_facts f = {.method = line[0],
                              .host = gvm_str(auth.host),
                              .port = line[2].n ? (uint16_t)line[2].p[0] : 443,
                              .tls = true,
                              .path = gvm_buf_str(&path),
                              .agent = line[4],
                              .now_ns = 1000};
        check(rs, other, &f);
        f.protocol = GVM_PROTO_TCP;
        f.method = f.path = GVM_STR("");
        check(rs, other, &f);
    }
    gvm_buf_done(&path);
    gvm_buf_done(&query);
}

/* The same set once more, by way of the policy text. */
static void through_text(const struct gvm_conf *c, struct gvm_ruleset **ret,
                         struct gvm_conf **ret_conf)
{
    struct gvm_buf text;
    gvm_buf_init(&text, GVM_MAX_POLICY);
    if (gvm_policy_encode(c, &text) < 0 || load(gvm_buf_str(&text), ret, ret_conf) < 0)
        abort();
    gvm_buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str text = {(const char *)data, size}, head;
    struct gvm_conf *c = NULL, *c2 = NULL;
    struct gvm_ruleset *rs = NULL, *other = NULL;
    struct gvm_hidden_rule hidden[8];
    const char *cut = memmem(data, size, "\n---\n", 5);
    if (!cut || memmem(data, size, "ca_file", 7) || memmem(data, size, "file:", 5) ||
        memmem(data, size, "env:", 4))
        return 0;
    head = (struct gvm_str){text.p, (size_t)(cut - text.p)};
    text = (struct gvm_str){cut + 5, size - head.n - 5};
    if (load(text, &rs, &c) >= 0) {
        through_text(c, &other, &c2);
        judge(rs, other, head);
        (void)gvm_rules_hidden(rs, hidden, 8);
    }
    gvm_rules_free(rs);
    gvm_rules_free(other);
    gvm_conf_free(c);
    gvm_conf_free(c2);
    return 0;
}
