/* Policies: the text the parent sent, compiled. A new text under a known id replaces the old one
 * for all runs at once; requests that are under way keep the one they were judged by. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

#define POLICY_TEXT_MAX (4u * GVM_MAX_CONFIG)
#define POLICIES_MAX    1024u
#define NO_CRED_MAX     4096u

static struct gvm_str key_of(const uint32_t *id)
{
    return (struct gvm_str){(const char *)id, sizeof *id};
}

void px_policy_unref(struct px_policy *p)
{
    if (!p || --p->refs)
        return;
    gvm_rules_free(p->rules);
    gvm_conf_free(p->conf);
    gvm_map_free(p->no_cred);
    free(p);
}

void px_policy_drop(void *p)
{
    px_policy_unref(p);
}

/* Nearly all requests ask for the policy of the one before. */
static struct px_policy *find(struct px *px, uint32_t id)
{
    if (!px->recent || px->recent->id != id)
        px->recent = gvm_map_get(px->policies, key_of(&id));
    return px->recent;
}

struct px_policy *px_policy_get(struct px *px, uint32_t id)
{
    struct px_policy *p = find(px, id);
    if (p)
        p->refs++;
    return p;
}

static int compile(struct px_policy *p, int fd, struct gvm_err *err)
{
    struct gvm_buf text GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&text, POLICY_TEXT_MAX);
    int r = gvm_read_fd(fd, &text);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the policy");
    r = gvm_policy_decode(gvm_buf_str(&text), &p->conf, err);
    if (r == 0)
        r = gvm_rules_compile(p->conf, &p->rules, err);
    if (r < 0)
        return r;
    p->no_cred = gvm_map_new(NO_CRED_MAX, free);
    return p->no_cred ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
}

int px_policy_set(struct px *px, uint32_t id, int fd, struct gvm_err *err)
{
    struct px_policy *p = gvm_calloc(1, sizeof *p);
    if (!p)
        return gvm_err_set(err, ENOMEM, "out of memory");
    p->refs = 1;
    p->id = id;
    int r = compile(p, fd, err);
    px->recent = NULL;
    if (r == 0 && (r = gvm_map_put(px->policies, key_of(&id), p)) < 0)
        gvm_err_sys(err, -r, "cannot keep the policy");
    if (r < 0)
        px_policy_unref(p);
    return r;
}

const struct gvm_conf_timeouts *px_timeouts(const struct px_run *run)
{
    static const struct gvm_conf_timeouts standard = {30000,  10000,  15000, 300000,
                                                      300000, 300000, 60000, 3600000};
    const struct px_policy *p = find(run->px, run->policy_id);
    return p ? &p->conf->timeouts : &standard;
}
