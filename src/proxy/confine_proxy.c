/* What the proxy may still do once it serves.
 *
 * Should:   talk on the channels and sockets it was given; accept on listeners; connect out by TCP,
 * ask resolvers by UDP; run compiled regexes; read clocks and randomness. Mustn't:  open any file,
 * execute, make processes, gain privileges, trace or signal others, hold keys.
 */
#include "confine/confine.h"
#include "proxy/pipeline/px.h"

int px_confine(struct gvm_err *err)
{
    static const struct gvm_confine_spec spec = {
        .name = "gvmd-proxy",
        .lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP | GVM_CONFINE_UNIX | GVM_CONFINE_INET |
                 GVM_CONFINE_ACCEPT,
        .net_connect = true,
        .w_plus_x = true, /* PCRE2's JIT */
    };
    return gvm_confine(&spec, err);
}
