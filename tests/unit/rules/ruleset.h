/* What the tests of this room share: rules as TOML text, and one decision. */
#ifndef GVM_TEST_RULESET_H
#define GVM_TEST_RULESET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "rules/rules.h"

static inline int load(const char *text, struct gvm_ruleset **ret, struct gvm_err *err)
{
    struct gvm_conf *c = NULL;
    int r = gvm_conf_parse(gvm_str(text), "gvm.toml", NULL, &c, err);
    if (r >= 0)
        r = gvm_rules_compile(c, ret, err);
    gvm_conf_free(c);
    return r;
}

static inline struct gvm_ruleset *good(const char *text)
{
    struct gvm_ruleset *rs = NULL;
    struct gvm_err err = {0};
    if (load(text, &rs, &err) < 0)
        fail_msg("refused: %s\n%s", err.text, text);
    return rs;
}

/* Judges as the data path does: authority and target canonicalised first. False when they are
 * refused (a 400). */
static inline bool judge(const struct gvm_ruleset *rs, const char *method, const char *authority,
                         const char *target, const char *agent, struct gvm_verdict *ret)
{
    struct gvm_authority auth;
    struct gvm_buf path, query;
    bool has_query, ok;
    gvm_buf_init(&path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    ok = gvm_authority_parse(gvm_str(authority), &auth, NULL) >= 0 &&
         gvm_target_canon(gvm_str(target), &path, &query, &has_query, NULL) >= 0;
    if (ok) {
        struct gvm_facts f = {.method = gvm_str(method),
                              .host = gvm_str(auth.host),
                              .port = auth.port ? auth.port : 443,
                              .tls = true,
                              .path = gvm_buf_str(&path),
                              .query = gvm_buf_str(&query),
                              .agent = gvm_str(agent),
                              .now_ns = 1000};
        gvm_rules_decide(rs, &f, ret);
    }
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    return ok;
}

#endif
