/* A commit of 100 mixed changes, killed before every system call that changes a file system: after
 * the next look the workspace is exactly as before or exactly as after, never in between, and from
 * either the commit can be completed.
 *
 * The child runs under a seccomp filter that stops it at those calls only; GVM_CRASH_ALL=1 stops it
 * at every call there is (minutes).
 */
#include "bench.h"

#include <dirent.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define EACH 10

/* ---- 100 changes ---- */

/* Times are the same in every layout, so that trees can be compared. */
static void put_n(const char *dir, const char *folder, int n, const char *text, mode_t mode)
{
    char name[64], content[128], path[4096];
    struct timespec times[2] = {{1600000000, 1}, {1700000000, 2}};
    snprintf(name, sizeof(name), "%s/%d", folder, n);
    snprintf(content, sizeof(content), "%s %d\n", text, n);
    put(dir, name, content, mode);
    must(utimensat(AT_FDCWD, at(path, dir, name), times, 0) == 0);
}

static void lay_out(struct bench *b)
{
    char path[4096], name[64];
    bench_init(b);
    for (int i = 0; i < EACH; i++) {
        put_n(b->host, "changed", i, "old", 0644);
        put_n(b->host, "gone", i, "old", 0640);
        put_n(b->host, "mode", i, "same", 0644);
        put_n(b->host, "attr", i, "same", 0644);
        put_n(b->host, "becomes-folder", i, "old", 0600);
    }
    put_n(b->host, "folder", 0, "old", 0644);
    put_n(b->host, "stays", 0, "untouched", 0644);
    start_run(b);
    for (int i = 0; i < EACH; i++) {
        put_n(b->upper, "changed", i, "new", 0600);
        put_n(b->upper, "created", i, "new", 0755);
        put_n(b->upper, "created/deep/er", i, "new", 0644);
        put_n(b->upper, "mode", i, "same", 0755);
        put_n(b->upper, "attr", i, "same", 0644);
        snprintf(name, sizeof(name), "attr/%d", i);
        must(setxattr(at(path, b->upper, name), "user.note", "agent", 5, 0) == 0);
        snprintf(name, sizeof(name), "becomes-folder/%d", i);
        put_n(b->upper, name, i, "new", 0644);
        snprintf(name, sizeof(name), "links/%d", i);
        put_link(b->upper, name, "../stays/0");
        snprintf(name, sizeof(name), "empty/%d", i);
        put_dir(b->upper, name, 0755);
    }
    put_whiteout(b, "gone"); /* the folder and the ten in it */
    put(b->upper, "folder", "now a file", 0644);
    struct timespec times[2] = {{1600000000, 1}, {1700000000, 2}};
    must(utimensat(AT_FDCWD, at(path, b->upper, "folder"), times, 0) == 0);
}

/* ---- the whole tree as one text ---- */

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void describe(const char *root, const char *name, struct gvm_buf *out)
{
    char path[4096], target[256] = "", xattr[16] = "";
    struct stat st;
    must(lstat(at(path, root, name), &st) == 0);
    if (S_ISLNK(st.st_mode))
        must(readlink(path, target, sizeof(target) - 1) > 0);
    else
        (void)!lgetxattr(path, "user.note", xattr, sizeof(xattr) - 1);
    /* A folder's times follow what goes in and out of it. */
    long long mtime =
        S_ISREG(st.st_mode) ? st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec : 0;
    gvm_buf_addf(out, "%s %o %u %lld %s %s %s\n", name, st.st_mode, st.st_uid, mtime, target, xattr,
                 S_ISREG(st.st_mode) ? get(root, name) : "");
}

static char *snapshot(const char *root)
{
    static char *queue[4096];
    size_t head = 0, tail = 0, n = 0;
    char *lines[4096];
    struct gvm_buf out;
    queue[tail++] = strdup("");
    while (head < tail) {
        char path[4096], *rel = queue[head++];
        DIR *d = opendir(at(path, root, rel));
        must(d != NULL);
        for (const struct dirent *e; (e = readdir(d));) {
            struct stat st;
            char name[512];
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            snprintf(name, sizeof(name), "%s%s%s", rel, *rel ? "/" : "", e->d_name);
            must(lstat(at(path, root, name), &st) == 0);
            gvm_buf_init(&out, 1u << 20);
            describe(root, name, &out);
            must(n < 4096 && !out.failed);
            lines[n++] = strdup(gvm_buf_cstr(&out));
            gvm_buf_done(&out);
            if (S_ISDIR(st.st_mode))
                queue[tail++] = strdup(name);
        }
        closedir(d);
        free(rel);
    }
    qsort(lines, n, sizeof(*lines), by_line);
    gvm_buf_init(&out, 8u << 20);
    for (size_t i = 0; i < n; i++) {
        gvm_buf_addz(&out, lines[i]);
        free(lines[i]);
    }
    char *text = strdup(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
    return text;
}

/* ---- the child under the filter ---- */

#define ALLOW   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define TRACE   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE)
#define CALL(n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(n), 0, 1), TRACE

static void stop_at_calls(void)
{
    static struct sock_filter changing[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT, 0, 1),
        TRACE,
        ALLOW,
        CALL(SYS_write),
        CALL(SYS_pwrite64),
        CALL(SYS_copy_file_range),
        CALL(SYS_ftruncate),
        CALL(SYS_renameat),
        CALL(SYS_renameat2),
        CALL(SYS_unlinkat),
        CALL(SYS_mkdirat),
        CALL(SYS_mknodat),
        CALL(SYS_symlinkat),
        CALL(SYS_linkat),
        CALL(SYS_fchmod),
        CALL(SYS_fchmodat),
        CALL(SYS_fchownat),
        CALL(SYS_fchown),
        CALL(SYS_setxattr),
        CALL(SYS_lsetxattr),
        CALL(SYS_fsetxattr),
        CALL(SYS_removexattr),
        CALL(SYS_lremovexattr),
        CALL(SYS_utimensat),
        CALL(SYS_fsync),
        CALL(SYS_syncfs),
#ifdef SYS_rename /* x86-64 has these too */
        CALL(SYS_rename),
        CALL(SYS_unlink),
        CALL(SYS_mkdir),
        CALL(SYS_chmod),
        CALL(SYS_lchown),
        CALL(SYS_chown),
        CALL(SYS_rmdir),
#endif
        ALLOW,
    };
    static struct sock_filter all[] = {TRACE};
    bool every = getenv("GVM_CRASH_ALL") != NULL;
    struct sock_fprog prog = {
        .len = every ? 1 : sizeof(changing) / sizeof(changing[0]),
        .filter = every ? all : changing,
    };
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(90);
    raise(SIGSTOP);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
        _exit(91);
}

/* A whole commit in a child; killed before the nth call. True when it got through. */
static bool commit_until(const struct bench *b, int n)
{
    int status, seen = 0;
    pid_t child = fork();
    if (child == 0) {
        struct gvm_err err = {0};
        size_t done = 0;
        struct gvm_changes c = scan(b);
        stop_at_calls();
        int r = commit_list(b, &c, NULL, false, &done, &err);
        _exit(r == 0 && done == c.n ? 0 : 1);
    }
    must(waitpid(child, &status, 0) == child);
    must(WIFSTOPPED(status));
    must(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL) == 0);
    for (;;) {
        must(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
        must(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return true;
        }
        if (!WIFSTOPPED(status) || status >> 8 != (SIGTRAP | (PTRACE_EVENT_SECCOMP << 8)))
            fail_msg("call %d: an unexpected stop, %x", n, (unsigned)status);
        if (seen++ < n)
            continue;
        must(kill(child, SIGKILL) == 0);
        must(waitpid(child, &status, 0) == child);
        return false;
    }
}

static void killed_at_every_call(void **state)
{
    (void)state;
    struct bench b;
    lay_out(&b);
    size_t waiting = count(&b);
    assert_int_equal(waiting, 100 + 3);
    char *before = snapshot(b.host);
    commit(&b, NULL, false);
    char *after = snapshot(b.host);
    assert_string_not_equal(before, after);
    bench_done(&b);
    lay_out(&b);
    int n = 0, was_before = 0, was_after = 0;
    for (bool through = false; !through; n++) {
        through = commit_until(&b, n);
        size_t left = count(&b); /* the next look takes back, or finishes */
        char *now = snapshot(b.host);
        bool is_before = strcmp(now, before) == 0;
        if (!is_before && strcmp(now, after) != 0)
            fail_msg("call %d: neither as before nor as after:\n%s", n, now);
        if (is_before ? left != waiting : left != 0)
            fail_msg("call %d: %zu changes left over a tree as %s", n, left,
                     is_before ? "before" : "after");
        free(now);
        was_before += is_before;
        was_after += !is_before;
        if (is_before && !through)
            continue;
        if (there(b.run, "commit"))
            fail_msg("call %d: the commit is still open", n);
        bench_done(&b);
        if (!through)
            lay_out(&b);
    }
    print_message("killed at %d calls: %d times as before, %d times as after\n", n, was_before,
                  was_after);
    assert_true(was_before > 100 && was_after > 100);
    free(before);
    free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_every_call)};
    umask(022);
    bench_use_memory();
    return cmocka_run_group_tests_name("review/crash", tests, NULL, NULL);
}
