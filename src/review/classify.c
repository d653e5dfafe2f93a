/* Which class a change belongs to, and why.
 *
 * The question behind runs-on-host is: does something on the owner's machine execute or obey this
 * file without being asked again? Names are compared in lower case, because a checkout may end up
 * on a file system that does not tell them apart. The first answer counts, in the order of
 * review_classify().
 */
#include "review/review_int.h"

#include <string.h>

enum where {
    BASE, /* the last name */
    DIR,  /* any name of the path: what it holds counts too */
};
struct rule {
    enum where where;
    const char *glob; /* lower case */
    const char *why;
};

#define GIT_WHY     "git reads it: it can name programs to run"
#define EDITOR_WHY  "your editor obeys it"
#define AGENT_WHY   "your other agents obey it"
#define CI_WHY      "CI runs it"
#define BUILD_WHY   "a build runs it"
#define PYTHON_WHY  "Python runs it by itself"
#define SHELL_WHY   "a shell runs it when it starts"
#define PACKAGE_WHY "a package manager runs or obeys it"
#define IMAGE_WHY   "a container build or start runs it"
#define DESKTOP_WHY "the system or desktop starts it"
#define TOOL_WHY    "a tool runs or obeys it when it is started here"

static const struct rule discards[] = {
    {DIR, "__pycache__", "a cache"},   {BASE, "*.pyc", "a cache"},
    {DIR, ".pytest_cache", "a cache"}, {DIR, ".mypy_cache", "a cache"},
    {DIR, ".ruff_cache", "a cache"},   {DIR, ".npm", "a cache"},
    {BASE, ".ds_store", "a leftover"}, {DIR, ".parcel-cache", "a cache"},
};

static const struct rule runs[] = {
    {BASE, ".gitattributes", "git reads it: it names filters and diff programs"},
    {BASE, ".gitmodules", "git fetches and checks out what it names"},
    {BASE, ".gitconfig", GIT_WHY},
    {BASE, "config.worktree", GIT_WHY},
    /* The heart of a folder that git takes for a repository wherever it lies. */
    {BASE, "config", "git reads it when its folder looks like a repository"},
    {DIR, ".husky", "git hooks live there"},
    {BASE, "lefthook.y*ml", "git hooks are made from it"},
    {BASE, ".lefthook.y*ml", "git hooks are made from it"},
    {BASE, ".pre-commit-config.yaml", "git hooks are made from it"},
    {DIR, ".vscode", EDITOR_WHY},
    {DIR, ".vscode-server", EDITOR_WHY},
    {DIR, ".idea", EDITOR_WHY},
    {DIR, ".fleet", EDITOR_WHY},
    {DIR, ".zed", EDITOR_WHY},
    {DIR, ".vim", EDITOR_WHY},
    {DIR, ".nvim", EDITOR_WHY},
    {BASE, ".vimrc", EDITOR_WHY},
    {BASE, ".exrc", EDITOR_WHY},
    {BASE, ".nvimrc", EDITOR_WHY},
    {BASE, ".nvim.lua", EDITOR_WHY},
    {BASE, ".gvimrc", EDITOR_WHY},
    {BASE, ".lvimrc", EDITOR_WHY},
    {BASE, ".emacs*", EDITOR_WHY},
    {DIR, ".emacs.d", EDITOR_WHY},
    {BASE, ".dir-locals*.el", EDITOR_WHY},
    {BASE, ".editorconfig", EDITOR_WHY},
    {BASE, "*.code-workspace", EDITOR_WHY},
    {BASE, "*.sublime-project", EDITOR_WHY},
    {DIR, ".claude", AGENT_WHY},
    {BASE, ".claude.json", AGENT_WHY},
    {BASE, "claude*.md", AGENT_WHY},
    {BASE, "agent*.md", AGENT_WHY},
    {BASE, "gemini*.md", AGENT_WHY},
    {BASE, "skill.md", AGENT_WHY},
    {BASE, "copilot-instructions.md", AGENT_WHY},
    {BASE, "*.instructions.md", AGENT_WHY},
    {BASE, "*.prompt.md", AGENT_WHY},
    {BASE, ".mcp.json", AGENT_WHY},
    {BASE, "mcp*.json", AGENT_WHY},
    {DIR, ".cursor", AGENT_WHY},
    {BASE, ".cursorrules", AGENT_WHY},
    {DIR, ".windsurf", AGENT_WHY},
    {BASE, ".windsurfrules", AGENT_WHY},
    {DIR, ".clinerules", AGENT_WHY},
    {DIR, ".cline", AGENT_WHY},
    {DIR, ".roo*", AGENT_WHY},
    {DIR, ".kiro", AGENT_WHY},
    {DIR, ".codex", AGENT_WHY},
    {DIR, ".gemini", AGENT_WHY},
    {DIR, ".continue", AGENT_WHY},
    {DIR, ".agents", AGENT_WHY},
    {DIR, ".opencode", AGENT_WHY},
    {BASE, "opencode.json*", AGENT_WHY},
    {BASE, ".aider*", AGENT_WHY},
    {BASE, "gvm.toml", "it is a permission file of GVM"},
    {DIR, ".github", CI_WHY},
    {DIR, ".gitea", CI_WHY},
    {DIR, ".forgejo", CI_WHY},
    {DIR, ".circleci", CI_WHY},
    {DIR, ".buildkite", CI_WHY},
    {BASE, "*.gitlab-ci.y*ml", CI_WHY},
    {DIR, ".gitlab", CI_WHY},
    {BASE, ".travis.y*ml", CI_WHY},
    {BASE, ".drone.y*ml", CI_WHY},
    {BASE, ".woodpecker*", CI_WHY},
    {BASE, ".cirrus.y*ml", CI_WHY},
    {BASE, "azure-pipelines*.y*ml", CI_WHY},
    {BASE, "bitbucket-pipelines.y*ml", CI_WHY},
    {BASE, "appveyor.y*ml", CI_WHY},
    {BASE, "jenkinsfile*", CI_WHY},
    {BASE, "makefile*", BUILD_WHY},
    {BASE, "gnumakefile", BUILD_WHY},
    {BASE, "*.mk", BUILD_WHY},
    {BASE, "*.mak", BUILD_WHY},
    {BASE, "cmakelists.txt", BUILD_WHY},
    {BASE, "*.cmake", BUILD_WHY},
    {BASE, "cmake*presets.json", BUILD_WHY},
    {BASE, "meson.build", BUILD_WHY},
    {BASE, "meson*options*", BUILD_WHY},
    {BASE, "*.wrap", BUILD_WHY},
    {BASE, "build.ninja", BUILD_WHY},
    {BASE, "configure", BUILD_WHY},
    {BASE, "configure.ac", BUILD_WHY},
    {BASE, "configure.in", BUILD_WHY},
    {BASE, "*.m4", BUILD_WHY},
    {BASE, "sconstruct", BUILD_WHY},
    {BASE, "wscript", BUILD_WHY},
    {BASE, "build", BUILD_WHY},
    {BASE, "*.bazel", BUILD_WHY},
    {BASE, "*.bzl", BUILD_WHY},
    {BASE, "workspace", BUILD_WHY},
    {BASE, ".bazelrc", BUILD_WHY},
    {BASE, "rakefile", BUILD_WHY},
    {BASE, "justfile", BUILD_WHY},
    {BASE, ".justfile", BUILD_WHY},
    {BASE, "taskfile.y*ml", BUILD_WHY},
    {BASE, "gulpfile*", BUILD_WHY},
    {BASE, "gruntfile*", BUILD_WHY},
    {BASE, "*.config.?s", BUILD_WHY},
    {BASE, "*.config.?js", BUILD_WHY},
    {BASE, "*.config.?ts", BUILD_WHY},
    {BASE, "*.gradle*", BUILD_WHY},
    {BASE, "gradle*.properties", BUILD_WHY},
    {BASE, "gradlew*", BUILD_WHY},
    {BASE, "mvnw*", BUILD_WHY},
    {DIR, ".mvn", BUILD_WHY},
    {BASE, "pom.xml", BUILD_WHY},
    {BASE, "build.xml", BUILD_WHY},
    {BASE, "build.rs", BUILD_WHY},
    {BASE, "build.sbt", BUILD_WHY},
    {BASE, "cargo.toml", BUILD_WHY},
    {DIR, ".cargo", BUILD_WHY},
    {BASE, "rust-toolchain*", BUILD_WHY},
    {BASE, "*.gyp*", BUILD_WHY},
    {BASE, "*.csproj", BUILD_WHY},
    {BASE, "*.targets", BUILD_WHY},
    {BASE, "directory.build.*", BUILD_WHY},
    {BASE, "*.spec", BUILD_WHY},
    {BASE, "pkgbuild", BUILD_WHY},
    {BASE, "default.nix", BUILD_WHY},
    {BASE, "shell.nix", BUILD_WHY},
    {BASE, "flake.nix", BUILD_WHY},
    {BASE, "package*.json", PACKAGE_WHY},
    {BASE, ".npmrc", PACKAGE_WHY},
    {BASE, ".yarnrc*", PACKAGE_WHY},
    {DIR, ".yarn", PACKAGE_WHY},
    {BASE, ".pnpmfile*", PACKAGE_WHY},
    {BASE, "pnpm-*.yaml", PACKAGE_WHY},
    {BASE, "yarn.lock", PACKAGE_WHY},
    {BASE, "bunfig.toml", PACKAGE_WHY},
    {BASE, "deno.json*", PACKAGE_WHY},
    {BASE, "composer.json", PACKAGE_WHY},
    {BASE, "gemfile*", PACKAGE_WHY},
    {BASE, "*.gemspec", PACKAGE_WHY},
    {BASE, "podfile", PACKAGE_WHY},
    {BASE, "*requirements*.txt", PACKAGE_WHY},
    {BASE, "*constraints*.txt", PACKAGE_WHY},
    {DIR, "requirements", PACKAGE_WHY},
    {BASE, "pipfile*", PACKAGE_WHY},
    {BASE, "pyproject.toml", PACKAGE_WHY},
    {BASE, "setup.py", PACKAGE_WHY},
    {BASE, "setup.cfg", PACKAGE_WHY},
    {BASE, ".pypirc", PACKAGE_WHY},
    {BASE, "pip.conf", PACKAGE_WHY},
    {BASE, "manifest.in", PACKAGE_WHY},
    {BASE, "*.pth", PYTHON_WHY},
    {BASE, "sitecustomize.py", PYTHON_WHY},
    {BASE, "usercustomize.py", PYTHON_WHY},
    {BASE, "pyvenv.cfg", PYTHON_WHY},
    {BASE, "conftest.py", "pytest runs it by itself"},
    {BASE, "pytest.ini", TOOL_WHY},
    {BASE, "tox.ini", TOOL_WHY},
    {BASE, "noxfile.py", TOOL_WHY},
    {BASE, ".pylintrc", TOOL_WHY},
    {BASE, "pylintrc", TOOL_WHY},
    {BASE, ".eslintrc*", TOOL_WHY},
    {BASE, ".babelrc*", TOOL_WHY},
    {BASE, ".mocharc*", TOOL_WHY},
    {BASE, ".gdbinit", TOOL_WHY},
    {BASE, ".lldbinit", TOOL_WHY},
    {BASE, ".irbrc", TOOL_WHY},
    {BASE, ".pryrc", TOOL_WHY},
    {BASE, ".rprofile", TOOL_WHY},
    {BASE, ".tool-versions", TOOL_WHY},
    {BASE, "*mise.toml", TOOL_WHY},
    {DIR, ".mise", TOOL_WHY},
    {BASE, ".terraformrc", TOOL_WHY},
    {BASE, "vagrantfile", TOOL_WHY},
    {BASE, "procfile", TOOL_WHY},
    {BASE, ".envrc", SHELL_WHY},
    {BASE, ".bash*", SHELL_WHY},
    {BASE, ".profile", SHELL_WHY},
    {BASE, ".zsh*", SHELL_WHY},
    {BASE, ".zprofile", SHELL_WHY},
    {BASE, ".zlog*", SHELL_WHY},
    {BASE, ".kshrc", SHELL_WHY},
    {BASE, ".*cshrc", SHELL_WHY},
    {BASE, ".login", SHELL_WHY},
    {BASE, ".logout", SHELL_WHY},
    {BASE, ".inputrc", SHELL_WHY},
    {BASE, "config.fish", SHELL_WHY},
    {DIR, "fish", SHELL_WHY},
    {BASE, "activate*", "a shell runs it to enter a Python environment"},
    {BASE, ".x*rc", DESKTOP_WHY},
    {BASE, ".xprofile", DESKTOP_WHY},
    {BASE, ".pam_environment", DESKTOP_WHY},
    {BASE, "*.desktop", DESKTOP_WHY},
    {BASE, "*.service", DESKTOP_WHY},
    {BASE, "*.timer", DESKTOP_WHY},
    {BASE, "crontab", DESKTOP_WHY},
    {DIR, "autostart", DESKTOP_WHY},
    {DIR, ".ssh", "it lets others in"},
    {BASE, "authorized_keys*", "it lets others in"},
    {DIR, ".gnupg", TOOL_WHY},
    {BASE, "*dockerfile*", IMAGE_WHY},
    {BASE, "containerfile*", IMAGE_WHY},
    {BASE, "*compose*.y*ml", IMAGE_WHY},
    {DIR, ".devcontainer", IMAGE_WHY},
    {BASE, ".devcontainer.json", IMAGE_WHY},
    {BASE, "devcontainer.json", IMAGE_WHY},
};

/* What inside .git is data; everything else there is configuration, hooks, or points elsewhere. */
static const char *const git_data[] = {"objects",     "objects/*",     "refs",       "refs/*",
                                       "logs",        "logs/*",        "index",      "head",
                                       "orig_head",   "fetch_head",    "merge_head", "packed-refs",
                                       "description", "commit_editmsg"};

static const char *const safe_types[] = {"*.txt", "*.md",   "*.csv", "*.pdf", "*.png",
                                         "*.jpg", "*.jpeg", "*.gif", "*.log"};

static const char *const secret_names[] = {
    "*secret*",      "*credential*", "*passw*", "*token*", "*apikey*", "*api_key*", "*api-key*",
    "*private*key*", "*.pem",        "*.key",   "*.p12",   "*.pfx",    "*.jks",     "*.kdbx",
    "id_*",          ".env*",        "*.env",   ".netrc",  ".pgpass",  "*.gpg",     "*.asc"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool any_glob(const char *const *list, size_t n, struct gvm_str s)
{
    for (size_t i = 0; i < n; i++)
        if (gvm_glob(gvm_str(list[i]), s))
            return true;
    return false;
}

/* True for each name of the path that `glob` matches. */
static bool any_component(struct gvm_str path, const char *glob)
{
    struct gvm_str rest = path, name;
    do {
        gvm_str_cut(&rest, '/', &name);
        if (gvm_glob(gvm_str(glob), name))
            return true;
    } while (rest.n);
    return false;
}

static const char *match(const struct rule *rules, size_t n, struct gvm_str path)
{
    struct gvm_str base = review_basename(path);
    for (size_t i = 0; i < n; i++)
        if (rules[i].where == BASE ? gvm_glob(gvm_str(rules[i].glob), base)
                                   : any_component(path, rules[i].glob))
            return rules[i].why;
    return NULL;
}

static bool hidden(struct gvm_str path)
{
    return any_component(path, ".*");
}

/* What follows the last ".git" (or "name.git") folder of the path; p NULL when there is none. */
static struct gvm_str inside_git(struct gvm_str path)
{
    struct gvm_str rest = path, name, found = {0};
    while (rest.n) {
        gvm_str_cut(&rest, '/', &name);
        if (gvm_str_ends(name, GVM_STR(".git")))
            found = rest.n ? rest : GVM_STR("");
    }
    return found;
}

static const char *git_reason(struct gvm_str path, bool is_dir)
{
    struct gvm_str in = inside_git(path);
    if (!in.p)
        return NULL;
    if (in.n == 0)
        return is_dir ? NULL : "it tells git where its repository is";
    /* objects/info/alternates points at somebody else's objects. */
    bool data =
        any_glob(git_data, COUNT(git_data), in) && !gvm_str_starts(in, GVM_STR("objects/info/"));
    return data ? NULL : GIT_WHY;
}

/* Leaves the workspace, or may: absolute, more ".." than folders, or ".." behind a name that may be
 * a link itself. */
static bool link_leaves(struct gvm_str path, struct gvm_str target)
{
    size_t depth = 0;
    for (size_t i = 0; i < path.n; i++)
        depth += path.p[i] == '/';
    if (target.n == 0 || target.p[0] == '/')
        return true;
    bool named = false;
    struct gvm_str rest = target, name;
    while (rest.n) {
        gvm_str_cut(&rest, '/', &name);
        if (name.n == 0 || gvm_str_eqz(name, "."))
            continue;
        if (!gvm_str_eqz(name, "..")) {
            named = true;
            continue;
        }
        if (named || depth == 0)
            return true;
        depth--;
    }
    return false;
}

/* Kinds of file that are dangerous by themselves. */
static const char *kind_reason(const struct gvm_change *ch, const struct review_facts *f)
{
    mode_t m = ch->mode;
    if (m == 0)
        return NULL;
    if (S_ISCHR(m) || S_ISBLK(m))
        return "a device";
    if (S_ISFIFO(m))
        return "a FIFO: what opens it waits for somebody else";
    if (S_ISSOCK(m))
        return "a socket";
    if (S_ISLNK(m))
        return link_leaves(ch->path, f->target) ? "a link that leaves the workspace" : NULL;
    if (m & (S_ISUID | S_ISGID) && !(S_ISDIR(m) && !(m & S_ISUID)))
        return "runs with its owner's rights (setuid or setgid)";
    if (S_ISREG(m) && (m & 0111))
        return "executable";
    return S_ISREG(m) ? review_content_reason(f->head) : NULL;
}

static const char *runs_reason(const struct gvm_change *ch, const struct review_facts *f,
                               struct gvm_str low)
{
    bool is_dir = S_ISDIR(ch->mode ? ch->mode : ch->host_mode);
    const char *why = git_reason(low, is_dir);
    /* .git itself and what is data inside it: the ordinary names of the table mean nothing there.
     */
    if (!why && !inside_git(low).p)
        why = match(runs, COUNT(runs), low);
    return why ? why : kind_reason(ch, f);
}

static const char *manual_reason(const struct gvm_change *ch, const struct review_facts *f,
                                 struct gvm_str low)
{
    static const char *const by_kind[] = {
        [GVM_CHANGE_MODIFIED] = "changes a file of yours",
        [GVM_CHANGE_DELETED] = "deletes a file of yours",
        [GVM_CHANGE_MODE] = "changes the mode of a file of yours",
        [GVM_CHANGE_TYPE] = "puts another kind of file in place of yours",
        [GVM_CHANGE_ATTRIBUTES] = "changes extended attributes of a file of yours",
    };
    if (ch->kind == GVM_CHANGE_DELETED && S_ISDIR(ch->host_mode))
        return "deletes a folder of yours";
    if (ch->kind == GVM_CHANGE_MODE && S_ISDIR(ch->host_mode))
        return "changes the mode of a folder of yours";
    if (ch->kind != GVM_CHANGE_CREATED)
        return by_kind[ch->kind];
    if (any_glob(secret_names, COUNT(secret_names), review_basename(low)))
        return "looks like a secret";
    if (hidden(low))
        return "hidden";
    if (!S_ISREG(ch->mode))
        return S_ISDIR(ch->mode) ? "a new folder" : "not a plain file";
    if (f->origin)
        return "made from a file of yours";
    if (!any_glob(safe_types, COUNT(safe_types), review_basename(low)))
        return "not of a type that is harmless by itself";
    if (review_content_lies(review_basename(low), f->head))
        return "its content is not what its name says";
    return NULL;
}

/* A name that can lie about itself on a screen or in a script. */
static bool odd_name(struct gvm_str path)
{
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return true;
    return !gvm_utf8_valid(path);
}

static void refuse(struct gvm_change *ch, const struct review_facts *f)
{
    if (S_ISCHR(ch->mode) || S_ISBLK(ch->mode))
        ch->refusal = "a device cannot land";
    else if (S_ISSOCK(ch->mode))
        ch->refusal = "a socket cannot land";
    else if (f->placeholders)
        ch->refusal = "its values are placeholders: change your file by hand";
    else if (S_ISREG(ch->mode) && ch->size > REVIEW_MAX_FILE)
        ch->refusal = "larger than 64 GiB, holes included";
}

static void set(struct gvm_change *ch, enum gvm_change_class class_, const char *why)
{
    ch->class_ = class_;
    ch->why = why;
}

/* ---- the owner's patterns ---- */

/* The pattern is for this name or a folder above it. */
static bool pattern_fits(struct gvm_str pattern, struct gvm_str path)
{
    struct gvm_str rest = path, name;
    bool whole = memchr(pattern.p, '/', pattern.n) != NULL;
    while (pattern.n && pattern.p[pattern.n - 1] == '/')
        pattern.n--;
    if (whole) {
        for (struct gvm_str at = path; at.n; at = review_dirname(at))
            if (gvm_glob(pattern, at))
                return true;
        return false;
    }
    while (rest.n) {
        gvm_str_cut(&rest, '/', &name);
        if (gvm_glob(pattern, name))
            return true;
    }
    return false;
}

static bool any_pattern(const struct gvm_str *list, size_t n, struct gvm_str path)
{
    for (size_t i = 0; i < n; i++)
        if (pattern_fits(list[i], path))
            return true;
    return false;
}

/* New, harmless by kind and name: the owner may wave it through by pattern. */
static bool may_be_auto(const struct gvm_change *ch, const struct review_facts *f,
                        struct gvm_str low)
{
    return ch->kind == GVM_CHANGE_CREATED && (S_ISREG(ch->mode) || S_ISDIR(ch->mode)) &&
           !f->origin && !odd_name(ch->path) &&
           !any_glob(secret_names, COUNT(secret_names), review_basename(low));
}

void review_classify(struct gvm_change *ch, const struct review_facts *f,
                     const struct gvm_review_patterns *patterns)
{
    static const struct gvm_review_patterns none = {0};
    const struct gvm_review_patterns *own = patterns ? patterns : &none;
    char mem[REVIEW_MAX_PATH + REVIEW_MAX_NAME];
    size_t n = ch->path.n < sizeof(mem) ? ch->path.n : sizeof(mem);
    for (size_t i = 0; i < n; i++)
        mem[i] = gvm_lower(ch->path.p[i]);
    struct gvm_str low = {mem, n};
    refuse(ch, f);
    const char *why = match(discards, COUNT(discards), low);
    if (!why && any_component(low, "node_modules") && any_component(low, ".cache"))
        why = "a cache";
    if (!why && any_pattern(own->discard, own->ndiscard, ch->path))
        why = "your [filesystem] discard names it";
    if (why) {
        set(ch, GVM_CLASS_DISCARD, why);
        return;
    }
    why = runs_reason(ch, f, low);
    if (why) {
        set(ch, GVM_CLASS_RUNS_ON_HOST, why);
        return;
    }
    if (any_pattern(own->manual, own->nmanual, ch->path)) {
        set(ch, GVM_CLASS_MANUAL, "your [filesystem] manual names it");
        return;
    }
    if (may_be_auto(ch, f, low) && any_pattern(own->autos, own->nautos, ch->path)) {
        set(ch, GVM_CLASS_AUTO, "your [filesystem] auto names it");
        return;
    }
    why = odd_name(ch->path) ? "its name holds bytes that cannot be shown"
                             : manual_reason(ch, f, low);
    set(ch, why ? GVM_CLASS_MANUAL : GVM_CLASS_AUTO, why ? why : "a new file of a harmless type");
}

const char *gvm_change_kind_name(enum gvm_change_kind kind)
{
    static const char *const names[] = {"created", "modified",   "deleted", "mode",
                                        "type",    "attributes", "renamed"};
    return (unsigned)kind < COUNT(names) ? names[kind] : "?";
}

const char *gvm_change_class_name(enum gvm_change_class class_)
{
    static const char *const names[] = {"manual", "runs-on-host", "auto", "discard"};
    return (unsigned)class_ < COUNT(names) ? names[class_] : "?";
}
