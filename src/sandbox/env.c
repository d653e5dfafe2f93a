/* The agent's environment: what ordinary programs need and nothing that could carry a secret or a
 * hook.
 *
 * Variables come in by name only. LD_*, NODE_OPTIONS, PYTHONSTARTUP, BASH_ENV, GIT_* and the like
 * would let the host's settings change programs inside, tokens are what this list is there to keep
 * out; one that an agent needs is passed by name (gvm run --env NAME).
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const allowed[] = {
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CI",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "LESS",
    "COLUMNS",
    "LINES",
    "DEBIAN_FRONTEND",
    "JAVA_HOME",
    "GOPATH",
    "GOROOT",
    "GOFLAGS",
    "GOTOOLCHAIN",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "NVM_DIR",
    "NVM_BIN",
    "PNPM_HOME",
    "BUN_INSTALL",
    "DENO_DIR",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "GEM_HOME",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "NODE_ENV",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "SOURCE_DATE_EPOCH",
};

/* Where each stack looks for the bundle when it brings its own otherwise. */
static const char *const bundle_names[] = {
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "BUNDLE_SSL_CA_CERT",
    "HEX_CACERTS_PATH",
};
/* And those that add to what they have: the run's CA alone, which they parse faster. */
static const char *const extra_names[] = {"NODE_EXTRA_CA_CERTS", "DENO_CERT"};

#define MAX_VARIABLES 512

struct list {
    struct gvm_arena *a;
    const char *v[MAX_VARIABLES];
    size_t n;
    bool failed;
};

/* Adds or replaces. */
static void put(struct list *l, const char *name, const char *value)
{
    size_t len = strlen(name), at = 0;
    const char *text = gvm_arena_printf(l->a, "%s=%s", name, value);
    while (at < l->n && !(strncmp(l->v[at], name, len) == 0 && l->v[at][len] == '='))
        at++;
    if (!text || at + 1 >= MAX_VARIABLES) {
        l->failed = true;
        return;
    }
    l->v[at] = text;
    l->n += at == l->n;
}

static void put_locale(struct list *l)
{
    for (char **e = environ; e && *e; e++) {
        struct gvm_str value = gvm_str(*e), name;
        char text[64];
        if (gvm_str_starts(value, GVM_STR("LC_")) && gvm_str_cut(&value, '=', &name) &&
            gvm_str_copy(text, sizeof(text), name) == 0)
            put(l, text, value.p);
    }
}

/* "NAME=VALUE" as given, "NAME" as the host has it (not set there: not set here). */
static void put_passed(struct list *l, const char *const *pass)
{
    for (; pass && *pass; pass++) {
        const char *eq = strchr(*pass, '=');
        char *name = gvm_arena_dup(l->a, *pass, eq ? (size_t)(eq - *pass) : strlen(*pass));
        const char *value = eq ? eq + 1 : getenv(*pass);
        if (!name)
            l->failed = true;
        else if (value && *name)
            put(l, name, value);
    }
}

int gvm_sandbox_env(struct gvm_arena *a, const struct gvm_sandbox_plan *plan,
                    const char *const *ret_env[], struct gvm_err *err)
{
    struct list *l = gvm_arena_alloc(a, sizeof(*l));
    if (!l)
        return gvm_err_set(err, ENOMEM, "out of memory");
    l->a = a;
    put(l, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        if (getenv(allowed[i]))
            put(l, allowed[i], getenv(allowed[i]));
    put_locale(l);
    put_passed(l, plan->pass);
    put(l, "HOME", plan->home && strcmp(plan->home, "/") != 0 ? plan->home : "/tmp");
    put(l, "PWD", plan->cwd ? plan->cwd : plan->workspace);
    put(l, "TMPDIR", "/tmp");
    put(l, "GVM_RUN_ID", plan->run);
    for (size_t i = 0; i < sizeof(bundle_names) / sizeof(bundle_names[0]); i++)
        put(l, bundle_names[i], SANDBOX_CA_BUNDLE);
    for (size_t i = 0; i < sizeof(extra_names) / sizeof(extra_names[0]); i++)
        put(l, extra_names[i], SANDBOX_CA_RUN);
    if (l->failed)
        return gvm_err_set(err, E2BIG, "the environment is too large");
    l->v[l->n] = NULL;
    *ret_env = l->v;
    return 0;
}
