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
#include <sys/sendfile.h>
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
    int bundle;    /* the host's, or -1 */
    char key[192]; /* says which file that is, in which state; "" without one */
    struct sandbox_jks *jks;
    const char *store[MAX_STORES]; /* real paths of cacerts files */
    unsigned nstores;
};

/* Where the host's bundle is, and in which state. */
static void find_bundle(struct sandbox_trust *t)
{
    struct stat st;
    for (size_t i = 0; i < NBUNDLES; i++) {
        char path[128];
        snprintf(path, sizeof(path), "/etc/%s", bundles[i]);
        t->bundle = open(path, O_RDONLY | O_CLOEXEC);
        if (t->bundle >= 0 && fstat(t->bundle, &st) == 0 && st.st_size > 0 &&
            st.st_size < SANDBOX_MAX_BUNDLE) {
            snprintf(t->key, sizeof(t->key), "%s %ju %ju %jd %jd.%09ld %jd.%09ld", path,
                     (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_size,
                     (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec,
                     st.st_ctim.tv_nsec);
            return;
        }
        gvm_close(&t->bundle);
    }
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

/* Decoding the bundle is most of the work, and the bundle changes a few times a year. */
static struct sandbox_jks *make_jks(struct sandbox_init *in, struct sandbox_trust *t)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf kept;
    struct gvm_str key = gvm_str(t->key);
    gvm_buf_init(&kept, SANDBOX_MAX_BUNDLE);
    struct sandbox_jks *j = NULL;
    if (key.n && sandbox_cache_get(in, "cacerts", key, &kept))
        j = sandbox_jks_again(&kept);
    if (j)
        return j;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf bundle;
    gvm_buf_init(&bundle, SANDBOX_MAX_BUNDLE);
    if (t->bundle >= 0 &&
        (gvm_read_fd(t->bundle, &bundle) < 0 || lseek(t->bundle, 0, SEEK_SET) < 0))
        return NULL;
    j = sandbox_jks_new(gvm_buf_str(&bundle));
    if (j && key.n)
        sandbox_cache_put(in, "cacerts", key, sandbox_jks_text(j));
    return j;
}

int sandbox_trust_prepare(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_trust *t = gvm_arena_alloc(in->arena, sizeof(*t));
    if (!t)
        return gvm_err_set(err, ENOMEM, "out of memory");
    find_bundle(t);
    find_java(in, t);
    if (t->nstores) {
        t->jks = make_jks(in, t);
        if (!t->jks)
            return gvm_err_set(err, ENOMEM, "cannot make a key store for Java");
    }
    in->trust = t;
    return 0;
}

/* ---- writing ---- */

/* From the host's file into the layer's, in the kernel. */
static int copy_bundle(struct sandbox_init *in, int from, struct gvm_err *err)
{
    int r = sandbox_layer_file(&in->etc, bundles[0], "", 0, err);
    if (r < 0 || from < 0)
        return r;
    GVM_AUTOCLOSE int to = openat(in->etc.fd, bundles[0], O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = to < 0 ? -1 : 1;
    while (n > 0)
        n = sendfile(to, from, NULL, SANDBOX_MAX_BUNDLE);
    /* The run's CA is to begin on a line of its own. */
    if (n < 0 || write(to, "\n", 1) != 1)
        return gvm_err_sys(err, errno, "cannot copy the certificate authorities of this machine");
    return 0;
}

/* The bundle is one file with several names; the run's CA is appended to it later. */
int sandbox_trust_write(struct sandbox_init *in, struct gvm_err *err)
{
    int r = copy_bundle(in, in->trust->bundle, err);
    gvm_close(&in->trust->bundle);
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

static int append_ca(struct sandbox_init *in, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd =
        openat(in->etc.fd, bundles[0], O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : gvm_write_all(fd, in->ca_pem.p, in->ca_pem.n);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot add the run's CA");
    return sandbox_layer_file(&in->etc, &SANDBOX_CA_RUN[5], in->ca_pem.p, in->ca_pem.n, err);
}

/* A store outside /etc is covered where it is shown; one that is not shown needs nothing. */
static int put_store(struct sandbox_init *in, const char *store, struct gvm_str jks,
                     struct gvm_err *err)
{
    if (strncmp(store, "/etc/", 5) == 0)
        return sandbox_layer_file(&in->etc, store + 5, jks.p, jks.n, err);
    if (access(store + 1, F_OK) < 0)
        return 0;
    char src[GVM_PATH_MAX + 32];
    GVM_AUTOCLOSE int fd =
        openat(in->layers, "cacerts", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : gvm_write_all(fd, jks.p, jks.n);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot write the key store for Java");
    snprintf(src, sizeof(src), "%s/layers/cacerts", in->base);
    return sandbox_bind(in, src, store + 1,
                        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

static int put_stores(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_trust *t = in->trust;
    struct gvm_str jks;
    int r = 0;
    if (!t->jks)
        return 0;
    if (sandbox_jks_finish(t->jks, in->ca_pem, &jks) < 0)
        r = gvm_err_set(err, ENOMEM, "cannot make a key store for Java");
    for (unsigned i = 0; i < t->nstores && r == 0; i++)
        r = put_store(in, t->store[i], jks, err);
    sandbox_jks_free(t->jks);
    t->jks = NULL;
    return r;
}

int sandbox_trust_finish(struct sandbox_init *in, struct gvm_err *err)
{
    int r = append_ca(in, err);
    return r == 0 ? put_stores(in, err) : r;
}
