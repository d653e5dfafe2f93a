/* gvm run: an agent in a sandbox, under rules, on record. And gvm watch. */
#include "cli/run.h"
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void nothing_meanwhile(struct run *r)
{
    (void)r;
}

/* What was taken over goes back. If it cannot, this run keeps it.
 */
static bool give_back(struct run *r)
{
    struct gvm_err err = {0};
    if (!r->took_over || gvm_run_hand_over(r->dir, r->old_dir, &err) == 0)
        return true;
    cli_fail(GVM_EXIT_SETUP, &err);
    cli_say("what run %s left staged is now in run %s", r->record.continues, r->id);
    return false;
}

/* A run that never ran leaves no trace but its record. */
static void undo(struct run *r)
{
    char *slash = r->dir[0] ? strrchr(r->dir, '/') : NULL;
    r->exit_code = GVM_EXIT_SETUP;
    if (r->registered && run_finish(r, "{}", nothing_meanwhile, NULL) < 0)
        r->registered = false; /* its connection closes: recorded as lost */
    gvm_sandbox_free(r->sandbox);
    r->sandbox = NULL;
    if (!slash || !give_back(r))
        return;
    *slash = '\0';
    GVM_AUTOCLOSE int runs = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (runs >= 0 && gvm_remove_tree_at(runs, slash + 1, NULL) < 0)
        cli_say("%s/%s could not be removed", r->dir, slash + 1);
}

static int go(struct run *r)
{
    struct gvm_err err = {0};
    int x = run_prepare(r, &err);
    if (x < 0)
        return cli_fail(GVM_EXIT_SETUP, &err);
    x = r->opt.detach ? run_detach_output(r, &err) : 0;
    if (x == 0)
        x = run_publish_open(r, &err);
    if (x == 0)
        x = run_launch(r, &err);
    if (x < 0) {
        run_detach_back(r);
        undo(r);
        return cli_fail(GVM_EXIT_SETUP, &err);
    }
    run_detach_ready(r);
    x = run_loop(r, &err);
    if (x < 0) {
        gvm_sandbox_kill(r->sandbox);
        return cli_fail(GVM_EXIT_SETUP, &err);
    }
    if (run_after(r, &err) < 0)
        cli_fail(GVM_EXIT_ERROR, &err); /* the agent's exit code still tells how it went */
    return r->exit_code;
}

int cli_run(int argc, char **argv)
{
    struct run *r = gvm_calloc(1, sizeof(*r));
    int code = GVM_EXIT_SETUP;
    if (r)
        r->arena = gvm_arena_new(16u << 20);
    if (r && r->arena) {
        r->opt.watch = strcmp(argv[0], "watch") == 0;
        r->detached = (struct run_detached){-1, -1};
        code = run_parse(argc, argv, &r->opt);
        if (code < 0 && r->opt.detach)
            code = run_detach(r);
        if (code < 0)
            code = go(r);
        run_watch_close(r);
        run_publish_close(r);
        gvm_sandbox_free(r->sandbox);
        gvm_sandbox_profile_free(r->profile);
        run_denied_close(r);
        run_output_close(r);
        gvm_chan_free(r->chan);
        gvm_arena_free(r->arena);
    } else {
        cli_say("out of memory");
    }
    free(r);
    return code;
}

int cli_watch(int argc, char **argv)
{
    return cli_run(argc, argv);
}
