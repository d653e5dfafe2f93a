/* What the layer says, and which class each change gets. */
#include "bench.h"

static void kinds(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "same.txt", "same\n", 0644);
    put(b.host, "changed.txt", "old\n", 0644);
    put(b.host, "mode.dat", "x", 0644);
    put(b.host, "gone.txt", "x", 0644);
    put(b.host, "gonedir/a", "x", 0644);
    put(b.host, "gonedir/sub/b", "x", 0644);
    put(b.host, "over/old", "x", 0644);
    put(b.host, "over/kept", "x", 0644);
    put(b.host, "file-to-dir", "x", 0644);
    put(b.host, "dir-to-file/in", "x", 0644);
    put(b.host, "untouched/x", "x", 0644);
    start_run(&b);
    put(b.upper, "same.txt", "same\n", 0644);
    put(b.upper, "changed.txt", "new\n", 0644);
    put(b.upper, "mode.dat", "x", 0600);
    put(b.upper, "new.txt", "hello\n", 0644);
    put(b.upper, "newdir/deep/note.md", "hello\n", 0644);
    put_dir(b.upper, "emptydir", 0755);
    put_whiteout(&b, "gone.txt");
    put_whiteout(&b, "gonedir");
    put_whiteout(&b, "never-was");
    put_opaque(&b, "over", "y");
    put(b.upper, "over/kept", "other", 0644);
    put(b.upper, "file-to-dir/inside", "y", 0644);
    put(b.upper, "dir-to-file", "x", 0644);
    struct gvm_changes c = scan(&b);
    assert_null(find(&c, "same.txt"));
    assert_null(find(&c, "never-was"));
    assert_null(find(&c, "untouched/x"));
    want(&c, "changed.txt", GVM_CHANGE_MODIFIED, GVM_CLASS_MANUAL);
    want(&c, "mode.dat", GVM_CHANGE_MODE, GVM_CLASS_MANUAL);
    want(&c, "new.txt", GVM_CHANGE_CREATED, GVM_CLASS_AUTO);
    want(&c, "newdir/deep/note.md", GVM_CHANGE_CREATED, GVM_CLASS_AUTO);
    want(&c, "emptydir", GVM_CHANGE_CREATED, GVM_CLASS_MANUAL);
    want(&c, "gone.txt", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "gonedir", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "gonedir/a", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "gonedir/sub", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "gonedir/sub/b", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "over/old", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "over/kept", GVM_CHANGE_MODIFIED, GVM_CLASS_MANUAL);
    want(&c, "file-to-dir", GVM_CHANGE_TYPE, GVM_CLASS_MANUAL);
    want(&c, "file-to-dir/inside", GVM_CHANGE_CREATED, GVM_CLASS_MANUAL);
    want(&c, "dir-to-file", GVM_CHANGE_TYPE, GVM_CLASS_MANUAL);
    want(&c, "dir-to-file/in", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    assert_int_equal(c.n, 16);
    for (size_t i = 1; i < c.n; i++)
        assert_true(strcmp(c.list[i - 1].path.p, c.list[i].path.p) < 0);
    for (size_t i = 0; i < c.n; i++)
        assert_false(c.list[i].conflict);
    gvm_changes_done(&c);
    bench_done(&b);
}

static void whiteout_in_attribute(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "d/one", "x", 0644);
    put(b.host, "d/two", "x", 0644);
    start_run(&b);
    put_opaque(&b, "d", "x");
    put(b.upper, "d/one", "", 0644);
    must(setxattr(at(path, b.upper, "d/one"), "user.overlay.whiteout", "", 0, 0) == 0);
    /* Without the folder's mark, or not empty, it is a file. */
    put(b.upper, "d/two", "y", 0644);
    must(setxattr(at(path, b.upper, "d/two"), "user.overlay.whiteout", "", 0, 0) == 0);
    put(b.upper, "three.txt", "", 0644);
    must(setxattr(at(path, b.upper, "three.txt"), "user.overlay.whiteout", "", 0, 0) == 0);
    struct gvm_changes c = scan(&b);
    want(&c, "d/one", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "d/two", GVM_CHANGE_MODIFIED, GVM_CLASS_MANUAL);
    want(&c, "three.txt", GVM_CHANGE_CREATED, GVM_CLASS_AUTO);
    assert_int_equal(c.n, 3);
    gvm_changes_done(&c);
    bench_done(&b);
}

static void conflicts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "a", "1", 0644);
    put(b.host, "b", "1", 0644);
    put(b.host, "d/x", "1", 0644);
    start_run(&b);
    put(b.upper, "a", "agent", 0644);
    put(b.upper, "b", "agent", 0644);
    put(b.upper, "c.txt", "agent", 0644);
    put_whiteout(&b, "d");
    put(b.host, "a", "owner", 0644);
    put(b.host, "c.txt", "owner", 0644);
    put(b.host, "d/y", "owner", 0644);
    struct gvm_changes c = scan(&b);
    assert_true(get_change(&c, "a")->conflict);
    assert_false(get_change(&c, "b")->conflict);
    assert_true(want(&c, "c.txt", GVM_CHANGE_MODIFIED, GVM_CLASS_MANUAL)->conflict);
    assert_false(get_change(&c, "d/x")->conflict);
    assert_true(get_change(&c, "d/y")->conflict);
    gvm_changes_done(&c);
    bench_done(&b);
}

/* Hostile names are listed like any other and never land by themselves. */
static void names(void **state)
{
    (void)state;
    static const char *const list[] = {"new\nline.txt", "\xff\xfe.txt", "esc\033[2J.txt", "-rf.txt",
                                       "a b.txt"};
    struct bench b;
    bench_init(&b);
    start_run(&b);
    for (size_t i = 0; i < 5; i++)
        put(b.upper, list[i], "x", 0644);
    struct gvm_changes c = scan(&b);
    assert_int_equal(c.n, 5);
    for (size_t i = 0; i < 5; i++)
        want(&c, list[i], GVM_CHANGE_CREATED, i < 3 ? GVM_CLASS_MANUAL : GVM_CLASS_AUTO);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 5);
    assert_string_equal(get(b.host, list[0]), "x");
    assert_string_equal(get(b.host, list[1]), "x");
    bench_done(&b);
}

/* Deeper than PATH_MAX: listed, landed and dropped all the same; deeper than we show: one change.
 */
static void depth(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start_run(&b);
    char name[201];
    memset(name, 'd', 200);
    name[200] = '\0';
    int dir = open(b.upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 100; i++) {
        must(mkdirat(dir, name, 0755) == 0);
        int next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(dir);
        dir = next;
        if (i == 40) {
            int fd = openat(dir, "deep.txt", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
            must(write(fd, "deep", 4) == 4);
            close(fd);
        }
    }
    close(dir);
    struct gvm_changes c = scan(&b);
    assert_int_equal(c.n, 2);
    const struct gvm_change *deep =
        gvm_str_ends(c.list[0].path, GVM_STR("deep.txt")) ? &c.list[0] : &c.list[1];
    const struct gvm_change *closed = deep == &c.list[0] ? &c.list[1] : &c.list[0];
    assert_true(deep->path.n > 8000);
    assert_int_equal(deep->class_, GVM_CLASS_AUTO);
    assert_non_null(closed->refusal);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 1);
    c = scan(&b);
    assert_int_equal(c.n, 1);
    gvm_changes_done(&c);
    assert_int_equal(discard(&b, NULL), 1);
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

static void closed_folder(void **state)
{
    (void)state;
    /* Nothing is closed to root. */
    if (getuid() == 0)
        must(seteuid(65534) == 0);
    struct bench b;
    bench_init(&b);
    start_run(&b);
    put(b.upper, "shut/in.sh", "#!/bin/sh\n", 0755);
    put_dir(b.upper, "shut", 0000);
    put(b.upper, "nobody.txt", "secret\n", 0000);
    struct gvm_changes c = scan(&b);
    assert_non_null(want(&c, "shut", GVM_CHANGE_CREATED, GVM_CLASS_MANUAL)->refusal);
    want(&c, "nobody.txt", GVM_CHANGE_CREATED, GVM_CLASS_AUTO);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 1);
    assert_int_equal(mode_of(b.host, "nobody.txt") & 0777, 0);
    assert_int_equal(discard(&b, "shut"), 1);
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

static int become_self(void **state)
{
    (void)state;
    return seteuid(getuid());
}

struct row {
    const char *path;
    mode_t mode;
    const char *text;
    enum gvm_change_class class_;
};

#define R GVM_CLASS_RUNS_ON_HOST
#define M GVM_CLASS_MANUAL
#define A GVM_CLASS_AUTO
#define D GVM_CLASS_DISCARD

static const struct row rows[] = {
    {".git/hooks/pre-commit", 0644, "x", R},
    {".git/config", 0644, "[core]", R},
    {".git/config.worktree", 0644, "x", R},
    {".git/info/attributes", 0644, "x", R},
    {".git/modules/sub/config", 0644, "x", R},
    {".git/modules/sub/hooks/post-checkout", 0644, "x", R},
    {".git/objects/info/alternates", 0644, "x", R},
    {".git/objects/ab/cdef", 0444, "x", M},
    {".git/refs/heads/main", 0644, "x", M},
    {".git/index", 0644, "x", M},
    {".GIT/hooks/post-merge", 0644, "x", R},
    {"nested/.git", 0644, "gitdir: /elsewhere", R},
    {"bare.git/hooks/update", 0644, "x", R},
    {"looks-bare/config", 0644, "[core]", R},
    {"sub/.gitattributes", 0644, "* filter=x", R},
    {".gitmodules", 0644, "x", R},
    {".gitignore", 0644, "x", M},
    {".vscode/tasks.json", 0644, "{}", R},
    {".idea/workspace.xml", 0644, "x", R},
    {".claude/settings.json", 0644, "{}", R},
    {".mcp.json", 0644, "{}", R},
    {".cursor/rules.md", 0644, "x", R},
    {"CLAUDE.md", 0644, "x", R},
    {"docs/AGENTS.md", 0644, "x", R},
    {".github/workflows/ci.yml", 0644, "x", R},
    {".github/copilot-instructions.md", 0644, "x", R},
    {".gitlab-ci.yml", 0644, "x", R},
    {"Jenkinsfile", 0644, "x", R},
    {"Makefile", 0644, "x", R},
    {"CMakeLists.txt", 0644, "x", R},
    {"a/b/rules.mk", 0644, "x", R},
    {"meson.build", 0644, "x", R},
    {"package.json", 0644, "{}", R},
    {"requirements.txt", 0644, "x", R},
    {"venv/lib/x.pth", 0644, "x", R},
    {"sitecustomize.py", 0644, "x", R},
    {"tests/conftest.py", 0644, "x", R},
    {"setup.py", 0644, "x", R},
    {"pyproject.toml", 0644, "x", R},
    {".envrc", 0644, "x", R},
    {".bashrc", 0644, "x", R},
    {".zshenv", 0644, "x", R},
    {"Dockerfile.dev", 0644, "x", R},
    {"docker-compose.yml", 0644, "x", R},
    {"compose.yaml", 0644, "x", R},
    {"sub/gvm.toml", 0644, "x", R},
    {"venv/pyvenv.cfg", 0644, "x", R},
    {"venv/bin/activate", 0644, "x", R},
    {"run.txt", 0755, "x", R},
    {"script.txt", 0644, "#!/bin/sh\n", R},
    {"elf.txt", 0644,
     "\x7f"
     "ELF\x02",
     R},
    {"setuid.txt", 04644, "x", R},
    {"__pycache__/x.cpython-311.pyc", 0644, "x", D},
    {"node_modules/.cache/x/y", 0644, "x", D},
    {"src/x.pyc", 0644, "x", D},
    {"notes.txt", 0644, "x", A},
    {"README.md", 0644, "x", A},
    {"data/table.csv", 0644, "1,2\n", A},
    {"picture.PNG", 0644, "\x89PNG\r\n\x1a\n", A},
    {"picture-not.png", 0644, "<svg onload=x>", M},
    {"fake.jpg", 0644, "#!/bin/sh", R},
    {"notes.cfg", 0644, "[core]\n\tfsmonitor = x\n", R},
    {"more.txt", 0644, "; c\n\n[Include]\npath = /x\n", R},
    {"app.ini", 0644, "[server]\nport = 1\n", M},
    {"readme-ini.md", 0644, "text [core] first\n[core]\n", A},
    {"report.pdf", 0644, "%PDF-1.7\n", A},
    {"out.log", 0644, "x", A},
    {"data.json", 0644, "{}", M},
    {"page.html", 0644, "x", M},
    {"drawing.svg", 0644, "x", M},
    {"main.py", 0644, "print()", M},
    {"src/hooks/useThing.ts", 0644, "x", M},
    {".hidden/notes.txt", 0644, "x", M},
    {".notes.txt", 0644, "x", M},
    {".env", 0600, "x", M},
    {"passwords.txt", 0644, "x", M},
    {"api_key.txt", 0644, "x", M},
    {"client-secret.md", 0644, "x", M},
    {"server.key", 0600, "x", M},
};

static void classes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start_run(&b);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        put(b.upper, rows[i].path, rows[i].text, rows[i].mode);
    struct gvm_changes c = scan(&b);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        want(&c, rows[i].path, GVM_CHANGE_CREATED, (int)rows[i].class_);
    assert_int_equal(c.n, sizeof(rows) / sizeof(rows[0]));
    gvm_changes_done(&c);
    bench_done(&b);
}

static void special_files(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "sub/target", "x", 0644);
    start_run(&b);
    put_link(b.upper, "absolute", "/etc/passwd");
    put_link(b.upper, "climbs", "../outside");
    put_link(b.upper, "sub/climbs2", "../../outside");
    put_link(b.upper, "sub/tricky", "a/../../..");
    put_link(b.upper, "sub/fine", "../other");
    put_link(b.upper, "near", "sub/target");
    must(mkfifo(at(path, b.upper, "fifo"), 0644) == 0);
    must(mknod(at(path, b.upper, "sock"), S_IFSOCK | 0644, 0) == 0);
    struct gvm_changes c = scan(&b);
    want(&c, "absolute", GVM_CHANGE_CREATED, R);
    want(&c, "climbs", GVM_CHANGE_CREATED, R);
    want(&c, "sub/climbs2", GVM_CHANGE_CREATED, R);
    want(&c, "sub/tricky", GVM_CHANGE_CREATED, R);
    want(&c, "sub/fine", GVM_CHANGE_CREATED, M);
    want(&c, "near", GVM_CHANGE_CREATED, M);
    want(&c, "fifo", GVM_CHANGE_CREATED, R);
    assert_non_null(want(&c, "sock", GVM_CHANGE_CREATED, R)->refusal);
    gvm_changes_done(&c);
    bench_done(&b);
}

static void origin_is_never_auto(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    start_run(&b);
    put(b.upper, "renamed.txt", "x", 0644);
    must(setxattr(at(path, b.upper, "renamed.txt"), "user.overlay.origin", "", 0, 0) == 0);
    struct gvm_changes c = scan(&b);
    want(&c, "renamed.txt", GVM_CHANGE_CREATED, M);
    gvm_changes_done(&c);
    bench_done(&b);
}

/* A layer the kernel made: an overlay in a user namespace, as the sandbox mounts it. */
/* The owner's own patterns, in their order, and what they cannot do. */
static void patterns(void **state)
{
    (void)state;
    static const struct gvm_str discards[] = {{"build-out", 9}, {"*.tmp", 5}};
    static const struct gvm_str manuals[] = {{"docs/*.md", 9}};
    static const struct gvm_str autos[] = {{"src", 3}, {"*.tmp", 5}, {"docs/**", 7}};
    const struct gvm_review_patterns own = {.discard = discards,
                                            .ndiscard = 2,
                                            .manual = manuals,
                                            .nmanual = 1,
                                            .autos = autos,
                                            .nautos = 3};
    struct bench b;
    struct gvm_err err = {0};
    struct gvm_changes c = {0};
    bench_init(&b);
    put(b.host, "src/old.c", "x", 0644);
    start_run(&b);
    put(b.upper, "src/a/b.c", "int x;\n", 0644);
    put(b.upper, "src/old.c", "changed", 0644);
    put(b.upper, "src/run", "#!/bin/sh\n", 0644);
    put(b.upper, "src/Makefile", "all:\n", 0644);
    put(b.upper, "src/.env", "A=1\n", 0644);
    put(b.upper, "x/y.tmp", "x", 0644);
    put(b.upper, "build-out/tool", "#!/bin/sh\n", 0755);
    put(b.upper, "docs/a.md", "x", 0644);
    put(b.upper, "docs/a.rst", "x", 0644);
    assert_int_equal(gvm_changes_scan(b.run, &own, &c, &err), 0);
    want(&c, "src/a/b.c", GVM_CHANGE_CREATED, A);
    want(&c, "src/old.c", GVM_CHANGE_MODIFIED, M);
    want(&c, "src/run", GVM_CHANGE_CREATED, R);
    want(&c, "src/Makefile", GVM_CHANGE_CREATED, R);
    want(&c, "src/.env", GVM_CHANGE_CREATED, M);
    want(&c, "x/y.tmp", GVM_CHANGE_CREATED, D);
    want(&c, "build-out/tool", GVM_CHANGE_CREATED, D);
    want(&c, "docs/a.md", GVM_CHANGE_CREATED, M);
    want(&c, "docs/a.rst", GVM_CHANGE_CREATED, A);
    gvm_changes_done(&c);
    bench_done(&b);
}

static void renames(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "one.c", "the same\n", 0644);
    put(b.host, "two.c", "the same\n", 0644);
    put(b.host, "other.c", "the sane\n", 0644);
    put(b.host, "empty", "", 0644);
    start_run(&b);
    put_whiteout(&b, "one.c");
    put_whiteout(&b, "two.c");
    put_whiteout(&b, "other.c");
    put_whiteout(&b, "empty");
    put(b.upper, "moved/one.c", "the same\n", 0644);
    put(b.upper, "new-empty", "", 0644);
    struct gvm_changes c = scan(&b);
    want(&c, "moved/one.c", GVM_CHANGE_RENAMED, M);
    want(&c, "new-empty", GVM_CHANGE_CREATED, M);
    size_t named = 0;
    for (size_t i = 0; i < c.n; i++)
        named += c.list[i].kind == GVM_CHANGE_DELETED && c.list[i].from.n;
    assert_int_equal(named, 1); /* each deleted file is used once */
    assert_null(get_change(&c, "other.c")->from.p);
    gvm_changes_done(&c);
    bench_done(&b);
}

/* An attribute alone is a change; what the overlay keeps for itself is none. */
static void attributes(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "a", "same", 0644);
    put(b.host, "b", "same", 0644);
    put_dir(b.host, "d", 0755);
    start_run(&b);
    put(b.upper, "a", "same", 0644);
    put(b.upper, "b", "same", 0644);
    put_dir(b.upper, "d", 0755);
    must(setxattr(at(path, b.upper, "a"), "user.x", "1", 1, 0) == 0);
    must(setxattr(at(path, b.upper, "b"), "user.overlay.origin", "", 0, 0) == 0);
    must(setxattr(at(path, b.upper, "d"), "user.y", "2", 1, 0) == 0);
    struct gvm_changes c = scan(&b);
    assert_int_equal(c.n, 2);
    want(&c, "a", GVM_CHANGE_ATTRIBUTES, M);
    want(&c, "d", GVM_CHANGE_ATTRIBUTES, M);
    gvm_changes_done(&c);
    bench_done(&b);
}

/* Sizes that are mostly holes cost nothing to look at, and cannot be used to hold the owner up. */
static void huge_and_sparse(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "disk.img", "x", 0644);
    must(truncate(at(path, b.host, "disk.img"), (off_t)8 << 30) == 0);
    start_run(&b);
    put(b.upper, "disk.img", "x", 0644);
    must(truncate(at(path, b.upper, "disk.img"), (off_t)8 << 30) == 0);
    put(b.upper, "huge", "x", 0644);
    must(truncate(at(path, b.upper, "huge"), (off_t)1 << 42) == 0);
    struct gvm_changes c = scan(&b);
    assert_null(find(&c, "disk.img"));
    assert_non_null(get_change(&c, "huge")->refusal);
    gvm_changes_done(&c);
    bench_done(&b);
}

static void kernel_layer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "keep", "k", 0644);
    put(b.host, "edit.txt", "one\n", 0644);
    put(b.host, "rm.txt", "x", 0644);
    put(b.host, "d/one", "1", 0644);
    put(b.host, "d/two", "2", 0644);
    put(b.host, "e/x", "x", 0644);
    put(b.host, "mv.txt", "moved", 0644);
    put(b.host, "touched", "t", 0644);
    start_run(&b);
    char command[4096];
    snprintf(command, sizeof(command),
             "cd %s && mkdir work mnt && exec unshare -rm sh -ec 'mount -t overlay overlay -o "
             "userxattr,lowerdir=%s,upperdir=%s,workdir=work mnt; cd mnt; echo two >>edit.txt; rm "
             "rm.txt; "
             "rm -r d; mkdir d; echo 3 >d/three.txt; rm -r e; mv mv.txt mv2.txt; touch touched; "
             "echo n >new.txt; chmod 600 keep'",
             b.run, b.host, b.upper);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    if (status != 0) {
        bench_done(&b);
        if (getenv("GVM_MUST_WORK"))
            fail_msg("no overlay in a user namespace here");
        skip();
    }
    struct gvm_changes c = scan(&b);
    want(&c, "edit.txt", GVM_CHANGE_MODIFIED, M);
    want(&c, "rm.txt", GVM_CHANGE_DELETED, M);
    want(&c, "d/one", GVM_CHANGE_DELETED, M);
    want(&c, "d/two", GVM_CHANGE_DELETED, M);
    want(&c, "d/three.txt", GVM_CHANGE_CREATED, A);
    want(&c, "e", GVM_CHANGE_DELETED, M);
    want(&c, "e/x", GVM_CHANGE_DELETED, M);
    want(&c, "mv.txt", GVM_CHANGE_DELETED, M);
    want(&c, "mv2.txt", GVM_CHANGE_RENAMED, M);
    assert_true(gvm_str_eqz(get_change(&c, "mv2.txt")->from, "mv.txt"));
    assert_true(gvm_str_eqz(get_change(&c, "mv.txt")->from, "mv2.txt"));
    want(&c, "new.txt", GVM_CHANGE_CREATED, A);
    want(&c, "keep", GVM_CHANGE_MODE, M);
    assert_null(find(&c, "touched"));
    assert_int_equal(c.n, 11);
    gvm_changes_done(&c);
    assert_int_equal(discard(&b, "d/two"), 1);
    assert_int_equal(count(&b), 10);
    assert_int_equal(commit(&b, NULL, false), 10);
    assert_int_equal(count(&b), 0);
    assert_string_equal(get(b.host, "edit.txt"), "one\ntwo\n");
    assert_string_equal(get(b.host, "d/two"), "2");
    assert_string_equal(get(b.host, "d/three.txt"), "3\n");
    assert_string_equal(get(b.host, "mv2.txt"), "moved");
    assert_false(there(b.host, "e") || there(b.host, "d/one") || there(b.host, "rm.txt") ||
                 there(b.host, "mv.txt"));
    bench_done(&b);
}

static void record(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct gvm_run_record in = {.run = "20260101T000000-abcdef",
                                .agent = "a",
                                .workspace = "/w/\xff\n",
                                .command = "x y",
                                .started_ns = 1764000000123456789,
                                .exit_code = 137,
                                .launcher = getpid(),
                                .watch = true};
    struct gvm_run_record out = {0};
    struct gvm_err err = {0};
    assert_int_equal(gvm_run_record_write(b.run, &in, &err), 0);
    assert_int_equal(gvm_run_record_read(b.run, &out, &err), 0);
    assert_memory_equal(&in, &out, sizeof(in));
    /* Our own pid, but a run older than this process: another process's number. */
    assert_false(gvm_run_is_live(&out));
    out.started_ns = gvm_now_ns();
    assert_true(gvm_run_is_live(&out));
    out.ended_ns = out.started_ns;
    assert_false(gvm_run_is_live(&out));
    put(b.run, "run.json", "{\"v\":1,\"run\":", 0600);
    assert_true(gvm_run_record_read(b.run, &out, &err) < 0);
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(whiteout_in_attribute),
        cmocka_unit_test(conflicts),
        cmocka_unit_test(names),
        cmocka_unit_test(depth),
        cmocka_unit_test_teardown(closed_folder, become_self),
        cmocka_unit_test(classes),
        cmocka_unit_test(special_files),
        cmocka_unit_test(origin_is_never_auto),
        cmocka_unit_test(patterns),
        cmocka_unit_test(renames),
        cmocka_unit_test(attributes),
        cmocka_unit_test(huge_and_sparse),
        cmocka_unit_test(kernel_layer),
        cmocka_unit_test(record),
    };
    umask(022);
    return cmocka_run_group_tests_name("review/scan", tests, NULL, NULL);
}
