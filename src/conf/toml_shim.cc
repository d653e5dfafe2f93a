#include "conf/toml_shim.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <deque>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

/* toml++ 3.3 asserts some of what a text may break ("[,a]"), and with NDEBUG takes it for granted.
 * Here it throws. */
namespace
{
struct broken_text : std::logic_error {
    broken_text() : std::logic_error("a key or a value is missing")
    {
    }
};
[[noreturn]] void fail_parse()
{
    throw broken_text();
}
} // namespace
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? (void)0 : fail_parse())
#include <toml++/toml.h>

struct conf_toml {
    toml::table table;             /* strings and keys of the nodes point in here ... */
    std::deque<std::string> texts; /* ... or here */
    std::deque<conf_node> nodes;
};

namespace
{

struct work {
    const toml::node *from;
    conf_node *to;
};

uint32_t type_of(const toml::node &n)
{
    switch (n.type()) {
    case toml::node_type::table:
        return CONF_TABLE;
    case toml::node_type::array:
        return CONF_ARRAY;
    case toml::node_type::string:
        return CONF_STRING;
    case toml::node_type::integer:
        return CONF_INT;
    case toml::node_type::floating_point:
        return CONF_FLOAT;
    case toml::node_type::boolean:
        return CONF_BOOL;
    case toml::node_type::date_time:
        return n.as_date_time()->get().offset ? CONF_TIME : CONF_LOCAL_TIME;
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::none:
        break;
    }
    return CONF_LOCAL_TIME;
}

conf_node *add(conf_toml &t, const toml::node &n, std::vector<work> &todo)
{
    conf_node &to = t.nodes.emplace_back();
    to.type = type_of(n);
    to.line = n.source().begin.line;
    to.col = n.source().begin.column;
    todo.push_back({&n, &to});
    return &to;
}

void fill_scalar(conf_toml &t, const toml::node &n, conf_node &to)
{
    if (const auto *s = n.as_string()) {
        to.text = s->get().data();
        to.len = s->get().size();
    } else if (const auto *i = n.as_integer()) {
        to.num = i->get();
    } else if (const auto *f = n.as_floating_point()) {
        char digits[64];
        auto end = std::to_chars(digits, digits + sizeof digits, f->get());
        std::string &s = t.texts.emplace_back(digits, end.ptr);
        to.text = s.data();
        to.len = s.size();
    } else if (const auto *b = n.as_boolean()) {
        to.num = b->get();
    } else if (const auto *d = n.as_date_time()) {
        std::ostringstream out;
        out << d->get();
        std::string &s = t.texts.emplace_back(out.str());
        to.text = s.data();
        to.len = s.size();
    }
}

void link(conf_node &parent, const std::vector<conf_node *> &members)
{
    conf_node **at = &parent.child;
    for (conf_node *m : members) {
        *at = m;
        at = &m->next;
    }
}

void fill_table(conf_toml &t, const toml::table &from, conf_node &to, std::vector<work> &todo)
{
    std::vector<conf_node *> members;
    for (auto &&[key, value] : from) {
        conf_node *m = add(t, value, todo);
        m->key = key.str().data();
        m->key_len = key.str().size();
        m->key_line = key.source().begin.line;
        m->key_col = key.source().begin.column;
        members.push_back(m);
    }
    std::stable_sort(members.begin(), members.end(), [](const conf_node *a, const conf_node *b) {
        return a->key_line != b->key_line ? a->key_line < b->key_line : a->key_col < b->key_col;
    });
    link(to, members);
}

/* A work list instead of recursion: how deep the text nests is not ours to choose. */
const conf_node *build(conf_toml &t)
{
    std::vector<work> todo;
    const conf_node *root = add(t, t.table, todo);
    while (!todo.empty()) {
        work w = todo.back();
        todo.pop_back();
        if (const auto *table = w.from->as_table()) {
            fill_table(t, *table, *w.to, todo);
        } else if (const auto *array = w.from->as_array()) {
            std::vector<conf_node *> elements;
            for (auto &&e : *array)
                elements.push_back(add(t, e, todo));
            link(*w.to, elements);
        } else {
            fill_scalar(t, *w.from, *w.to);
        }
    }
    return root;
}

bool breaks(std::string_view text)
{
    try {
        (void)toml::parse(text);
    } catch (const broken_text &) {
        return true;
    } catch (...) {
    }
    return false;
}

/* The line at which toml++ gave up without saying where: the first with which it does. */
uint32_t broken_line(std::string_view text)
{
    uint32_t low = 1, high = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        size_t end = 0;
        for (uint32_t line = 0; line < mid; line++)
            end = text.find('\n', end) + 1;
        if (breaks(text.substr(0, end)))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

} // namespace

extern "C" int conf_toml_parse(const char *text, size_t n, conf_toml **ret,
                               const conf_node **ret_root, uint32_t *ret_line, uint32_t *ret_col,
                               char *msg, size_t msg_cap)
{
    conf_toml *t = nullptr;
    *ret_line = *ret_col = 1;
    try {
        t = new conf_toml;
        t->table = toml::parse(std::string_view(text, n));
        *ret_root = build(*t);
        *ret = t;
        return 0;
    } catch (const toml::parse_error &e) {
        *ret_line = e.source().begin.line;
        *ret_col = e.source().begin.column;
        std::snprintf(msg, msg_cap, "%.*s", static_cast<int>(e.description().size()),
                      e.description().data());
    } catch (const broken_text &e) {
        *ret_line = broken_line(std::string_view(text, n));
        std::snprintf(msg, msg_cap, "%s", e.what());
    } catch (const std::bad_alloc &) {
        delete t;
        return -ENOMEM;
    } catch (const std::exception &e) {
        std::snprintf(msg, msg_cap, "%s", e.what());
    } catch (...) {
        std::snprintf(msg, msg_cap, "the text cannot be read");
    }
    delete t;
    return -EINVAL;
}

extern "C" void conf_toml_free(conf_toml *t)
{
    if (!t)
        return;
    for (conf_node &n : t->nodes)
        if (n.type == CONF_STRING && n.len)
            explicit_bzero(const_cast<char *>(n.text), n.len);
    delete t;
}
