/* [filesystem] of the configuration, as far as it is about changes. */
#include "cli/changes.h"

#include <stdlib.h>

static int load(const char *path, struct cli_file_rules *ret, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_wipe) struct gvm_buf text;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    text.secret = true;
    /* Read as a whole only when it says something about files: its other content, credentials
     * among it, has no business in this process. */
    int r = gvm_read_file(path, &text, err);
    if (r < 0 || !text.len || !memmem(gvm_buf_data(&text), text.len, "filesystem", 10))
        return r;
    r = gvm_conf_load(path, &ret->conf, err);
    if (r < 0)
        return r;
    const struct gvm_conf *c = ret->conf;
    ret->patterns = (struct gvm_review_patterns){.discard = c->review_discard,
                                                 .ndiscard = c->ndiscard,
                                                 .manual = c->review_manual,
                                                 .nmanual = c->nmanual,
                                                 .autos = c->review_auto,
                                                 .nautos = c->nauto};
    ret->undo_keep_ms = c->undo_keep_ms;
    return 0;
}

int cli_file_rules_load(const char *config, const char *workspace, struct cli_file_rules *ret,
                        struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    bool any = config != NULL;
    *ret = (struct cli_file_rules){.undo_keep_ms = UINT64_C(90) * 86400000};
    if (config)
        return load(config, ret, err);
    int r = cli_config_choose(NULL, workspace, path, &any, NULL, err);
    return r == 0 && any ? load(path, ret, err) : r;
}

void cli_file_rules_done(struct cli_file_rules *f)
{
    gvm_conf_free(f->conf);
    *f = (struct cli_file_rules){0};
}

int cli_prune_undo(const struct cli_file_rules *f, struct gvm_err *err)
{
    char runs[GVM_PATH_MAX];
    int r = gvm_place_path(GVM_PLACE_STATE, "runs", runs, err);
    int64_t keep = (int64_t)f->undo_keep_ms * 1000000;
    return r < 0 ? r : gvm_undo_prune(runs, gvm_now_ns() - keep, err);
}
