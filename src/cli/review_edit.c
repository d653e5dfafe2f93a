/* The text that will land, in the person's own editor.
 *
 * The file lies in a folder of its own in the runtime directory, under a name made by us, and the
 * editor is started in the root directory: nothing of the workspace is in its path, and no name of
 * the agent reaches a shell. What the text itself would tell the editor to do (Vim's modelines,
 * Emacs' local variables) is switched off, whatever the person's own settings say.
 */
#include "cli/review.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TEXT (4u << 20)

/* The program behind the editor's first word, links followed: "vi" is Vim on most machines. */
static bool find_program(const char *editor, char dst[PATH_MAX])
{
    struct gvm_str rest = gvm_str(editor), word, dir, path = gvm_str(getenv("PATH"));
    char file[GVM_PATH_MAX];
    while (rest.n && rest.p[0] == ' ')
        rest = (struct gvm_str){rest.p + 1, rest.n - 1};
    gvm_str_cut(&rest, ' ', &word);
    if (gvm_str_find(word, '/') >= 0)
        return gvm_str_copy(file, sizeof(file), word) == 0 && realpath(file, dst);
    while (path.n) {
        gvm_str_cut(&path, ':', &dir);
        if (snprintf(file, sizeof(file), "%.*s/%.*s", GVM_STR_ARG(dir), GVM_STR_ARG(word)) <
                (int)sizeof(file) &&
            access(file, X_OK) == 0)
            return realpath(file, dst) != NULL;
    }
    return false;
}

/* Behind the person's settings and before the text is read. */
static const char *options_for(const char *editor)
{
    char file[PATH_MAX];
    if (!find_program(editor, file))
        return "";
    const char *name = strrchr(file, '/') + 1;
    if (strstr(name, "vim"))
        return " --cmd 'autocmd BufReadPre * set nomodeline'";
    if (strncmp(name, "emacs", 5) == 0 && strncmp(name, "emacsclient", 11) != 0)
        return " --eval '(setq enable-local-variables nil enable-local-eval nil)'";
    return "";
}

static int run_editor(const char *path, struct gvm_err *err)
{
    const char *editor = getenv("VISUAL");
    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = "vi";
    pid_t child = fork();
    if (child < 0)
        return gvm_err_sys(err, errno, "cannot start your editor");
    if (child == 0) {
        if (chdir("/") == 0) {
            setenv("GVM_EDITOR", editor, 1);
            setenv("GVM_EDITOR_QUIET", options_for(editor), 1);
            /* As git does it: the variable may hold options. */
            execl("/bin/sh", "sh", "-c", "eval \"$GVM_EDITOR$GVM_EDITOR_QUIET\" '\"$1\"'", "sh",
                  path, (char *)NULL);
        }
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for your editor");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : gvm_err_set(err, ECHILD, "the editor '%.100s' failed", editor);
}

/* 1 = unchanged. */
static int edit_at(struct review_file *f, struct gvm_str text, int dir, const char *path,
                   struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf now;
    gvm_buf_init(&now, MAX_TEXT);
    int r = gvm_write_file_at(dir, "text", text.p, text.n, 0600, err);
    if (r == 0) {
        cli_term_pause();
        r = run_editor(path, err);
        cli_term_resume();
    }
    if (r == 0)
        r = gvm_read_file(path, &now, err);
    if (r < 0)
        return r;
    if (gvm_str_eq(gvm_buf_str(&now), text))
        return 1;
    gvm_buf_reset(&f->edit);
    if (gvm_buf_adds(&f->edit, gvm_buf_str(&now)) < 0)
        return gvm_err_set(err, EFBIG, "the edited text is too long");
    review_decide(f, ACCEPT);
    f->has_edit = true;
    return 0;
}

int review_edit(struct review_file *f, struct gvm_err *err)
{
    char folder[GVM_PATH_MAX], path[GVM_PATH_MAX + 8];
    bool part;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, 2 * MAX_TEXT);
    /* What was edited before, what is accepted so far, or else all of it. */
    int x = f->has_edit ? gvm_buf_adds(&text, gvm_buf_str(&f->edit))
            : review_verdict(f, &part) == ACCEPT && part
                ? review_text(f, &text)
                : gvm_buf_adds(&text, gvm_buf_str(&f->after));
    if (x < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    x = gvm_place_path(GVM_PLACE_RUNTIME, "edit-XXXXXX", folder, err);
    if (x < 0)
        return x;
    char top[GVM_PATH_MAX];
    x = gvm_place(GVM_PLACE_RUNTIME, top, err);
    if (x == 0)
        x = gvm_mkdirs(top, 0700, err);
    if (x < 0)
        return x;
    if (!mkdtemp(folder))
        return gvm_err_sys(err, errno, "cannot make %s", folder);
    GVM_AUTOCLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/text", folder);
    x = dir < 0 ? gvm_err_sys(err, errno, "cannot open %s", folder)
                : edit_at(f, gvm_buf_str(&text), dir, path, err);
    (void)!gvm_remove_tree_at(AT_FDCWD, folder, NULL);
    return x;
}
