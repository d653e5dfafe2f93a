/* rules/narrow_same.c - do two rules look for the very same thing? For the report of hidden rules:
 * what is merely equivalent (another order, a wider pattern) is not found. */
#include "rules/narrow.h"

static bool same_texts(const struct gvm_conf_texts *a, const struct gvm_conf_texts *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = gvm_str_eq(a->list[i], b->list[i]);
    return same;
}

static bool same_test(const struct rules_test *a, const struct rules_test *b)
{
    bool same = gvm_str_eq(a->name, b->name) && a->op == b->op && a->nvalues == b->nvalues;
    for (uint32_t i = 0; same && i < a->nvalues; i++)
        same = a->values[i].type == b->values[i].type &&
               gvm_str_eq(a->values[i].text, b->values[i].text);
    return same;
}

static bool same_tests(const struct rules_tests *a, const struct rules_tests *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = same_test(&a->list[i], &b->list[i]);
    return same;
}

static bool same_calls(const struct gvm_conf_narrow *a, const struct gvm_conf_narrow *b)
{
    return a->graphql == b->graphql && a->mcp == b->mcp && a->git == b->git &&
           same_texts(&a->graphql_operation, &b->graphql_operation) &&
           same_texts(&a->graphql_name, &b->graphql_name) &&
           same_texts(&a->graphql_field, &b->graphql_field) &&
           same_texts(&a->mcp_method, &b->mcp_method) && same_texts(&a->mcp_tool, &b->mcp_tool) &&
           same_texts(&a->git_push, &b->git_push) && same_texts(&a->git_repo, &b->git_repo) &&
           a->git_force == b->git_force && a->git_delete == b->git_delete &&
           same_texts(&a->grpc, &b->grpc);
}

static bool same_rest(const struct gvm_conf_narrow *a, const struct gvm_conf_narrow *b)
{
    return a->ws == b->ws && a->ws_direction == b->ws_direction &&
           same_texts(&a->ws_text, &b->ws_text) && gvm_str_eq(a->payload_field, b->payload_field) &&
           same_texts(&a->payload_match, &b->payload_match) &&
           same_texts(&a->payload_alias, &b->payload_alias);
}

static bool same_window(const struct gvm_conf_narrow *a, const struct gvm_conf_narrow *b)
{
    return a->has_window == b->has_window &&
           (!a->has_window || (a->from == b->from && a->to == b->to && a->outside == b->outside &&
                               gvm_str_eq(a->zone.name, b->zone.name)));
}

/* Which `unverifiable` follows when it cannot be seen. */
static bool same_blind(const struct gvm_conf_narrow *a, const struct gvm_conf_narrow *b)
{
    return a->has_unverifiable == b->has_unverifiable &&
           a->unverifiable_next == b->unverifiable_next &&
           a->unverifiable.type == b->unverifiable.type;
}

bool rules_narrow_same(const struct rules_narrow *a, const struct rules_narrow *b)
{
    if (!a || !b || a->max_body != b->max_body)
        return false;
    const struct rules_tests *const of_a[] = {&a->query, &a->header,   &a->body,
                                              &a->form,  &a->mcp_args, &a->ws_json};
    const struct rules_tests *const of_b[] = {&b->query, &b->header,   &b->body,
                                              &b->form,  &b->mcp_args, &b->ws_json};
    bool same = same_calls(&a->conf, &b->conf) && same_rest(&a->conf, &b->conf) &&
                same_window(&a->conf, &b->conf) && same_blind(&a->conf, &b->conf);
    for (size_t i = 0; same && i < sizeof of_a / sizeof *of_a; i++)
        same = same_tests(of_a[i], of_b[i]);
    return same;
}
