/* What the agent's programs trust: the host's certificate authorities and the run's own.
 *
 * The host's bundle is read once, the run's CA added, and the result stands at every place where a
 * distribution keeps its bundle; environment variables (env.c) name it for stacks that bring their
 * own. A Java found in PATH, JAVA_HOME or the usual place gets a key store with the same content.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where distributions keep the bundle. The first that can be read is the host's; those whose
 * directory exists, and the first of the list in any case, are replaced. */
static const char *const bundles[] = {
    "ssl/certs/ca-certificates.crt",
    "pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "pki/tls/certs/ca-bundle.crt",
    "pki/tls/cacert.pem",
    "ssl/ca-bundle.pem",
    "ssl/cert.pem",
    "ca-certificates/extracted/tls-ca-bundle.pem",
};
#define NBUNDLES   (sizeof(bundles) / sizeof(bundles[0]))
#define MAX_STORES 4

struct sandbox_trust {
    struct gvm_buf bundle;
    struct sandbox_jks *jks;
    const char *store[MAX_STORES]; /* real paths of cacerts files */
    unsigned nstores;
};

static void read_bundle(struct sandbox_trust *t)
{
    char path[128];
    for (size_t i = 0; i < NBUNDLES; i++) {
        snprintf(path, sizeof(path), "/etc/%s", bundles[i]);
        if (gvm_read_file(path, &t->bundle, NULL) == 0 && t->bundle.len)
            break;
        gvm_buf_reset(&t->bundle);
    }
    if (t->bundle.len && gvm_buf_data(&t->bundle)[t->bundle.len - 1] != '\n')
        gvm_buf_addc(&t->bundle, '\n');
}

/* ---- Java ---- */

static void add_store(struct sandbox_init *in, struct sandbox_trust *t, const char *path)
{
    char real[PATH_MAX];
    if (t->nstores == MAX_STORES || !realpath(path, real))
        return;
    for (unsigned i = 0; i < t->nstores; i++)
        if (strcmp(t->store[i], real) == 0)
            return;
    const char *copy = gvm_arena_dup(in->arena, real, strlen(real));
    if (copy)
        t->store[t->nstores++] = copy;
}

static void add_java_home(struct sandbox_init *in, struct sandbox_trust *t, struct gvm_str home)
{
    char path[GVM_PATH_MAX];
    static const char *const places[] = {"lib/security/cacerts", "jre/lib/security/cacerts"};
    for (int i = 0; i < 2; i++)
        if (snprintf(path, sizeof(path), "%.*s/%s", GVM_STR_ARG(home), places[i]) <
            (int)sizeof(path))
            add_store(in, t, path);
}

static void find_java(struct sandbox_init *in, struct sandbox_trust *t)
{
    char path[GVM_PATH_MAX], real[PATH_MAX];
    add_store(in, t, "/etc/ssl/certs/java/cacerts");
    add_store(in, t, "/etc/pki/java/cacerts");
    for (const char *const *e = in->plan->env; *e; e++) {
        struct gvm_str value = gvm_str(*e), name, dir;
        gvm_str_cut(&value, '=', &name);
        if (gvm_str_eqz(name, "JAVA_HOME"))
            add_java_home(in, t, value);
        while (gvm_str_eqz(name, "PATH") && value.n) {
            gvm_str_cut(&value, ':', &dir);
            snprintf(path, sizeof(path), "%.*s/java", GVM_STR_ARG(dir));
            const char *end = dir.n && realpath(path, real) ? strstr(real, "/bin/java") : NULL;
            if (end)
                add_java_home(in, t, (struct gvm_str){real, (size_t)(end - real)});
        }
    }
}

int sandbox_trust_prepare(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_trust *t = gvm_arena_alloc(in->arena, sizeof(*t));
    if (!t)
        return gvm_err_set(err, ENOMEM, "out of memory");
    gvm_buf_init(&t->bundle, SANDBOX_MAX_BUNDLE);
    read_bundle(t);
    find_java(in, t);
    if (t->nstores) {
        t->jks = sandbox_jks_new(gvm_buf_str(&t->bundle));
        if (!t->jks)
            return gvm_err_set(err, ENOMEM, "cannot make a key store for Java");
    }
    in->trust = t;
    return 0;
}

/* ---- writing ---- */

/* The bundle is one file with several names; the run's CA is appended to it later. */
static int write_bundles(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_trust *t = in->trust;
    int r = sandbox_layer_file(&in->etc, bundles[0], gvm_buf_data(&t->bundle), t->bundle.len, err);
    for (size_t i = 1; i < NBUNDLES && r == 0; i++) {
        char dir[128];
        struct stat st;
        snprintf(dir, sizeof(dir), "/etc/%s", bundles[i]);
        *strrchr(dir, '/') = '\0';
        if (stat(dir, &st) == 0)
            r = sandbox_layer_link(&in->etc, bundles[i], bundles[0], err);
    }
    return r;
}

int sandbox_trust_write(struct sandbox_init *in, struct gvm_err *err)
{
    int r = write_bundles(in, err);
    gvm_buf_done(&in->trust->bundle);
    return r;
}

static int append_ca(struct sandbox_init *in, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd =
        openat(in->etc.fd, bundles[0], O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : gvm_write_all(fd, in->ca_pem, in->ca_len);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot add the run's CA");
    return sandbox_layer_file(&in->etc, &SANDBOX_CA_RUN[5], in->ca_pem, in->ca_len, err);
}

/* A store outside /etc is covered where it is shown; one that is not shown needs nothing. */
static int put_store(struct sandbox_init *in, const char *store, const struct gvm_buf *jks,
                     struct gvm_err *err)
{
    if (strncmp(store, "/etc/", 5) == 0)
        return sandbox_layer_file(&in->etc, store + 5, gvm_buf_data(jks), jks->len, err);
    if (access(store + 1, F_OK) < 0)
        return 0;
    char src[GVM_PATH_MAX + 32];
    GVM_AUTOCLOSE int fd =
        openat(in->layers, "cacerts", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : gvm_write_all(fd, gvm_buf_data(jks), jks->len);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot write the key store for Java");
    snprintf(src, sizeof(src), "%s/layers/cacerts", in->base);
    return sandbox_bind(in, src, store + 1,
                        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

static int put_stores(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_trust *t = in->trust;
    struct gvm_buf jks;
    int r = 0;
    if (!t->jks)
        return 0;
    gvm_buf_init(&jks, SANDBOX_MAX_BUNDLE);
    if (sandbox_jks_finish(t->jks, (struct gvm_str){in->ca_pem, in->ca_len}, &jks) < 0)
        r = gvm_err_set(err, ENOMEM, "cannot make a key store for Java");
    for (unsigned i = 0; i < t->nstores && r == 0; i++)
        r = put_store(in, t->store[i], &jks, err);
    gvm_buf_done(&jks);
    sandbox_jks_free(t->jks);
    t->jks = NULL;
    return r;
}

int sandbox_trust_finish(struct sandbox_init *in, struct gvm_err *err)
{
    int r = append_ca(in, err);
    return r == 0 ? put_stores(in, err) : r;
}
