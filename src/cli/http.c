/* http.c - libcurl, loaded when the first request is made: it brings a score of libraries along,
 * and `gvm run` must not wait for them. */
#include "cli/http.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>

static struct {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*perform)(CURL *);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
} curl;

static int load(struct gvm_err *err)
{
    static const struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"curl_global_init", &curl.global_init},
        {"curl_easy_init", &curl.easy_init},
        {"curl_easy_setopt", &curl.setopt},
        {"curl_easy_perform", &curl.perform},
        {"curl_easy_getinfo", &curl.getinfo},
        {"curl_easy_cleanup", &curl.easy_cleanup},
        {"curl_easy_strerror", &curl.strerror},
        {"curl_slist_append", &curl.slist_append},
        {"curl_slist_free_all", &curl.slist_free_all},
    };
    void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return gvm_err_set(
            err, ENOSYS, "libcurl (libcurl.so.4) is not installed; it is needed to reach a server");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *p = dlsym(lib, symbols[i].name);
        if (!p)
            return gvm_err_set(err, ENOSYS, "libcurl has no %s", symbols[i].name);
        memcpy(symbols[i].to, &p, sizeof p);
    }
    return curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
               ? 0
               : gvm_err_set(err, ENOMEM, "libcurl does not start");
}

static size_t keep(char *p, size_t size, size_t n, void *arg)
{
    return gvm_buf_add(arg, p, size * n) < 0 ? 0 : size * n; /* fewer: libcurl gives up */
}

static CURLcode set_up(CURL *h, const char *url, const struct curl_slist *headers,
                       struct gvm_str body, struct gvm_buf *out)
{
    CURLcode c[] = {
        curl.setopt(h, CURLOPT_URL, url),
        curl.setopt(h, CURLOPT_PROTOCOLS_STR, "http,https"),
        curl.setopt(h, CURLOPT_FOLLOWLOCATION, 0L),
        curl.setopt(h, CURLOPT_NOSIGNAL, 1L),
        curl.setopt(h, CURLOPT_TIMEOUT, 30L),
        curl.setopt(h, CURLOPT_CONNECTTIMEOUT, 10L),
        curl.setopt(h, CURLOPT_POST, 1L),
        curl.setopt(h, CURLOPT_POSTFIELDSIZE, (long)body.n),
        curl.setopt(h, CURLOPT_POSTFIELDS, body.p),
        curl.setopt(h, CURLOPT_HTTPHEADER, headers),
        curl.setopt(h, CURLOPT_USERAGENT, "gvm"),
        curl.setopt(h, CURLOPT_WRITEFUNCTION, keep),
        curl.setopt(h, CURLOPT_WRITEDATA, out),
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        if (c[i] != CURLE_OK)
            return c[i];
    return curl.perform(h);
}

int http_post(const char *url, const char *content_type, struct gvm_str body, struct gvm_buf *out,
              struct gvm_err *err)
{
    char header[128];
    long status = 0;
    int r = curl.perform ? 0 : load(err);
    if (r < 0)
        return r;
    (void)snprintf(header, sizeof header, "Content-Type: %s", content_type);
    CURL *h = curl.easy_init();
    struct curl_slist *headers = curl.slist_append(NULL, header);
    CURLcode c = h && headers ? set_up(h, url, headers, body, out) : CURLE_OUT_OF_MEMORY;
    if (c == CURLE_OK)
        c = curl.getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    if (c != CURLE_OK)
        r = gvm_err_set(err, EIO, "cannot reach %s: %s", url, curl.strerror(c));
    else if (status < 200 || status > 299)
        r = gvm_err_set(err, EPROTO, "%s answered with status %ld", url, status);
    curl.slist_free_all(headers);
    curl.easy_cleanup(h);
    return r;
}
