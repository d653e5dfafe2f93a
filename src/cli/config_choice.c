/* Which gvm.toml holds, and which files the owner has trusted. */
#include "cli/cli.h"
#include "cli/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Lines of the trust file; a person trusts dozens. */
#define TRUST_MAX (1u << 20)

/* ---- the list ---- */

static int hash_file(const char *path, char ret_hex[65], struct gvm_err *err)
{
    struct gvm_buf text;
    uint8_t md[32];
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    int r = gvm_read_file(path, &text, err);
    if (r >= 0 && EVP_Digest(text.len ? (void *)gvm_buf_data(&text) : "", text.len, md, NULL,
                             EVP_sha256(), NULL) != 1)
        r = gvm_err_set(err, ENOMEM, "SHA-256 failed");
    if (r >= 0)
        gvm_hex(ret_hex, md, sizeof(md));
    gvm_buf_wipe(&text); /* it may hold credentials */
    return r;
}

static bool split_line(struct gvm_str line, struct gvm_str *ret_hex, struct gvm_str *ret_path)
{
    *ret_path = line;
    return gvm_str_cut(ret_path, ' ', ret_hex) && ret_hex->n == 64 && ret_path->n > 1 &&
           ret_path->p[0] == '/';
}

/* The list, empty when there is none. */
static int read_list(struct gvm_buf *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    struct stat st;
    gvm_buf_init(ret, TRUST_MAX);
    int r = gvm_place_path(GVM_PLACE_STATE, "trust", path, err);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0 && errno == ENOENT)
        return 0;
    return gvm_read_file(path, ret, err);
}

/* 1 found, *ret_hex is a view into `list`. */
static int find_line(const struct gvm_buf *list, struct gvm_str path, struct gvm_str *ret_hex)
{
    struct gvm_str rest = gvm_buf_str(list), line, hex, name;
    while (rest.n) {
        (void)gvm_str_cut(&rest, '\n', &line);
        if (split_line(line, &hex, &name) && gvm_str_eq(name, path)) {
            *ret_hex = hex;
            return 1;
        }
    }
    return 0;
}

int cli_trust_look(const char *path, enum cli_trust *ret, struct gvm_err *err)
{
    struct gvm_buf list;
    struct gvm_str known;
    char hex[65];
    int r = read_list(&list, err);
    if (r == 0 && find_line(&list, gvm_str(path), &known)) {
        r = hash_file(path, hex, err);
        if (r == 0)
            *ret = gvm_str_eqz(known, hex) ? CLI_TRUST_YES : CLI_TRUST_CHANGED;
    } else if (r == 0) {
        *ret = CLI_TRUST_NONE;
    }
    gvm_buf_done(&list);
    return r;
}

int cli_trust_list(void (*see)(void *ctx, struct gvm_str hex, struct gvm_str path), void *ctx,
                   struct gvm_err *err)
{
    struct gvm_buf list;
    int r = read_list(&list, err);
    struct gvm_str rest = gvm_buf_str(&list), line, hex, name;
    while (r == 0 && rest.n) {
        (void)gvm_str_cut(&rest, '\n', &line);
        if (split_line(line, &hex, &name))
            see(ctx, hex, name);
    }
    gvm_buf_done(&list);
    return r;
}

/* ---- changing it ---- */

/* The state directory, made when missing and locked against another gvm. */
static int open_state(int *ret_fd, int *ret_lock, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_STATE, dir, err);
    if (r == 0)
        r = gvm_mkdirs(dir, 0700, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    GVM_AUTOCLOSE int lock = openat(fd, "trust.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return gvm_err_sys(err, errno, "cannot lock %s/trust.lock", dir);
    *ret_fd = gvm_steal_fd(&fd);
    *ret_lock = gvm_steal_fd(&lock);
    return 0;
}

/* Writes the list without `path`, and with `hex` for it when that is given. */
static int rewrite(const char *path, const char *hex, bool *ret_was, struct gvm_err *err)
{
    GVM_AUTOCLOSE int dir = -1;
    GVM_AUTOCLOSE int lock = -1; /* given back last */
    struct gvm_buf old, list;
    struct gvm_str line, name, known;
    int r = open_state(&dir, &lock, err);
    if (r < 0)
        return r;
    gvm_buf_init(&list, TRUST_MAX);
    r = read_list(&old, err);
    struct gvm_str rest = gvm_buf_str(&old);
    *ret_was = false;
    while (r == 0 && rest.n) {
        (void)gvm_str_cut(&rest, '\n', &line);
        if (!split_line(line, &known, &name))
            continue;
        if (gvm_str_eqz(name, path))
            *ret_was = true;
        else
            (void)gvm_buf_addf(&list, "%.*s\n", GVM_STR_ARG(line));
    }
    if (r == 0 && hex)
        (void)gvm_buf_addf(&list, "%s %s\n", hex, path);
    if (r == 0 && list.failed)
        r = gvm_err_set(err, ENOBUFS, "the list of trusted files is full; remove some");
    if (r == 0)
        r = gvm_write_file_at(dir, "trust", gvm_buf_cstr(&list), list.len, 0600, err);
    gvm_buf_done(&old);
    gvm_buf_done(&list);
    return r;
}

int cli_trust_add(const char *path, char ret_hex[65], struct gvm_err *err)
{
    char hex[65];
    bool was;
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return gvm_err_set(err, EINVAL, "the path holds a control byte; rename the file");
    int r = hash_file(path, hex, err);
    if (r == 0)
        r = rewrite(path, hex, &was, err);
    if (r == 0 && ret_hex)
        memcpy(ret_hex, hex, sizeof(hex));
    return r;
}

int cli_trust_remove(const char *path, bool *ret_was, struct gvm_err *err)
{
    return rewrite(path, NULL, ret_was, err);
}

/* ---- the choice ---- */

static int resolve(const char *path, char ret[GVM_PATH_MAX], struct gvm_err *err)
{
    GVM_AUTOFREE char *full = realpath(path, NULL);
    if (!full)
        return gvm_err_sys(err, errno, "cannot use the configuration %s", path);
    if (gvm_str_copy(ret, GVM_PATH_MAX, gvm_str(full)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path of the configuration is too long");
    return 0;
}

/* 1 = the workspace's file is trusted and taken, 0 = there is none to take. */
static int choose_workspace(const char *workspace, char ret_path[GVM_PATH_MAX], FILE *warn,
                            struct gvm_err *err)
{
    char path[GVM_PATH_MAX], full[GVM_PATH_MAX];
    struct stat st;
    enum cli_trust trust = CLI_TRUST_NONE;
    if (!workspace || snprintf(path, sizeof(path), "%s/gvm.toml", workspace) >= (int)sizeof(path))
        return 0;
    if (stat(path, &st) < 0)
        return 0;
    int r = resolve(path, full, err);
    if (r == 0)
        r = cli_trust_look(full, &trust, err);
    if (r < 0)
        return r;
    if (trust == CLI_TRUST_YES) {
        memcpy(ret_path, full, sizeof(full));
        return 1;
    }
    if (warn) {
        fputs("gvm: ", warn);
        cli_print_safe(warn, gvm_str(full));
        fputs(trust == CLI_TRUST_CHANGED ? " is not used: it has changed since it was trusted"
                                         : " is not used: it is not trusted",
              warn);
        fputs("; look at it, then run: gvm trust ", warn);
        cli_print_safe(warn, gvm_str(full));
        fputc('\n', warn);
    }
    return 0;
}

int cli_config_choose(const char *explicit_path, const char *workspace, char ret_path[GVM_PATH_MAX],
                      bool *ret_any, FILE *warn, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    struct stat st;
    int r;
    if (explicit_path) {
        r = resolve(explicit_path, ret_path, err);
        *ret_any = r == 0;
        return r;
    }
    r = choose_workspace(workspace, ret_path, warn, err);
    if (r != 0) {
        *ret_any = r > 0;
        return r < 0 ? r : 0;
    }
    r = gvm_place(GVM_PLACE_CONFIG, path, err);
    if (r < 0)
        return r;
    const char *named = getenv("GVM_CONFIG");
    bool is_named = named && *named;
    if (stat(path, &st) < 0 && !is_named && (errno == ENOENT || errno == ENOTDIR)) {
        ret_path[0] = '\0';
        *ret_any = false;
        return 0;
    }
    r = resolve(path, ret_path, err);
    *ret_any = r == 0;
    return r;
}
