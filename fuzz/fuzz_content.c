/* Rules that look at bodies: "TYPE\nCODING\nQUERY\nBODY" under a set that uses every view.
 *
 * The verdict is the same each time and whoever looked before; a Deny and an Allow with the same
 * condition never both let it through, but for git's question with a push of nothing; what is
 * stricter never becomes Allow by being unreadable. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "rules/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {
    "body={path='$..a',op='>',value=1}",
    "form={name='a',value='1'}",
    "graphql={operation='mutation',field='a*'}",
    "mcp={tool='a*',args={path='$.b',value=true}}",
    "git={push='refs/heads/a*',force=true}",
    "payload_field='a'\npayload_match=['b']\npayload_query_alias_match=['c']",
    "query={name='a',op='regex',value='^b'}",
    "header={name='content-type',op='glob',value='*json'}",
};
enum { KEYS = sizeof keys / sizeof *keys, GIT = 4 };
static struct gvm_ruleset *sets[KEYS][2];

static void load(unsigned i, unsigned deny)
{
    struct gvm_buf t;
    struct gvm_conf *c;
    struct gvm_err err = {0};
    gvm_buf_init(&t, 4096);
    gvm_buf_addf(&t,
                 "[[rules]]\nmethod='*'\npattern='*'\n%s\ndecision='%s'\n"
                 "[[rules]]\nmethod='*'\npattern='*'\ndecision='%s'\n",
                 keys[i], deny ? "Deny" : "Allow", deny ? "Allow" : "Deny");
    if (gvm_conf_parse(gvm_buf_str(&t), "f", NULL, &c, &err) < 0 ||
        gvm_rules_compile(c, &sets[i][deny], &err) < 0)
        abort();
    gvm_conf_free(c);
    gvm_buf_done(&t);
}

/* Sets *ret_asks: the body is git's "0000", which changes nothing and may pass. */
static void decide(const struct gvm_ruleset *rs, struct gvm_facts f,
                   const struct gvm_content_in *in, struct gvm_verdict *v, bool *ret_asks)
{
    struct gvm_verdict again;
    const struct gvm_git_push *push;
    f.content = gvm_content_new(in);
    if (!f.content)
        abort();
    gvm_rules_decide(rs, &f, v);
    gvm_rules_decide(rs, &f, &again);
    if (v->decision != again.decision || v->rule != again.rule || v->needs_body)
        abort();
    *ret_asks = gvm_content_git(f.content, 0, &push) == 0 && push->n == 0;
    gvm_content_free(f.content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str body = {(const char *)data, size}, type, coding, query;
    char fields[300];
    struct gvm_verdict deny, allow;
    (void)gvm_str_cut(&body, '\n', &type);
    (void)gvm_str_cut(&body, '\n', &coding);
    (void)gvm_str_cut(&body, '\n', &query);
    int n = snprintf(fields, sizeof fields, "Content-Type: %.*s\r\n",
                     (int)(type.n < 200 ? type.n : 200), type.p);
    struct gvm_facts f = {.method = GVM_STR("POST"),
                          .host = GVM_STR("a.test"),
                          .port = 443,
                          .path = GVM_STR("/org/r/git-receive-pack"),
                          .query = query,
                          .fields = {fields, n > 0 && n < 300 ? (size_t)n : 0},
                          .now_ns = 1};
    struct gvm_content_in in = {.present = true,
                                .whole = true,
                                .raw = body,
                                .type = type,
                                .coding = coding,
                                .query = query,
                                .max = 1u << 16};
    for (unsigned i = 0; i < KEYS; i++) {
        for (unsigned k = 0; k < 2; k++)
            if (!sets[i][k])
                load(i, k);
        bool asks;
        decide(sets[i][1], f, &in, &deny, &asks);
        decide(sets[i][0], f, &in, &allow, &asks);
        if (!(asks && i == GIT) && deny.decision == GVM_ALLOW && allow.decision == GVM_ALLOW)
            abort();
    }
    return 0;
}
