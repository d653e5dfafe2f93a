/* sqlite.c - loads libsqlite3. It stays loaded until the program ends. */
#include <dlfcn.h>
#include <errno.h>
#include "index/sqlite.h"

#define LIBRARY "libsqlite3.so.0"

struct index_sqlite sq;

int index_sqlite_load(struct gvm_err *err)
{
    static const struct {
        const char *name;
        size_t at;
    } names[] = {
#define X(name) {"sqlite3_" #name, offsetof(struct index_sqlite, name)},
        INDEX_SQLITE(X)
#undef X
    };
    if (sq.step)
        return 0;
    struct index_sqlite found;
    void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return gvm_err_set(err, ENOSYS, "there is no index without " LIBRARY "; the log is read");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *p = dlsym(lib, names[i].name);
        if (!p) {
            (void)dlclose(lib);
            return gvm_err_set(err, ENOSYS,
                               LIBRARY " has no %s: too old for an index; the log is read",
                               names[i].name);
        }
        memcpy((char *)&found + names[i].at, &p, sizeof p); /* POSIX: a function fits in there */
    }
    sq = found;
    return 0;
}
