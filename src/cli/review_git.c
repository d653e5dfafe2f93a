/* gvm review --as-patch and --as-branch: the changes as git sees them.
 *
 * The branch is made by one `git fast-import`, which reads no working tree and runs no filter.
 * What a repository's configuration could make git execute is off: hooks (fast-import runs one for
 * references), the file system monitor, transports, attributes. git itself is looked for in the
 * absolute directories of PATH only, and no GIT_ variable of the environment reaches it.
 */
#include "cli/review.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PATCH  (512u << 20)
#define MAX_ANSWER (1u << 20)
#define MAX_BLOB   (128u << 20)

/* ---- running git ---- */

static bool find_git(char dst[GVM_PATH_MAX])
{
    struct gvm_str rest = gvm_str(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"), dir;
    while (rest.n) {
        gvm_str_cut(&rest, ':', &dir);
        if (!dir.n || dir.p[0] != '/' ||
            snprintf(dst, GVM_PATH_MAX, "%.*s/git", (int)dir.n, dir.p) >= GVM_PATH_MAX)
            continue;
        if (access(dst, X_OK) == 0)
            return true;
    }
    return false;
}

static void exec_git(const char *git, const char *const *words, const char *dir, int in, int out)
{
    static const char *const safe[] = {"--no-pager",
                                       "-c",
                                       "core.hooksPath=/dev/null",
                                       "-c",
                                       "core.fsmonitor=false",
                                       "-c",
                                       "core.attributesFile=/dev/null",
                                       "-c",
                                       "protocol.allow=never",
                                       "-c",
                                       "safe.bareRepository=explicit",
                                       "-c",
                                       "gc.auto=0",
                                       "-c",
                                       "core.quotePath=false"};
    const char *argv[40] = {"git"};
    static const char *const env[] = {"PATH=/usr/bin:/bin",
                                      "LC_ALL=C",
                                      "GIT_CONFIG_NOSYSTEM=1",
                                      "GIT_CONFIG_GLOBAL=/dev/null",
                                      "GIT_TERMINAL_PROMPT=0",
                                      "GIT_NO_LAZY_FETCH=1",
                                      "GIT_NO_REPLACE_OBJECTS=1",
                                      "GIT_OPTIONAL_LOCKS=0",
                                      NULL};
    size_t n = 1;
    for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
        argv[n++] = safe[i];
    while (*words && n + 1 < sizeof(argv) / sizeof(argv[0]))
        argv[n++] = *words++;
    argv[n] = NULL;
    if (chdir(dir) == 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0)
        execve(git, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
    _exit(127);
}

/* Runs git in the workspace; `in` < 0 is no input. Its answer without the last newline; -ENOENT
 * when it fails, after its own words on stderr unless `quiet`. */
static int run_git(const struct cli_changes *c, const char *const *words, int in, bool quiet,
                   struct gvm_buf *out, struct gvm_err *err)
{
    char git[GVM_PATH_MAX];
    int pipe_fd[2], status = 0;
    if (!find_git(git))
        return gvm_err_set(err, ENOENT, "there is no git in an absolute directory of PATH");
    GVM_AUTOCLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || pipe2(pipe_fd, O_CLOEXEC) < 0)
        return gvm_err_sys(err, errno, "cannot start git");
    GVM_AUTOCLOSE int from = pipe_fd[0];
    GVM_AUTOCLOSE int to = pipe_fd[1];
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        return gvm_err_sys(err, errno, "cannot start git");
    if (child == 0) {
        if (quiet)
            (void)dup2(null, 2);
        exec_git(git, words, c->rec.workspace, in < 0 ? null : in, to);
    }
    gvm_close(&to);
    int r = gvm_read_fd(from, out);
    gvm_close(&from);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read git's answer");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return gvm_err_set(err, ENOENT, "git %s failed", words[0]);
    if (out->len && gvm_buf_data(out)[out->len - 1] == '\n')
        out->len--;
    return 0;
}

/* ---- what is carried ---- */

static bool in_git_folder(struct gvm_str path)
{
    struct gvm_str rest = path, name;
    while (rest.n) {
        gvm_str_cut(&rest, '/', &name);
        if (gvm_str_ieqz(name, ".git"))
            return true;
    }
    return false;
}

/* NULL when the change is carried. */
static const char *left_out(const struct cli_changes *c, size_t i)
{
    const struct gvm_change *ch = &c->all.list[i];
    if (in_git_folder(ch->path))
        return "it belongs to git itself";
    if (ch->refusal)
        return ch->refusal;
    if (ch->class_ == GVM_CLASS_RUNS_ON_HOST && !c->exact[i])
        return ch->why;
    return NULL;
}

static size_t choose(struct cli_changes *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->all.n; i++) {
        const struct gvm_change *ch = &c->all.list[i];
        if (!c->chosen[i])
            continue;
        const char *why = left_out(c, i);
        bool cache = ch->class_ == GVM_CLASS_DISCARD && !c->exact[i];
        mode_t m = ch->mode ? ch->mode : ch->host_mode;
        bool known = S_ISREG(m) || S_ISLNK(m);
        if (why && !cache) {
            fputs("gvm: left out: ", stderr);
            cli_print_safe(stderr, ch->path);
            fprintf(stderr, ": %s\n", why);
        }
        c->chosen[i] = !why && !cache && known;
        n += c->chosen[i];
    }
    return n;
}

static size_t drop_one(struct cli_changes *c, struct gvm_str path)
{
    for (size_t i = 0; i < c->all.n; i++)
        if (c->chosen[i] && gvm_str_eq(c->all.list[i].path, path)) {
            c->chosen[i] = false;
            return 1;
        }
    return 0;
}

/* New files that the owner's .gitignore names have no place in either, unless named themselves;
 * there may be no repository at all. Returns how many went, or a negative errno. */
static ssize_t drop_ignored(struct cli_changes *c, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf list, answer;
    gvm_buf_init(&list, MAX_PATCH);
    gvm_buf_init(&answer, MAX_PATCH);
    for (size_t i = 0; i < c->all.n; i++)
        if (c->chosen[i] && !c->exact[i] && !c->all.list[i].host_mode) {
            gvm_buf_adds(&list, c->all.list[i].path);
            gvm_buf_addc(&list, '\0');
        }
    if (list.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    GVM_AUTOCLOSE int in = gvm_memfd("paths", gvm_buf_data(&list), list.len);
    const char *const words[] = {"check-ignore", "-z", "--stdin", NULL};
    /* It fails when nothing is ignored. */
    if (in < 0 || !list.len || run_git(c, words, in, true, &answer, NULL) < 0)
        return 0;
    struct gvm_str rest = gvm_buf_str(&answer), path;
    ssize_t n = 0;
    while (rest.n) {
        gvm_str_cut(&rest, '\0', &path);
        n += (ssize_t)drop_one(c, path);
    }
    if (n)
        cli_say("left out: %zd that .gitignore names", n);
    return n;
}

/* On record: what was given out, as an export. */
static int note_export(const struct cli_changes *c, const char *how, struct gvm_err *err)
{
    struct gvm_landing *list = gvm_calloc(c->all.n + 1, sizeof(*list));
    char(*hashes)[2][65] = gvm_calloc(c->all.n + 1, sizeof(*hashes));
    size_t n = 0;
    int r = list && hashes ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < c->all.n; i++) {
        if (!c->chosen[i])
            continue;
        r = gvm_change_hashes(c->dir, &c->all.list[i], hashes[n][0], hashes[n][1], err);
        list[n] = (struct gvm_landing){
            .path = c->all.list[i].path, .index = i, .before = hashes[n][0], .after = hashes[n][1]};
        n++;
    }
    if (r == 0)
        r = cli_note_landings(&c->rec, "fs.export", how, &c->all, list, n, err);
    free(list);
    free(hashes);
    return r;
}

/* ---- a patch ---- */

int review_as_patch(struct cli_changes *c, const char *file, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, MAX_PATCH);
    ssize_t n = (ssize_t)choose(c), ignored = n ? drop_ignored(c, err) : 0;
    int r = ignored < 0 ? (int)ignored : 0;
    if (r == 0 && n == ignored)
        return gvm_err_set(err, ENOENT, "run %s has nothing for a patch", c->id);
    for (size_t i = 0; r == 0 && i < c->all.n; i++)
        if (c->chosen[i])
            r = gvm_change_patch(c->dir, &c->all.list[i], &out, err);
    if (r == 0)
        r = note_export(c, "patch", err);
    if (r < 0)
        return r;
    if (!file) {
        fwrite(gvm_buf_data(&out), 1, out.len, stdout);
        return 0;
    }
    GVM_AUTOCLOSE int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    r = fd < 0 ? -errno : gvm_write_all(fd, gvm_buf_data(&out), out.len);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", file) : 0;
}

/* ---- a branch ---- */

struct import {
    struct cli_changes *c;
    const char *name;
    char head[72], prefix[GVM_PATH_MAX], user[256], email[256];
    int stream;
    struct gvm_buf out;
};

static void put_quoted(struct gvm_buf *out, const char *prefix, struct gvm_str path)
{
    struct gvm_str parts[2] = {gvm_str(prefix), path};
    gvm_buf_addc(out, '"');
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < parts[k].n; i++) {
            unsigned char ch = (unsigned char)parts[k].p[i];
            if (ch < 0x20 || ch >= 0x7f || ch == '"' || ch == '\\')
                gvm_buf_addf(out, "\\%03o", ch);
            else
                gvm_buf_addc(out, (char)ch);
        }
    gvm_buf_addc(out, '"');
}

/* Names in a commit's head: no line end, no angle bracket. */
static void put_person(struct gvm_buf *out, const char *role, const char *name, const char *email)
{
    gvm_buf_addf(out, "%s ", role);
    for (const char *p = name; *p; p++)
        gvm_buf_addc(out, *p == '<' || *p == '>' || (unsigned char)*p < 0x20 ? '_' : *p);
    gvm_buf_addz(out, " <");
    for (const char *p = email; *p; p++)
        gvm_buf_addc(out, *p == '<' || *p == '>' || (unsigned char)*p < 0x20 ? '_' : *p);
    gvm_buf_addf(out, "> %lld +0000\n", (long long)(gvm_now_ns() / 1000000000));
}

static int flush(struct import *m, struct gvm_err *err)
{
    int r = m->out.failed ? -ENOBUFS : gvm_write_all(m->stream, gvm_buf_data(&m->out), m->out.len);
    gvm_buf_reset(&m->out);
    return r < 0 ? gvm_err_sys(err, -r, "cannot prepare the commit") : 0;
}

static int put_change(struct import *m, const struct gvm_change *ch, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf bytes;
    gvm_buf_init(&bytes, MAX_BLOB);
    const char *mode = NULL;
    int r = gvm_change_blob(m->c->dir, ch, &bytes, &mode, err);
    if (r < 0)
        return r;
    gvm_buf_addf(&m->out, mode ? "M %s inline " : "D ", mode);
    put_quoted(&m->out, m->prefix, ch->path);
    gvm_buf_addc(&m->out, '\n');
    if (mode) {
        gvm_buf_addf(&m->out, "data %zu\n", bytes.len);
        gvm_buf_adds(&m->out, gvm_buf_str(&bytes));
        gvm_buf_addc(&m->out, '\n');
    }
    return flush(m, err);
}

static int put_commit(struct import *m, struct gvm_err *err)
{
    char message[256];
    int n = snprintf(message, sizeof(message), "Changes of agent %s\n\nGVM-Run: %s\n",
                     m->c->rec.agent, m->c->id);
    gvm_buf_addf(&m->out, "feature done\ncommit refs/heads/%s\n", m->name);
    put_person(&m->out, "author", m->c->rec.agent, "agent@gvm.invalid");
    put_person(&m->out, "committer", m->user, m->email);
    gvm_buf_addf(&m->out, "data %d\n%s\n", n, message);
    if (m->head[0])
        gvm_buf_addf(&m->out, "from %s\n", m->head);
    int r = flush(m, err);
    /* Deletions first: a file may take the place of a folder. */
    for (int put = 0; put < 2; put++)
        for (size_t i = 0; r == 0 && i < m->c->all.n; i++) {
            const struct gvm_change *ch = &m->c->all.list[i];
            if (m->c->chosen[i] && (ch->kind != GVM_CHANGE_DELETED) == put)
                r = put_change(m, ch, err);
        }
    gvm_buf_addz(&m->out, "done\n");
    return r == 0 ? flush(m, err) : r;
}

/* One line of git's answer into `dst`. */
static int ask_git(const struct import *m, const char *const *words, bool quiet, char *dst,
                   size_t cap, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, MAX_ANSWER);
    int r = run_git(m->c, words, -1, quiet, &out, err);
    if (r == 0 && gvm_str_copy(dst, cap, gvm_buf_str(&out)) < 0)
        return gvm_err_set(err, EPROTO, "git's answer is too long");
    return r;
}

/* The committer is the person: user.name and user.email of their own configuration. */
static void find_person(struct import *m)
{
    char path[GVM_PATH_MAX], file[GVM_PATH_MAX + 16];
    const char *home = getenv("HOME");
    snprintf(m->user, sizeof(m->user), "gvm");
    snprintf(m->email, sizeof(m->email), "gvm@localhost.invalid");
    if (!home || home[0] != '/' || !realpath(home, path))
        return;
    snprintf(file, sizeof(file), "%s/.gitconfig", path);
    const char *const name[] = {"config", "--file", file, "--get", "user.name", NULL};
    const char *const email[] = {"config", "--file", file, "--get", "user.email", NULL};
    char text[256];
    if (ask_git(m, name, true, text, sizeof(text), NULL) == 0 && text[0])
        memcpy(m->user, text, sizeof(text));
    if (ask_git(m, email, true, text, sizeof(text), NULL) == 0 && text[0])
        memcpy(m->email, text, sizeof(text));
}

static int look_at_repository(struct import *m, struct gvm_err *err)
{
    char ref[512], text[512];
    const char *const check[] = {"check-ref-format", ref, NULL};
    const char *const exists[] = {"rev-parse", "--verify", "--quiet", ref, NULL};
    const char *const prefix[] = {"rev-parse", "--show-prefix", NULL};
    const char *const head[] = {"rev-parse", "--verify", "--quiet", "HEAD^{commit}", NULL};
    if (m->name[0] == '-' ||
        snprintf(ref, sizeof(ref), "refs/heads/%s", m->name) >= (int)sizeof(ref) ||
        ask_git(m, check, true, text, sizeof(text), NULL) < 0)
        return gvm_err_set(err, EINVAL, "'%s' is no name for a branch", m->name);
    if (ask_git(m, prefix, false, m->prefix, sizeof(m->prefix), NULL) < 0)
        return gvm_err_set(err, ENOENT, "%s is in no git repository that git accepts",
                           m->c->rec.workspace);
    if (ask_git(m, exists, true, text, sizeof(text), NULL) == 0)
        return gvm_err_set(err, EEXIST, "there is a branch '%s' already", m->name);
    if (ask_git(m, head, true, m->head, sizeof(m->head), NULL) < 0)
        m->head[0] = '\0'; /* nothing was committed yet */
    return 0;
}

static int import(struct import *m, struct gvm_err *err)
{
    char state[GVM_PATH_MAX];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf answer;
    gvm_buf_init(&answer, MAX_ANSWER);
    const char *const words[] = {"fast-import", "--quiet", "--done", NULL};
    int r = gvm_place(GVM_PLACE_STATE, state, err);
    if (r < 0)
        return r;
    m->stream = open(state, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (m->stream < 0)
        return gvm_err_sys(err, errno, "cannot make a temporary file in %s", state);
    r = put_commit(m, err);
    if (r == 0 && lseek(m->stream, 0, SEEK_SET) < 0)
        r = gvm_err_sys(err, errno, "cannot prepare the commit");
    if (r == 0)
        r = note_export(m->c, "branch", err);
    return r == 0 ? run_git(m->c, words, m->stream, false, &answer, err) : r;
}

int review_as_branch(struct cli_changes *c, const char *name, struct gvm_err *err)
{
    struct import m = {.c = c, .name = name, .stream = -1};
    char count[64];
    int r = look_at_repository(&m, err);
    if (r < 0)
        return r;
    ssize_t n = (ssize_t)choose(c), ignored = n ? drop_ignored(c, err) : 0;
    if (ignored < 0)
        return (int)ignored;
    n -= ignored;
    if (!n)
        return gvm_err_set(err, ENOENT, "run %s has nothing for a branch", c->id);
    find_person(&m);
    gvm_buf_init(&m.out, MAX_BLOB + (1u << 20));
    r = import(&m, err);
    gvm_buf_done(&m.out);
    gvm_close(&m.stream);
    if (r < 0)
        return r;
    printf("%s on the new branch %s; everything stays staged too\n",
           cli_count((size_t)n, "change", count), name);
    return 0;
}
