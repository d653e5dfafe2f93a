/* Grants: a person said yes for the run, or for some minutes, to exactly this rule, method and URL.
 */
#include <stdlib.h>

#include "proxy/pipeline/px.h"

static void sweep(struct px_run *run, int64_t now_ns)
{
    struct px_grant **at = &run->grants;
    while (*at) {
        struct px_grant *g = *at;
        if (g->until_ns && now_ns >= g->until_ns) {
            *at = g->next;
            free(g);
            run->ngrants--;
        } else {
            at = &g->next;
        }
    }
}

bool px_grant_find(struct px_run *run, struct gvm_str key, int64_t now_ns)
{
    sweep(run, now_ns);
    for (const struct px_grant *g = run->grants; g; g = g->next)
        if (gvm_str_eq((struct gvm_str){g->key, g->n}, key))
            return true;
    return false;
}

void px_grant_add(struct px_run *run, struct gvm_str key, int64_t until_ns)
{
    if (run->ngrants >= PX_GRANTS)
        return;
    struct px_grant *g = gvm_calloc(1, sizeof *g + key.n);
    if (!g)
        return;
    g->until_ns = until_ns;
    g->n = key.n;
    if (key.n)
        memcpy(g->key, key.p, key.n);
    g->next = run->grants;
    run->grants = g;
    run->ngrants++;
}

void px_grants_free(struct px_run *run)
{
    while (run->grants) {
        struct px_grant *next = run->grants->next;
        free(run->grants);
        run->grants = next;
    }
    run->ngrants = 0;
}
