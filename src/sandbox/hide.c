/* What an agent must not see: secrets in the home, secrets in the workspace, and GVM's own places.
 */
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- home: fixed names, hidden whether they exist or not ---- */

static const char *const home_secrets[] = {
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".config/gh",
    ".config/glab-cli",
    ".config/hub",
    ".config/gcloud",
    ".config/git/credentials",
    ".config/containers",
    ".config/doctl",
    ".config/op",
    ".config/1Password",
    ".config/Bitwarden",
    ".config/rclone",
    ".config/heroku",
    ".config/netlify",
    ".config/stripe",
    ".config/ngrok",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/opera",
    ".config/vivaldi",
    ".config/Slack",
    ".config/discord",
    ".config/Signal",
    ".config/Element",
    ".config/helm",
    ".config/filezilla",
    ".config/keepassxc",
    ".config/autostart",
    ".config/systemd",
    ".config/gvm",
    ".config/fish/fish_history",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".composer/auth.json",
    ".nuget/NuGet",
    ".terraformrc",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".s3cfg",
    ".boto",
    ".oci",
    ".bluemix",
    ".databrickscfg",
    ".snowsql",
    ".fly",
    ".vercel",
    ".netlify",
    ".heroku",
    ".ngrok2",
    ".huggingface",
    ".cache/huggingface/token",
    ".kaggle",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/gvm",
    ".local/state/gvm",
    ".local/share/fish/fish_history",
    ".gnome2/keyrings",
    ".pki",
    ".mozilla",
    ".thunderbird",
    ".dbus",
    ".Xauthority",
    ".ICEauthority",
    ".bitcoin",
    ".electrum",
    ".ethereum",
    ".bash_history",
    ".zsh_history",
    ".histfile",
    ".sh_history",
    ".history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".lesshst",
    ".viminfo",
    ".wget-hsts",
    ".env",
    ".envrc",
    ".smbcredentials",
    ".fetchmailrc",
    ".msmtprc",
    ".rhosts",
    ".var",
};

/* ---- workspace: names that mean a secret ---- */

enum look { /* what a name says */
            LOOK_NO,
            LOOK_HIDE,   /* a secret whatever it holds */
            LOOK_INSIDE, /* a certificate may be shown, a key not */
            LOOK_TOKEN,  /* a setting that may hold a token */
};

static const struct {
    const char *glob;
    enum look look;
} work_secrets[] = {
    {".env", LOOK_HIDE},
    {".env.*", LOOK_HIDE},
    {"*.env", LOOK_HIDE},
    {".envrc", LOOK_HIDE},
    {"*.key", LOOK_HIDE},
    {"*.pem", LOOK_INSIDE},
    {"*.p12", LOOK_HIDE},
    {"*.pfx", LOOK_HIDE},
    {"*.ppk", LOOK_HIDE},
    {"*.jks", LOOK_HIDE},
    {"*.keystore", LOOK_HIDE},
    {"*.kdbx", LOOK_HIDE},
    {"id_rsa", LOOK_HIDE},
    {"id_dsa", LOOK_HIDE},
    {"id_ecdsa", LOOK_HIDE},
    {"id_ed25519", LOOK_HIDE},
    {"id_ecdsa_sk", LOOK_HIDE},
    {"id_ed25519_sk", LOOK_HIDE},
    {"id_*", LOOK_INSIDE},
    {"credentials", LOOK_HIDE},
    {"credentials.json", LOOK_HIDE},
    {"credentials.toml", LOOK_HIDE},
    {"credentials.y*ml", LOOK_HIDE},
    {".credentials*", LOOK_HIDE},
    {"client_secret*.json", LOOK_HIDE},
    {"service-account*.json", LOOK_HIDE},
    {"service_account*.json", LOOK_HIDE},
    {"secrets.toml", LOOK_HIDE},
    {"secrets.json", LOOK_HIDE},
    {"secrets.y*ml", LOOK_HIDE},
    {"secret.y*ml", LOOK_HIDE},
    {".secrets", LOOK_HIDE},
    {".netrc", LOOK_HIDE},
    {".git-credentials", LOOK_HIDE},
    {".pypirc", LOOK_HIDE},
    {".pgpass", LOOK_HIDE},
    {".htpasswd", LOOK_HIDE},
    {".dockercfg", LOOK_HIDE},
    {".npmrc", LOOK_TOKEN},
    {".yarnrc.yml", LOOK_TOKEN},
    {"terraform.tfvars", LOOK_HIDE},
    {"*.auto.tfvars", LOOK_HIDE},
    {"*.tfstate", LOOK_HIDE},
    {".vault_pass*", LOOK_HIDE},
    {"gvm.toml", LOOK_HIDE},
};
static const char *const harmless_endings[] = {".example",  ".sample", ".template", ".dist",
                                               ".defaults", ".pub",    ".md"};
/* Read for what they are, not walked: too many files, and none of them the owner's. */
static const char *const skipped_dirs[] = {"node_modules", "site-packages", "dist-packages",
                                           "__pycache__",  ".tox",          ".mypy_cache"};
/* Hidden at the top of the workspace even before they exist. */
static const char *const always_hidden[] = {".env", ".env.local", ".env.production", "gvm.toml"};

#define MAX_ENTRIES 20000
#define MAX_DEPTH   6
#define MAX_DIRS    4096
#define LOOK_BYTES  65536

static enum look what_is(const char *name)
{
    struct gvm_str s = gvm_str(name);
    for (size_t i = 0; i < sizeof(harmless_endings) / sizeof(harmless_endings[0]); i++)
        if (gvm_str_ends(s, gvm_str(harmless_endings[i])))
            return LOOK_NO;
    for (size_t i = 0; i < sizeof(work_secrets) / sizeof(work_secrets[0]); i++)
        if (gvm_glob(gvm_str(work_secrets[i].glob), s))
            return work_secrets[i].look;
    return LOOK_NO;
}

static bool has_text(const char *p, ssize_t n, const char *text)
{
    return n > 0 && memmem(p, (size_t)n, text, strlen(text)) != NULL;
}

/* True when the file is to be hidden. What cannot be looked into is. */
static bool is_secret(int dir, const char *name, enum look look)
{
    static char mem[LOOK_BYTES];
    if (look == LOOK_HIDE)
        return true;
    GVM_AUTOCLOSE int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, mem, sizeof(mem));
    if (n < 0)
        return true;
    if (look == LOOK_TOKEN)
        return has_text(mem, n, "_auth") || has_text(mem, n, "AuthToken") ||
               has_text(mem, n, "_password");
    if (gvm_str_starts(gvm_str(name), GVM_STR("id_")))
        return has_text(mem, n, "PRIVATE KEY");
    return has_text(mem, n, "PRIVATE KEY") || !has_text(mem, n, "-----BEGIN ");
}

struct walk {
    struct sandbox_init *in;
    struct sandbox_layer *l;
    const char *dir[MAX_DIRS]; /* relative, "" is the top */
    uint8_t depth[MAX_DIRS];
    unsigned next, n, seen;
    bool cut;
};

static void push_dir(struct walk *w, const char *rel, unsigned depth, const char *name)
{
    for (size_t i = 0; i < sizeof(skipped_dirs) / sizeof(skipped_dirs[0]); i++)
        if (strcmp(name, skipped_dirs[i]) == 0)
            return;
    /* In a repository's own directory only its settings are files of the owner, and those stay. */
    if (strcmp(name, ".git") == 0)
        return;
    if (depth >= MAX_DEPTH || w->n == MAX_DIRS) {
        w->cut = true;
        return;
    }
    w->dir[w->n] = rel;
    w->depth[w->n++] = (uint8_t)depth;
}

static int visit(struct walk *w, int fd, const char *dir, unsigned depth, const struct dirent *e,
                 struct gvm_err *err)
{
    const char *name = e->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    struct stat st;
    unsigned char type = e->d_type;
    if (type == DT_UNKNOWN && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = S_ISDIR(st.st_mode) ? DT_DIR : DT_REG;
    enum look look = type == DT_DIR ? LOOK_NO : what_is(name);
    bool hide = type == DT_SOCK || (look != LOOK_NO && is_secret(fd, name, look));
    if (!hide && type != DT_DIR)
        return 0;
    const char *rel = gvm_arena_printf(w->in->arena, "%s%s%s", dir, *dir ? "/" : "", name);
    if (!rel)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (type == DT_DIR)
        push_dir(w, rel, depth + 1, name);
    else if (!sandbox_revealed(w->in, w->l->host, rel))
        return sandbox_layer_hide(w->l, rel, err);
    return 0;
}

static int read_dir(struct walk *w, const char *dir, unsigned depth, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    int r = 0;
    if (snprintf(path, sizeof(path), "%s/%s", w->l->host, dir) >= (int)sizeof(path))
        return 0;
    DIR *d = opendir(path);
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        if (++w->seen > MAX_ENTRIES) {
            w->cut = true;
            break;
        }
        r = visit(w, dirfd(d), dir, depth, e, err);
    }
    if (d)
        closedir(d);
    return r;
}

int sandbox_hide_work(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    static struct walk w;
    w = (struct walk){.in = in, .l = l, .dir = {""}, .n = 1};
    int r = 0;
    for (size_t i = 0; i < sizeof(always_hidden) / sizeof(always_hidden[0]) && r == 0; i++)
        if (!sandbox_revealed(in, l->host, always_hidden[i]))
            r = sandbox_layer_hide(l, always_hidden[i], err);
    while (w.next < w.n && r == 0 && w.seen <= MAX_ENTRIES) {
        unsigned i = w.next++;
        r = read_dir(&w, w.dir[i], w.depth[i], err);
    }
    if (r == 0 && w.cut)
        sandbox_remark(in,
                       "%s is large: secrets were looked for in its first %u files and %d levels",
                       l->host, w.seen < MAX_ENTRIES ? w.seen : MAX_ENTRIES, MAX_DEPTH);
    return r;
}

/* Top of the home: files named like a workspace's secrets too (~/.env.prod, ~/server.pem). */
static int hide_home_files(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    DIR *d = opendir(l->host);
    int r = 0;
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        enum look look = e->d_type == DT_DIR ? LOOK_NO : what_is(e->d_name);
        if (look != LOOK_NO && is_secret(dirfd(d), e->d_name, look) &&
            !sandbox_revealed(in, l->host, e->d_name))
            r = sandbox_layer_hide(l, e->d_name, err);
    }
    if (d)
        closedir(d);
    return r;
}

int sandbox_hide_home(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    int r = 0;
    for (size_t i = 0; i < sizeof(home_secrets) / sizeof(home_secrets[0]) && r == 0; i++)
        if (!sandbox_revealed(in, l->host, home_secrets[i]))
            r = sandbox_layer_hide(l, home_secrets[i], err);
    return r == 0 ? hide_home_files(in, l, err) : r;
}

/* ---- lists of the owner, and GVM's own places ---- */

/* `place` as a path relative to `host`; NULL when it lies elsewhere. "~/x" means the home. */
static const char *relative_to(const struct sandbox_init *in, const char *place, const char *host,
                               char mem[GVM_PATH_MAX])
{
    if (place[0] == '~' && place[1] == '/') {
        if (snprintf(mem, GVM_PATH_MAX, "%s/%s", in->plan->home, place + 2) >= GVM_PATH_MAX)
            return NULL;
        place = mem;
    }
    if (place[0] != '/')
        return place;
    size_t n = strlen(host);
    return sandbox_beneath(place, host) && place[n] == '/' ? place + n + 1 : NULL;
}

bool sandbox_revealed(const struct sandbox_init *in, const char *host, const char *rel)
{
    char mem[GVM_PATH_MAX];
    for (const char *const *p = in->plan->reveal; p && *p; p++) {
        const char *r = relative_to(in, *p, host, mem);
        if (r && gvm_glob(gvm_str(r), gvm_str(rel)))
            return true;
    }
    return false;
}

/* A list entry may end in a glob, such as "*.secret". */
static int hide_entry(struct sandbox_init *in, struct sandbox_layer *l, const char *place,
                      struct gvm_err *err)
{
    char mem[GVM_PATH_MAX], path[GVM_PATH_MAX];
    const char *rel = relative_to(in, place, l->host, mem);
    if (!rel || !*rel)
        return 0;
    const char *slash = strrchr(rel, '/'), *name = slash ? slash + 1 : rel;
    if (!strpbrk(name, "*?"))
        return sandbox_layer_hide(l, rel, err);
    int dir_len = slash ? (int)(slash - rel) : 0, r = 0;
    snprintf(path, sizeof(path), "%s/%.*s", l->host, dir_len, rel);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || strcmp(e->d_name, "..") == 0))
            continue;
        const char *one =
            gvm_arena_printf(in->arena, "%.*s%s%s", dir_len, rel, dir_len ? "/" : "", e->d_name);
        if (one && gvm_glob(gvm_str(name), gvm_str(e->d_name)))
            r = sandbox_layer_hide(l, one, err);
    }
    if (d)
        closedir(d);
    return r;
}

int sandbox_hide_own(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    int r = 0;
    for (const char *const *p = in->plan->hide; p && *p && r == 0; p++)
        r = hide_entry(in, l, *p, err);
    return r;
}
