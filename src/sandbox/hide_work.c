/* Secrets in the workspace: names that mean one, found wherever they lie.
 *
 * A file with settings (.env) is shown with a placeholder for every value, so that a program finds
 * its keys and no secret; everything else is hidden.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

static const struct {
    const char *glob;
    enum sandbox_look look;
} work_secrets[] = {
    {".env", SANDBOX_LOOK_SETTINGS},
    {".env.*", SANDBOX_LOOK_SETTINGS},
    {"*.env", SANDBOX_LOOK_SETTINGS},
    {".envrc", SANDBOX_LOOK_HIDE},
    {"*.key", SANDBOX_LOOK_HIDE},
    {"*.pem", SANDBOX_LOOK_INSIDE},
    {"*.p12", SANDBOX_LOOK_HIDE},
    {"*.pfx", SANDBOX_LOOK_HIDE},
    {"*.ppk", SANDBOX_LOOK_HIDE},
    {"*.jks", SANDBOX_LOOK_HIDE},
    {"*.keystore", SANDBOX_LOOK_HIDE},
    {"*.kdbx", SANDBOX_LOOK_HIDE},
    {"id_rsa", SANDBOX_LOOK_HIDE},
    {"id_dsa", SANDBOX_LOOK_HIDE},
    {"id_ecdsa", SANDBOX_LOOK_HIDE},
    {"id_ed25519", SANDBOX_LOOK_HIDE},
    {"id_ecdsa_sk", SANDBOX_LOOK_HIDE},
    {"id_ed25519_sk", SANDBOX_LOOK_HIDE},
    {"id_*", SANDBOX_LOOK_INSIDE},
    {"credentials", SANDBOX_LOOK_HIDE},
    {"credentials.json", SANDBOX_LOOK_HIDE},
    {"credentials.toml", SANDBOX_LOOK_HIDE},
    {"credentials.y*ml", SANDBOX_LOOK_HIDE},
    {".credentials*", SANDBOX_LOOK_HIDE},
    {"client_secret*.json", SANDBOX_LOOK_HIDE},
    {"service-account*.json", SANDBOX_LOOK_HIDE},
    {"service_account*.json", SANDBOX_LOOK_HIDE},
    {"secrets.toml", SANDBOX_LOOK_HIDE},
    {"secrets.json", SANDBOX_LOOK_HIDE},
    {"secrets.y*ml", SANDBOX_LOOK_HIDE},
    {"secret.y*ml", SANDBOX_LOOK_HIDE},
    {".secrets", SANDBOX_LOOK_HIDE},
    {".netrc", SANDBOX_LOOK_HIDE},
    {".git-credentials", SANDBOX_LOOK_HIDE},
    {".pypirc", SANDBOX_LOOK_HIDE},
    {".pgpass", SANDBOX_LOOK_HIDE},
    {".htpasswd", SANDBOX_LOOK_HIDE},
    {".dockercfg", SANDBOX_LOOK_HIDE},
    {".npmrc", SANDBOX_LOOK_TOKEN},
    {".yarnrc.yml", SANDBOX_LOOK_TOKEN},
    {"terraform.tfvars", SANDBOX_LOOK_HIDE},
    {"*.auto.tfvars", SANDBOX_LOOK_HIDE},
    {"*.tfstate", SANDBOX_LOOK_HIDE},
    {".vault_pass*", SANDBOX_LOOK_HIDE},
    {"gvm.toml", SANDBOX_LOOK_HIDE},
};
static const char *const harmless_endings[] = {".example",  ".sample", ".template", ".dist",
                                               ".defaults", ".pub",    ".md"};
/* Read for what they are, not walked: too many files, and none of them the owner's. */
static const char *const skipped_dirs[] = {"node_modules", "site-packages", "dist-packages",
                                           "__pycache__", ".tox", ".mypy_cache",
                                           /* of a repository only its settings are the owner's */
                                           ".git"};
/* Hidden at the top of the workspace even before they exist. */
static const char *const always_hidden[] = {".env", ".env.local", ".env.production", "gvm.toml"};

#define LOOK_BYTES 65536

/* Most names are told apart by their ends, before a pattern is run. */
static bool may_match(const char *glob, const char *name, size_t n)
{
    size_t g = strlen(glob);
    return (glob[0] == '*' || glob[0] == name[0]) &&
           (glob[g - 1] == '*' || glob[g - 1] == name[n - 1]);
}

enum sandbox_look sandbox_look_at(const char *name)
{
    struct gvm_str s = gvm_str(name);
    enum sandbox_look look = SANDBOX_LOOK_NO;
    for (size_t i = 0; s.n && i < sizeof(work_secrets) / sizeof(work_secrets[0]); i++)
        if (may_match(work_secrets[i].glob, name, s.n) &&
            gvm_glob(gvm_str(work_secrets[i].glob), s)) {
            look = work_secrets[i].look;
            break;
        }
    for (size_t i = 0; look && i < sizeof(harmless_endings) / sizeof(harmless_endings[0]); i++)
        if (gvm_str_ends(s, gvm_str(harmless_endings[i])))
            return SANDBOX_LOOK_NO;
    return look;
}

bool sandbox_scan_skips(const char *name)
{
    for (size_t i = 0; i < sizeof(skipped_dirs) / sizeof(skipped_dirs[0]); i++)
        if (strcmp(name, skipped_dirs[i]) == 0)
            return true;
    return false;
}

/* ---- what is done about them ---- */

static bool has_text(const char *p, ssize_t n, const char *text)
{
    return n > 0 && memmem(p, (size_t)n, text, strlen(text)) != NULL;
}

/* True when the open file is a secret. What cannot be read is. */
static bool is_secret(int fd, const char *name, enum sandbox_look look)
{
    static char mem[LOOK_BYTES];
    ssize_t n = read(fd, mem, sizeof(mem));
    if (n < 0)
        return true;
    if (look == SANDBOX_LOOK_TOKEN)
        return has_text(mem, n, "_auth") || has_text(mem, n, "AuthToken") ||
               has_text(mem, n, "_password");
    if (gvm_str_starts(gvm_str(name), GVM_STR("id_")))
        return has_text(mem, n, "PRIVATE KEY");
    return has_text(mem, n, "PRIVATE KEY") || !has_text(mem, n, "-----BEGIN ");
}

/* Puts a copy with placeholders over the file; -ENOTSUP when it is no file of settings. */
static int show_settings(struct sandbox_layer *l, const char *rel, int fd, struct gvm_err *err)
{
    struct stat st;
    char path[GVM_PATH_MAX];
    GVM_CLEANUP(gvm_buf_wipe) struct gvm_buf text;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf shown;
    gvm_buf_init(&text, SANDBOX_MAX_SETTINGS);
    text.secret = true;
    gvm_buf_init(&shown, SANDBOX_MAX_SETTINGS);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || gvm_read_fd(fd, &text) < 0 ||
        snprintf(path, sizeof(path), "%s/%s", l->host, rel) >= (int)sizeof(path) ||
        sandbox_settings_mask(gvm_buf_str(&text), path, &shown) < 0)
        return -ENOTSUP;
    return sandbox_layer_file(l, rel, gvm_buf_data(&shown), shown.len, err);
}

int sandbox_hide_found(struct sandbox_init *in, struct sandbox_layer *l, const char *rel,
                       enum sandbox_look look, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    if (sandbox_revealed(in, l->host, rel))
        return 0;
    if (look == SANDBOX_LOOK_HIDE ||
        snprintf(path, sizeof(path), "%s/%s", l->host, rel) >= (int)sizeof(path))
        return sandbox_layer_hide(l, rel, err);
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const char *slash = strrchr(rel, '/');
    int r = -ENOTSUP;
    if (fd >= 0 && look == SANDBOX_LOOK_SETTINGS)
        r = show_settings(l, rel, fd, err);
    else if (fd >= 0 && !is_secret(fd, slash ? slash + 1 : rel, look))
        return 0;
    return r == -ENOTSUP ? sandbox_layer_hide(l, rel, err) : r;
}

struct hiding {
    struct sandbox_init *in;
    struct sandbox_layer *l;
};

static int hide_one(void *arg, const char *rel, enum sandbox_look look, struct gvm_err *err)
{
    const struct hiding *h = arg;
    return sandbox_hide_found(h->in, h->l, rel, look, err);
}

int sandbox_hide_work(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    struct hiding h = {in, l};
    int r = 0;
    for (size_t i = 0; i < sizeof(always_hidden) / sizeof(always_hidden[0]) && r == 0; i++)
        if (!sandbox_revealed(in, l->host, always_hidden[i]))
            r = sandbox_layer_hide(l, always_hidden[i], err);
    return r == 0 ? sandbox_scan(in, l->host, hide_one, &h, err) : r;
}
