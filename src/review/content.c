/* What the beginning of a file says about who executes or obeys it. Pure: bytes in, a reason out.
 */
#include "review/review_int.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct magic {
    const char *bytes;
    size_t n;
    const char *why;
} programs[] = {
    {"#!", 2, "a script: its first line names an interpreter"},
    {"\x7f"
     "ELF",
     4, "a program"},
    {"MZ", 2, "a program"},
    {"\xca\xfe\xba\xbe", 4, "a program"},
    {"\xcf\xfa\xed\xfe", 4, "a program"},
    {"\xce\xfa\xed\xfe", 4, "a program"},
    {"\0asm", 4, "a program"},
};

/* Sections, in lower case, by which a file of [sections] is known. */
static const struct section {
    const char *name;
    bool prefix; /* [name "more"] too */
    const char *why;
} sections[] = {
    {"core", false, "git configuration: it can name programs to run"},
    {"include", false, "git configuration: it can name programs to run"},
    {"includeif", true, "git configuration: it can name programs to run"},
    {"filter", true, "git configuration: it can name programs to run"},
    {"diff", true, "git configuration: it can name programs to run"},
    {"merge", true, "git configuration: it can name programs to run"},
    {"alias", false, "git configuration: it can name programs to run"},
    {"credential", true, "git configuration: it can name programs to run"},
    {"gpg", true, "git configuration: it can name programs to run"},
    {"submodule", true, "git configuration: it can name programs to run"},
    {"desktop entry", false, "the desktop starts what it names"},
    {"service", false, "systemd starts what it names"},
    {"timer", false, "systemd starts what it names"},
    {"socket", false, "systemd starts what it names"},
};

static const char *section_reason(struct gvm_str line)
{
    char name[32];
    size_t n = 0;
    while (n < line.n && n < sizeof(name) - 1 && line.p[n] != ']' && line.p[n] != '"') {
        name[n] = gvm_lower(line.p[n]);
        n++;
    }
    bool more = n < line.n && line.p[n] == '"';
    struct gvm_str word = gvm_str_trim((struct gvm_str){name, n});
    for (size_t i = 0; i < COUNT(sections); i++)
        if (gvm_str_eqz(word, sections[i].name) && (!more || sections[i].prefix))
            return sections[i].why;
    return NULL;
}

/* A file whose first line that says anything opens a section. */
static const char *ini_reason(struct gvm_str head)
{
    struct gvm_str rest = head, line;
    bool first = true;
    while (rest.n) {
        gvm_str_cut(&rest, '\n', &line);
        line = gvm_str_trim(line);
        if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
            continue;
        if (line.p[0] == '[') {
            const char *why = section_reason((struct gvm_str){line.p + 1, line.n - 1});
            if (why)
                return why;
        } else if (first) {
            return NULL;
        }
        first = false;
    }
    return NULL;
}

const char *review_content_reason(struct gvm_str head)
{
    for (size_t i = 0; i < COUNT(programs); i++)
        if (gvm_str_starts(head, (struct gvm_str){programs[i].bytes, programs[i].n}))
            return programs[i].why;
    return ini_reason(head);
}

static bool holds(struct gvm_str head, const char *needle)
{
    return memmem(head.p, head.n, needle, strlen(needle)) != NULL;
}

bool review_content_lies(struct gvm_str base, struct gvm_str head)
{
    static const struct {
        const char *ending, *magic;
        size_t n;
    } types[] = {{".png", "\x89PNG\r\n\x1a\n", 8},
                 {".jpg", "\xff\xd8\xff", 3},
                 {".jpeg", "\xff\xd8\xff", 3},
                 {".gif", "GIF8", 4},
                 {".pdf", "%PDF-", 5}};
    for (size_t i = 0; i < COUNT(types); i++) {
        if (!gvm_str_ends(base, gvm_str(types[i].ending)))
            continue;
        return !gvm_str_starts(head, (struct gvm_str){types[i].magic, types[i].n}) ||
               holds(head, "/JavaScript") || holds(head, "/Launch");
    }
    /* The rest is text. */
    return memchr(head.p ? head.p : "", '\0', head.n) != NULL;
}
