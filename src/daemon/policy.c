/* Configurations: read, checked, and kept as the text their child gets. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon_int.h"
#include "rules/rules.h"

#define IDLE_NS (60 * 1000000000ll) /* a policy no run uses may go after this long */

void daemon_policy_done(struct daemon_policy *p)
{
    free(p->path);
    gvm_close(&p->policy_fd);
    gvm_close(&p->cred_fd);
    *p = (struct daemon_policy){.policy_fd = -1, .cred_fd = -1};
}

static int encode(const struct gvm_conf *conf, struct daemon_policy *p, struct gvm_err *err)
{
    struct gvm_buf text, creds;
    gvm_buf_init(&text, 4 * GVM_MAX_CONFIG);
    gvm_buf_init(&creds, GVM_MAX_CONFIG);
    creds.secret = true;
    int r = gvm_policy_encode(conf, &text);
    if (r == 0)
        r = gvm_credentials_encode(conf, &creds);
    if (r == 0)
        r = p->policy_fd = gvm_memfd("policy", gvm_buf_data(&text), text.len);
    if (r >= 0)
        r = p->cred_fd = gvm_memfd("credentials", gvm_buf_data(&creds), creds.len);
    gvm_buf_done(&text);
    gvm_buf_wipe(&creds);
    return r < 0 ? gvm_err_sys(err, -r, "cannot encode the rules") : 0;
}

/* Everything the proxy would refuse is refused here, where it can be said with a line number. */
static int check(const struct gvm_conf *conf, struct gvm_err *err)
{
    struct gvm_ruleset *rs = NULL;
    int r = gvm_rules_compile(conf, &rs, err);
    gvm_rules_free(rs);
    return r;
}

static uint32_t publish_ms(const struct gvm_conf_anchor *a)
{
    uint32_t ms = a->nexport ? a->export_ms : 0;
    return a->ts_url.n && (!ms || a->ts_ms < ms) ? a->ts_ms : ms;
}

int daemon_policy_read(const struct daemon *d, const char *path, struct daemon_policy *ret,
                       struct gvm_err *err)
{
    struct daemon_policy p = {.policy_fd = -1, .cred_fd = -1};
    p.is_default = strcmp(path, d->config) == 0;
    p.builtin = p.is_default && access(path, F_OK) < 0 && errno == ENOENT;
    p.path = strdup(path);
    struct gvm_conf *conf = NULL;
    int r = !p.path     ? gvm_err_set(err, ENOMEM, "out of memory")
            : p.builtin ? gvm_conf_default(&conf, err)
                        : gvm_conf_load(path, &conf, err);
    if (r == 0)
        r = check(conf, err);
    if (r == 0)
        r = encode(conf, &p, err);
    if (r == 0) {
        memcpy(p.hash, conf->hash, sizeof p.hash);
        p.rules = conf->nrules;
        p.publish_ms = publish_ms(&conf->anchor);
        p.log = conf->log;
        *ret = p;
    } else {
        daemon_policy_done(&p);
    }
    gvm_conf_free(conf);
    return r;
}

bool daemon_same_bytes(int a, int b)
{
    struct stat sa, sb;
    if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0 || sa.st_size != sb.st_size)
        return false;
    size_t n = (size_t)sa.st_size;
    if (n == 0)
        return true;
    void *pa = mmap(NULL, n, PROT_READ, MAP_SHARED, a, 0),
         *pb = mmap(NULL, n, PROT_READ, MAP_SHARED, b, 0);
    bool same = pa != MAP_FAILED && pb != MAP_FAILED && memcmp(pa, pb, n) == 0;
    if (pa != MAP_FAILED)
        (void)munmap(pa, n);
    if (pb != MAP_FAILED)
        (void)munmap(pb, n);
    return same;
}

bool daemon_policy_same(const struct daemon_policy *a, const struct daemon_policy *b)
{
    return a->id && b->path && strcmp(a->path, b->path) == 0 && a->builtin == b->builtin &&
           a->publish_ms == b->publish_ms && daemon_same_bytes(a->policy_fd, b->policy_fd) &&
           daemon_same_bytes(a->cred_fd, b->cred_fd);
}

struct daemon_policy *daemon_policy_slot(struct daemon *d)
{
    struct daemon_policy *oldest = NULL;
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        struct daemon_policy *p = &d->policies[i];
        if (!p->id)
            return p;
        if (!p->live && gvm_mono_ns() - p->used_ns > IDLE_NS &&
            (!oldest || p->used_ns < oldest->used_ns))
            oldest = p;
    }
    return oldest;
}

int daemon_policy_send(struct daemon *d, const struct daemon_policy *p, enum gvm_role to,
                       uint64_t id)
{
    struct gvm_m_policy m = {.policy = p->id};
    bool keys = to == GVM_ROLE_KEYS;
    int fd = keys ? p->cred_fd : p->policy_fd;
    (void)lseek(fd, 0, SEEK_SET); /* the offset is shared with who read it before */
    return daemon_child_send(daemon_child(d, to), keys ? GVM_MSG_CREDENTIALS : GVM_MSG_POLICY, id,
                             &m, sizeof m, &fd, 1);
}

void daemon_policies_resend(struct daemon *d, enum gvm_role to)
{
    if (to != GVM_ROLE_KEYS && to != GVM_ROLE_PROXY)
        return;
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        if (d->policies[i].id && daemon_policy_send(d, &d->policies[i], to, ++d->next_id) < 0)
            return; /* the channel is gone: the next start sends them again */
    }
}

void daemon_policy_json(struct gvm_jw *w, const struct daemon_policy *p)
{
    gvm_jw_kint(w, "policy", p->id);
    gvm_jw_kstrz(w, "hash", p->hash);
    gvm_jw_kstrz(w, "config", p->builtin ? "" : p->path);
    gvm_jw_kint(w, "rules", p->rules);
}
