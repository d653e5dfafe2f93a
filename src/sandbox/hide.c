/* What an agent must not see: secrets in the home, and GVM's own places. Those of the workspace are
 * in hide_work.c. */
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

/* Top of the home: files named like a workspace's secrets too (~/.env.prod, ~/server.pem). */
static int hide_home_files(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    DIR *d = opendir(l->host);
    int r = 0;
    for (const struct dirent *e; d && r == 0 && (e = readdir(d));) {
        enum sandbox_look look = e->d_type == DT_DIR ? SANDBOX_LOOK_NO : sandbox_look_at(e->d_name);
        if (look != SANDBOX_LOOK_NO)
            r = sandbox_hide_found(in, l, e->d_name, look, err);
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
