/* core/fs.h - files: whole reads and writes, safe opening, and where GVM keeps its things. */
#ifndef GVM_CORE_FS_H
#define GVM_CORE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "core/buf.h"
#include "core/err.h"

/* All of it or an error; EINTR and short writes handled. */
int gvm_write_all(int fd, const void *p, size_t n) GVM_MUST_CHECK;
/* Reads to the end; -EFBIG when out->max is passed. */
int gvm_read_fd(int fd, struct gvm_buf *out) GVM_MUST_CHECK;
/* Opens (O_CLOEXEC|O_NOFOLLOW off) and reads a whole file. */
int gvm_read_file(const char *path, struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;
/* Durable replace below `dirfd`: temp file, fsync, rename, fsync of the directory. */
int gvm_write_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* mkdir -p with `mode` for what is created. */
int gvm_mkdirs(const char *path, mode_t mode, struct gvm_err *err) GVM_MUST_CHECK;
/* openat2(RESOLVE_BENEATH|RESOLVE_NO_MAGICLINKS), plus RESOLVE_NO_SYMLINKS when `nolinks`.
 * Returns a descriptor or a negative errno. O_CLOEXEC is added. */
int gvm_open_beneath(int dirfd, const char *path, int flags, mode_t mode,
                     bool nolinks) GVM_MUST_CHECK;
/* Removes a tree below dirfd without following links; missing is fine. */
int gvm_remove_tree_at(int dirfd, const char *name, struct gvm_err *err) GVM_MUST_CHECK;
/* A sealed memory file holding the bytes, position 0; descriptor or negative errno. */
int gvm_memfd(const char *name, const void *p, size_t n) GVM_MUST_CHECK;

/* Where things are (NUL-ended, absolute, no trailing slash). Directories are not created.
 * runtime: $GVM_RUNTIME_DIR | $XDG_RUNTIME_DIR/gvm | /run/user/UID/gvm | <state>/run
 * state:   $GVM_STATE_DIR | $XDG_STATE_HOME/gvm | $HOME/.local/state/gvm
 * config:  $GVM_CONFIG | $XDG_CONFIG_HOME/gvm/gvm.toml | $HOME/.config/gvm/gvm.toml */
enum gvm_place { GVM_PLACE_RUNTIME, GVM_PLACE_STATE, GVM_PLACE_CONFIG };
#define GVM_PATH_MAX 4096
int gvm_place(enum gvm_place which, char dst[GVM_PATH_MAX], struct gvm_err *err) GVM_MUST_CHECK;
/* Like gvm_place() with "/" and `rest` added. */
int gvm_place_path(enum gvm_place which, const char *rest, char dst[GVM_PATH_MAX],
                   struct gvm_err *err) GVM_MUST_CHECK;

#endif
