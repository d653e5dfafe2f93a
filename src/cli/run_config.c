/* What the rule file says of a run's sandbox: [filesystem], [sandbox], [seccomp]. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "cli/run.h"

#include "conf/conf.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

int run_add_place(struct run *r, struct run_list *l, const char *text, size_t n,
                  struct gvm_err *err)
{
    const char *copy = gvm_arena_dup(r->arena, text, n);
    if (!copy || l->n >= sizeof(l->v) / sizeof(l->v[0]) - 2)
        return gvm_err_set(err, E2BIG, "too many places in [filesystem] or [sandbox]");
    l->v[l->n++] = copy;
    return 0;
}

static int add_places(struct run *r, struct run_list *l, const struct gvm_str *list, uint32_t n,
                      struct gvm_err *err)
{
    int x = 0;
    for (uint32_t i = 0; x == 0 && i < n; i++)
        x = run_add_place(r, l, list[i].p, list[i].n, err);
    return x;
}

static int take(struct run *r, const struct gvm_conf *c, struct gvm_err *err)
{
    int x = add_places(r, &r->opt.hide, c->hide, c->nhide, err);
    if (x == 0)
        x = add_places(r, &r->opt.reveal, c->reveal, c->nreveal, err);
    if (x == 0)
        x = add_places(r, &r->opt.mounts, c->mounts, c->nmounts, err);
    if (x == 0)
        x = add_places(r, &r->opt.devices, c->devices, c->ndevices, err);
    if (x == 0)
        x = add_places(r, &r->opt.persist, c->persist, c->npersist, err);
    if (x == 0 && !r->opt.seccomp && c->seccomp.n) {
        r->opt.seccomp = gvm_arena_dup(r->arena, c->seccomp.p, c->seccomp.n);
        x = r->opt.seccomp ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    }
    if (!r->opt.grace_ms)
        r->opt.grace_ms = c->grace_ms;
    return x;
}

/* The file is parsed only when it has one of these tables: its other content is the daemon's, and
 * credentials in it have no business in this process. */
int run_read_config(struct run *r, struct gvm_err *err)
{
    static const char *const tables[] = {"filesystem", "sandbox", "seccomp"};
    GVM_CLEANUP(gvm_buf_wipe) struct gvm_buf text;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    text.secret = true;
    int x = gvm_read_file(r->config, &text, err);
    bool has = false;
    for (size_t i = 0; x == 0 && text.len && i < sizeof(tables) / sizeof(tables[0]); i++)
        has |= memmem(gvm_buf_data(&text), text.len, tables[i], strlen(tables[i])) != NULL;
    if (x < 0 || !has)
        return x;
    struct gvm_conf *conf = NULL;
    x = gvm_conf_load(r->config, &conf, err);
    if (x == 0)
        x = take(r, conf, err);
    gvm_conf_free(conf);
    return x;
}

/* state/agents/ID, a slash and a dot at the beginning written as %2F and %2E. */
int run_choose_kept(struct run *r, struct gvm_err *err)
{
    char rest[GVM_MAX_AGENT * 3 + 16] = "agents/";
    size_t n = strlen(rest);
    if (!r->opt.persist.n)
        return 0;
    for (const char *c = r->agent; *c; c++) {
        bool odd = *c == '/' || *c == '%' || (*c == '.' && c == r->agent);
        n += (size_t)snprintf(rest + n, sizeof(rest) - n, odd ? "%%%02X" : "%c",
                              (unsigned)(unsigned char)*c);
    }
    int x = gvm_place_path(GVM_PLACE_STATE, rest, r->kept, err);
    return x == 0 ? gvm_mkdirs(r->kept, 0700, err) : x;
}

int run_read_profile(struct run *r, struct gvm_err *err)
{
    const char *name = r->opt.seccomp;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, GVM_SANDBOX_MAX_PROFILE);
    if (!name || strcmp(name, "default") == 0)
        return 0;
    if (strcmp(name, "strict") == 0)
        return gvm_str_copy(r->seccomp, sizeof(r->seccomp), GVM_STR("strict"));
    int x = gvm_read_file(name, &text, err);
    if (x < 0)
        return gvm_err_wrap(err, x, "the seccomp profile");
    uint8_t sum[32];
    char hex[2 * sizeof(sum) + 1];
    SHA256_CTX c; /* not EVP: loading OpenSSL's providers takes longer than the run's start may */
    SHA256_Init(&c);
    SHA256_Update(&c, gvm_buf_data(&text), text.len);
    SHA256_Final(sum, &c);
    gvm_hex(hex, sum, sizeof(sum));
    snprintf(r->seccomp, sizeof(r->seccomp), "sha256:%s", hex);
    return gvm_sandbox_profile_parse(gvm_buf_str(&text), name, &r->profile, err);
}
