/* /etc of a sandbox: the host's, read-only, with its secrets hidden and a few files replaced.
 *
 * As root the agent keeps uid 0 (without any capability), so a file of root with mode 0600 would be
 * readable. Therefore, as root, everything in /etc that not everybody may read is hidden as well.
 */
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const secret_etc[] = {
    "shadow",
    "shadow-",
    "gshadow",
    "gshadow-",
    "sudoers",
    "sudoers.d",
    "doas.conf",
    "opasswd",
    "security/opasswd",
    "ssl/private",
    "pki/tls/private",
    "pki/nssdb",
    "letsencrypt",
    "krb5.keytab",
    "ppp/chap-secrets",
    "ppp/pap-secrets",
    "wireguard",
    "openvpn",
    "ipsec.secrets",
    "ipsec.d/private",
    "swanctl/private",
    "NetworkManager/system-connections",
    "netplan",
    "wpa_supplicant",
    "crontab",
    "cron.d",
    "docker",
    "kubernetes",
    "rancher",
    "containerd",
    "apt/auth.conf",
    "apt/auth.conf.d",
    "mysql/debian.cnf",
    "postfix/sasl_passwd",
    "exim4/passwd.client",
    "msmtprc",
    "samba/private",
    "cups/ssl",
    "salt/pki",
    "puppetlabs/puppet/ssl",
    "vault.d",
    "consul.d",
    "nomad.d",
    "gvm",
    "credstore",
    "credstore.encrypted",
    "environment.d",
    "docker.env",
    "aws",
    "azure",
    "boto.cfg",
    "netrc",
    "fetchmailrc",
    "rsyncd.secrets",
};

static bool is_host_key(const char *name)
{
    return gvm_str_starts(gvm_str(name), GVM_STR("ssh_host_")) &&
           !gvm_str_ends(gvm_str(name), GVM_STR(".pub"));
}

static int hide_host_keys(struct sandbox_layer *l, struct gvm_err *err)
{
    DIR *d = opendir("/etc/ssh");
    int r = 0;
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        char rel[NAME_MAX + 8];
        snprintf(rel, sizeof(rel), "ssh/%s", e->d_name);
        if (is_host_key(e->d_name))
            r = sandbox_layer_hide(l, rel, err);
    }
    if (d)
        closedir(d);
    return r;
}

#define MAX_ETC      20000 /* entries looked at as root */
#define MAX_ETC_DIRS 2048

/* A list of directories still to be read takes the place of recursion. */
struct etc_walk {
    struct gvm_arena *a;
    struct gvm_buf *list;
    const char *dirs[MAX_ETC_DIRS];
    unsigned next, n, seen;
};

static int look_at(struct etc_walk *w, int fd, const char *dir, const struct dirent *e,
                   struct gvm_err *err)
{
    const char *name = e->d_name;
    struct stat st;
    if (e->d_type == DT_LNK || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (++w->seen > MAX_ETC)
        return gvm_err_set(err, E2BIG,
                           "/etc has more than %d entries; private files cannot all be found",
                           MAX_ETC);
    if (S_ISLNK(st.st_mode))
        return 0;
    bool is_dir = S_ISDIR(st.st_mode);
    mode_t need = is_dir ? S_IROTH | S_IXOTH : S_IROTH;
    bool hide = (st.st_mode & need) != need;
    if (!is_dir && !hide)
        return 0;
    const char *rel = gvm_arena_printf(w->a, "%s%s%s", dir, *dir ? "/" : "", name);
    if (!rel)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (hide && gvm_buf_add(w->list, rel, strlen(rel) + 1) < 0)
        return gvm_err_set(err, E2BIG, "/etc has too many private files to hide them all");
    if (hide)
        return 0;
    if (w->n == MAX_ETC_DIRS)
        return gvm_err_set(err, E2BIG, "/etc has more than %d directories", MAX_ETC_DIRS);
    w->dirs[w->n++] = rel;
    return 0;
}

int sandbox_private_etc(struct gvm_buf *list, struct gvm_err *err)
{
    static struct etc_walk w;
    w = (struct etc_walk){.a = gvm_arena_new(4u << 20), .list = list, .dirs = {""}, .n = 1};
    int r = w.a ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    while (w.next < w.n && r == 0) {
        char path[GVM_PATH_MAX];
        const char *dir = w.dirs[w.next++];
        snprintf(path, sizeof(path), "/etc/%s", dir);
        DIR *d = opendir(path);
        for (const struct dirent *e; d && r == 0 && (e = readdir(d));)
            r = look_at(&w, dirfd(d), dir, e, err);
        if (d)
            closedir(d);
    }
    gvm_arena_free(w.a);
    return r;
}

int sandbox_hide_private(struct sandbox_init *in, struct gvm_err *err)
{
    int r = 0;
    for (struct gvm_str rest = in->private_etc; rest.n && r == 0;) {
        size_t n = strnlen(rest.p, rest.n);
        r = sandbox_layer_hide(&in->etc, rest.p, err); /* the text ends in NUL */
        rest.p += n + (n < rest.n);
        rest.n -= n + (n < rest.n);
    }
    return r;
}

static int hide_secrets(struct sandbox_layer *l, struct gvm_err *err)
{
    int r = 0;
    for (size_t i = 0; i < sizeof(secret_etc) / sizeof(secret_etc[0]) && r == 0; i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof(path), "/etc/%s", secret_etc[i]);
        /* Only what is there: a hidden name needs its parents in the layer, and /etc should look as
         * it is. */
        if (lstat(path, &st) == 0)
            r = sandbox_layer_hide(l, secret_etc[i], err);
    }
    return r == 0 ? hide_host_keys(l, err) : r;
}

/* ---- replaced files ---- */

static int put(struct sandbox_layer *l, const char *name, const char *text, struct gvm_err *err)
{
    return sandbox_layer_file(l, name, text, strlen(text), err);
}

/* An account that only a directory service knows gets its line, so that getpwuid() works. */
static int put_account(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    struct gvm_buf text;
    gvm_buf_init(&text, 1u << 20);
    char wanted[32];
    bool known = false;
    snprintf(wanted, sizeof(wanted), "%u", in->uid);
    if (gvm_read_file("/etc/passwd", &text, NULL) < 0)
        gvm_buf_addz(&text, "root:x:0:0:root:/root:/bin/sh\n");
    struct gvm_str rest = gvm_buf_str(&text), line, field;
    while (rest.n && !known) {
        gvm_str_cut(&rest, '\n', &line);
        for (int i = 0; i < 3; i++)
            gvm_str_cut(&line, ':', &field);
        known = gvm_str_eqz(field, wanted);
    }
    int r = 0;
    if (!known) {
        gvm_buf_addf(&text, "user:x:%u:%u::%s:/bin/sh\n", in->uid, in->gid, in->plan->home);
        r = sandbox_layer_file(l, "passwd", gvm_buf_data(&text), text.len, err);
    }
    gvm_buf_done(&text);
    return r;
}

/* ssh reads its settings only from root or from whoever runs it, and with one user mapped root's
 * files show as nobody's. These copies are the user's. */
static int own_ssh_settings(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    DIR *d = in->uid == 0 ? NULL : opendir("/etc/ssh/ssh_config.d");
    int r = 0;
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        char rel[NAME_MAX + 32], path[NAME_MAX + 40];
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
        gvm_buf_init(&text, 64u << 10);
        snprintf(rel, sizeof(rel), "ssh/ssh_config.d/%s", e->d_name);
        snprintf(path, sizeof(path), "/etc/%s", rel);
        if (gvm_str_ends(gvm_str(e->d_name), GVM_STR(".conf")) &&
            gvm_read_file(path, &text, NULL) == 0)
            r = sandbox_layer_file(l, rel, gvm_buf_data(&text), text.len, err);
    }
    if (d)
        closedir(d);
    return r;
}

static int replace_files(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    int r = put(l, "resolv.conf", "nameserver " SANDBOX_ADDR4 "\n", err);
    if (r == 0)
        r = put(l, "hosts",
                "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n", err);
    if (r == 0)
        r = put(l, "hostname", "sandbox\n", err);
    if (r == 0)
        r = put(l, "nsswitch.conf",
                "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
                "networks: files\nprotocols: files\nservices: files\nethers: files\n"
                "rpc: files\n",
                err);
    if (r == 0)
        r = own_ssh_settings(in, l, err);
    return r == 0 ? put_account(in, l, err) : r;
}

int sandbox_prepare_etc(struct sandbox_init *in, struct gvm_err *err)
{
    int r = sandbox_layer_open(in, "etc", "/etc", &in->etc, err);
    if (r == 0)
        r = hide_secrets(&in->etc, err);
    if (r == 0)
        r = replace_files(in, &in->etc, err);
    return r == 0 ? sandbox_trust_write(in, err) : r;
}

int sandbox_mount_etc(struct sandbox_init *in, struct gvm_err *err)
{
    int r = sandbox_trust_finish(in, err);
    sandbox_layer_close(&in->etc);
    return r == 0 ? sandbox_overlay(in, "etc", "etc", "/etc", NULL, err) : r;
}
