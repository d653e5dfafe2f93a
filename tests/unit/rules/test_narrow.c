/* What narrows a rule: tables of a rule's key, a request, and what each decision makes of it.
 *
 * Every row is judged under two rules with the same condition: Deny (then Allow for the rest), and
 * Allow (then Deny for the rest). What a server might take for the condition must be denied by the
 * first; what is allowed by the second must be nothing else. So the outcome of a row is one of
 *
 *   YES    the condition holds in every reading: denied by the first, allowed by the second
 *   NO     in none: allowed by the first, denied by the second
 *   PART   in some reading, or for a part: denied by both
 */
#include "ruleset.h"
#include <errno.h>

enum want { NO, YES, PART };

struct row {
    const char *key; /* narrowing key of the rule */
    const char *method, *target;
    const char *type, *coding, *body; /* body NULL: none */
    enum want want;
};

#define JSON "application/json"
#define FORM "application/x-www-form-urlencoded"

static void narrow_rules(char *dst, size_t cap, const char *key, const char *first,
                         const char *rest)
{
    snprintf(dst, cap,
             "[[rules]]\nname=\"it\"\nmethod=\"*\"\npattern=\"a.test\"\ndecision=\"%s\"\n%s\n"
             "[[rules]]\nname=\"rest\"\nmethod=\"*\"\npattern=\"*\"\ndecision=\"%s\"\n",
             first, key, rest);
}

static struct gvm_verdict judge_row(const struct gvm_ruleset *rs, const struct row *r,
                                    struct gvm_str body, bool whole)
{
    struct gvm_verdict v, before;
    struct gvm_buf path, query;
    bool has_query;
    gvm_buf_init(&path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    char fields[512];
    (void)snprintf(fields, sizeof fields, "Content-Type: %s\r\nX-Mark: alpha\r\nx-mark:beta \r\n",
                   r->type ? r->type : "");
    assert_int_equal(gvm_target_canon(gvm_str(r->target), &path, &query, &has_query, NULL), 0);
    struct gvm_facts f = {.method = gvm_str(r->method),
                          .host = GVM_STR("a.test"),
                          .port = 443,
                          .tls = true,
                          .path = gvm_buf_str(&path),
                          .query = gvm_buf_str(&query),
                          .fields = gvm_str(fields),
                          .now_ns = 1000};
    gvm_rules_decide(rs, &f, &before);
    struct gvm_content_in in = {.present = r->body != NULL,
                                .whole = whole,
                                .raw = body,
                                .type = gvm_str(r->type ? r->type : ""),
                                .coding = gvm_str(r->coding ? r->coding : ""),
                                .query = gvm_buf_str(&query),
                                .max = before.max_body};
    f.content = gvm_content_new(&in);
    assert_non_null(f.content);
    gvm_rules_decide(rs, &f, &v);
    assert_false(v.needs_body);
    /* What was decided without the body must not change with it. */
    if (!before.needs_body) {
        assert_int_equal(v.decision, before.decision);
        assert_int_equal(v.rule, before.rule);
    } else {
        assert_int_equal(before.decision, GVM_DENY);
    }
    gvm_content_free(f.content);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    return v;
}

static void check_row(const struct row *r)
{
    char text[2048];
    struct gvm_str body = gvm_str(r->body ? r->body : "");
    narrow_rules(text, sizeof text, r->key, "Deny", "Allow");
    struct gvm_ruleset *deny = good(text);
    narrow_rules(text, sizeof text, r->key, "Allow", "Deny");
    struct gvm_ruleset *allow = good(text);
    bool denied = judge_row(deny, r, body, true).decision == GVM_DENY;
    bool allowed = judge_row(allow, r, body, true).decision == GVM_ALLOW;
    if (denied != (r->want != NO) || allowed != (r->want == YES))
        fail_msg("%s\n  %s %s %s: %s by Deny, %s by Allow", r->key, r->method, r->target,
                 r->body ? r->body : "", denied ? "denied" : "passed",
                 allowed ? "allowed" : "not allowed");
    gvm_rules_free(deny);
    gvm_rules_free(allow);
}

#define AMOUNT "body=[{path=\"$.amount\", op=\">\", value=1000}]"
#define ROLE   "body=[{path=\"$.role\", value=\"admin\"}]"
#define ITEMS  "body=[{path=\"$.items[*].price\", op=\"<\", value=10}]"

static const struct row json_rows[] = {
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":5000}", YES},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":1000}", NO},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":1000.01}", YES},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":5e3}", YES},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"other\":5000}", NO},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":null}", NO},
    {AMOUNT, "POST", "/", "text/plain", NULL, "{\"amount\":5000}", YES},
    {AMOUNT, "POST", "/", NULL, NULL, " \n{\"amount\":5000} ", YES},
    {AMOUNT, "GET", "/", NULL, NULL, NULL, NO},
    {AMOUNT, "POST", "/", JSON, NULL, "", PART}, /* an empty body is not JSON */
    /* another spelling of the same thing */
    {AMOUNT, "POST", "/", JSON, NULL, "{\"\\u0061mount\":5000}", YES},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"Amount\":5000}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":\"5000\"}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":\"500\"}", NO},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":\" 5000\"}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":\"0x1388\"}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":[5000]}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":{\"$numberLong\":\"5000\"}}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":true}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":1e400}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "[{\"amount\":5000}]", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "[{\"amount\":5},{\"amount\":5000}]", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "eyJhbW91bnQiOjUwMDB9", PART}, /* base64 */
    {AMOUNT, "POST", "/", JSON, NULL, "eyJhbW91bnQi\nOjUwMDB9", PART},
    /* what cannot be read */
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":5,\"amount\":5000}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"x\":{\"y\":1,\"y\":2}}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":5000", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{\"amount\":5000}x", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "{'amount':5000}", PART},
    {AMOUNT, "POST", "/", JSON, NULL, "\xef\xbb\xbf{\"amount\":5000}", PART},
    {AMOUNT, "POST", "/", JSON, "snappy", "{\"amount\":5000}", PART},
    {AMOUNT, "POST", "/", JSON, "gzip", "{\"amount\":5000}", PART},
    {AMOUNT, "POST", "/", FORM, NULL, "amount=5000", PART},
    /* texts */
    {ROLE, "POST", "/", JSON, NULL, "{\"role\":\"admin\"}", YES},
    {ROLE, "POST", "/", JSON, NULL, "{\"role\":\"admi\\u006e\"}", YES},
    {ROLE, "POST", "/", JSON, NULL, "{\"role\":\"user\"}", NO},
    {ROLE, "POST", "/", JSON, NULL, "{\"role\":[\"admin\"]}", PART},
    {ROLE, "POST", "/", JSON, NULL, "{\"user\":{\"role\":\"admin\"}}", NO},
    {"body=[{path=\"$..role\", value=\"admin\"}]", "POST", "/", JSON, NULL,
     "{\"user\":{\"role\":\"admin\"}}", YES},
    {"body=[{path=\"$.n\", value=[1, 2]}]", "POST", "/", JSON, NULL, "{\"n\":2.0}", YES},
    {"body=[{path=\"$.n\", value=[1, 2]}]", "POST", "/", JSON, NULL, "{\"n\":3}", NO},
    {"body=[{path=\"$.n\", op=\"!=\", value=1}]", "POST", "/", JSON, NULL, "{\"n\":2}", YES},
    {"body=[{path=\"$.n\", op=\"!=\", value=1}]", "POST", "/", JSON, NULL, "{\"n\":1}", NO},
    {"body=[{path=\"$.n\", op=\"!=\", value=1}]", "POST", "/", JSON, NULL, "{\"n\":\"1\"}", PART},
    {"body=[{path=\"$.b\", value=true}]", "POST", "/", JSON, NULL, "{\"b\":true}", YES},
    {"body=[{path=\"$.b\", value=true}]", "POST", "/", JSON, NULL, "{\"b\":false}", NO},
    {"body=[{path=\"$.b\", value=true}]", "POST", "/", JSON, NULL, "{\"b\":1}", PART},
    {"body=[{path=\"$.b\", value=true}]", "POST", "/", JSON, NULL, "{\"b\":\"True\"}", PART},
    {"body=[{path=\"$.to\", op=\"glob\", value=\"*@evil.test\"}]", "POST", "/", JSON, NULL,
     "{\"to\":\"x@evil.test\"}", YES},
    {"body=[{path=\"$.to\", op=\"regex\", value=\"(?i)@evil\\\\.test$\"}]", "POST", "/", JSON, NULL,
     "{\"to\":\"x@EVIL.test\"}", YES},
    {"body=[{path=\"$.to\", op=\"regex\", value=\"(?i)@evil\\\\.test$\"}]", "POST", "/", JSON, NULL,
     "{\"to\":\"x@good.test\"}", NO},
    {"body=[{path=\"$.x\", op=\"exists\"}]", "POST", "/", JSON, NULL, "{\"x\":null}", YES},
    {"body=[{path=\"$.x\", op=\"exists\"}]", "POST", "/", JSON, NULL, "{\"y\":1}", NO},
    {"body=[{path=\"$.x\", op=\"exists\"}]", "POST", "/", JSON, NULL, "{\"X\":1}", PART},
    {"body=[{path=\"$.x\", op=\"absent\"}]", "POST", "/", JSON, NULL, "{\"y\":1}", YES},
    {"body=[{path=\"$.x\", op=\"absent\"}]", "POST", "/", JSON, NULL, "{\"x\":1}", NO},
    {"body=[{path=\"$.x\", op=\"absent\"}]", "POST", "/", JSON, NULL, "{\"X\":1}", PART},
    {"body=[{path=\"$.a\", value=1},{path=\"$.b\", value=2}]", "POST", "/", JSON, NULL,
     "{\"a\":1,\"b\":2}", YES},
    {"body=[{path=\"$.a\", value=1},{path=\"$.b\", value=2}]", "POST", "/", JSON, NULL,
     "{\"a\":1,\"b\":3}", NO},
    /* several values */
    {ITEMS, "POST", "/", JSON, NULL, "{\"items\":[{\"price\":5},{\"price\":9}]}", YES},
    {ITEMS, "POST", "/", JSON, NULL, "{\"items\":[{\"price\":5},{\"price\":90}]}", PART},
    {ITEMS, "POST", "/", JSON, NULL, "{\"items\":[{\"price\":5},{}]}", PART},
    {ITEMS, "POST", "/", JSON, NULL, "{\"items\":[]}", NO},
};

static const struct row head_rows[] = {
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?q=x", NULL, NULL, NULL, YES},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?%71=%78", NULL, NULL, NULL, YES},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?q=y", NULL, NULL, NULL, NO},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/", NULL, NULL, NULL, NO},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?q=y&q=x", NULL, NULL, NULL, PART},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?Q=x", NULL, NULL, NULL, PART},
    {"query=[{name=\"q\", value=\"x\"}]", "GET", "/?a=1;q=x", NULL, NULL, NULL, PART},
    {"query=[{name=\"n\", op=\">\", value=10}]", "GET", "/?n=11", NULL, NULL, NULL, YES},
    {"query=[{name=\"n\", op=\">\", value=10}]", "GET", "/?n=9", NULL, NULL, NULL, NO},
    {"query=[{name=\"n\", op=\">\", value=10}]", "GET", "/?n=0x99", NULL, NULL, NULL, PART},
    {"query=[{name=\"n\", op=\"absent\"}]", "GET", "/", NULL, NULL, NULL, YES},
    {"query=[{name=\"n\", op=\"absent\"}]", "GET", "/?n", NULL, NULL, NULL, NO},
    {"header=[{name=\"content-type\", op=\"glob\", value=\"*json*\"}]", "POST", "/", JSON, NULL, "",
     YES},
    {"header=[{name=\"x-mark\", value=\"alpha\"}]", "GET", "/", NULL, NULL, NULL, PART},
    {"header=[{name=\"x-mark\", value=[\"alpha\", \"beta\"]}]", "GET", "/", NULL, NULL, NULL, YES},
    {"header=[{name=\"x-mark\", value=\"gamma\"}]", "GET", "/", NULL, NULL, NULL, NO},
    {"header=[{name=\"x-other\", op=\"absent\"}]", "GET", "/", NULL, NULL, NULL, YES},
    {"git={repo=\"org/*\"}", "GET", "/org/r.git/info/refs?service=git-upload-pack", NULL, NULL,
     NULL, YES},
    {"git={repo=\"org/*\"}", "GET", "/Org/r.git/info/refs", NULL, NULL, NULL, PART},
    {"git={repo=\"org/*\"}", "GET", "/other/r.git/info/refs", NULL, NULL, NULL, NO},
    {"git={repo=\"org/*\"}", "GET", "/org/r", NULL, NULL, NULL, NO},
};

static const struct row form_rows[] = {
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", FORM, NULL, "a=1", YES},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", FORM ";charset=utf-8", NULL, "b=2&a=1", YES},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", FORM, NULL, "a=2", NO},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", FORM, NULL, "a=2&a=1", PART},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", FORM, NULL, "%41=1", PART},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", JSON, NULL, "{\"a\":1}", PART},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", "multipart/form-data; boundary=b", NULL,
     "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n", YES},
    {"form=[{name=\"a\", value=\"1\"}]", "POST", "/", "multipart/form-data; boundary=b", NULL,
     "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b", PART},
};

#define GQL(text) "{\"query\":\"" text "\"}"
#define FUNDS     "graphql={field=\"transferFunds\"}"
#define MUT       "graphql={operation=\"mutation\"}"

static const struct row graphql_rows[] = {
    {FUNDS, "POST", "/", JSON, NULL, GQL("mutation { transferFunds }"), YES},
    {FUNDS, "POST", "/", JSON, NULL, GQL("mutation { x: transferFunds(a: 1) { id } }"), YES},
    {FUNDS, "POST", "/", JSON, NULL, GQL("mutation { transferFunds other }"), PART},
    {FUNDS, "POST", "/", JSON, NULL, GQL("{ me { transferFunds } }"), PART},
    {FUNDS, "POST", "/", JSON, NULL, GQL("mutation { ...F } fragment F on M { transferFunds }"),
     YES},
    {FUNDS, "POST", "/", JSON, NULL, GQL("{ transferFunds: other }"), NO},
    {FUNDS, "POST", "/", JSON, NULL, GQL("{ transferFundsLater }"), NO},
    {FUNDS, "POST", "/", JSON, NULL, GQL("{ x(a: \\\"transferFunds\\\") } # transferFunds"), NO},
    {FUNDS, "POST", "/", JSON, NULL,
     GQL("mutation { x(a: \\\"\\\"\\\" \\\\\\\"\\\"\\\" \\\"\\\"\\\") transferFunds }"), PART},
    {FUNDS, "POST", "/", JSON, NULL, "[" GQL("{ a }") "," GQL("mutation { transferFunds }") "]",
     PART},
    {FUNDS, "POST", "/", JSON, NULL, "[" GQL("{ transferFunds }") "]", YES},
    {FUNDS, "GET", "/?query=mutation%7BtransferFunds%7D", NULL, NULL, NULL, YES},
    {FUNDS, "GET", "/?query=%7Bother%7D", NULL, NULL, NULL, NO},
    {FUNDS, "POST", "/?query=mutation%7BtransferFunds%7D", JSON, NULL, GQL("{ other }"), PART},
    {FUNDS, "POST", "/", "application/graphql", NULL, "mutation { transferFunds }", YES},
    {FUNDS, "POST", "/", FORM, NULL, "query=mutation%7BtransferFunds%7D", YES},
    {FUNDS, "POST", "/", "multipart/form-data; boundary=b", NULL,
     "--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"{ "
     "transferFunds "
     "}\"}\r\n--b--\r\n",
     YES},
    {FUNDS, "POST", "/", JSON, NULL, "{\"Query\":\"{ transferFunds }\"}", PART},
    {FUNDS, "POST", "/", JSON, NULL, "{\"query\":\"{ transferFunds\"}", PART},
    {FUNDS, "POST", "/", JSON, NULL,
     "{\"extensions\":{\"persistedQuery\":{\"version\":1,\"sha256Hash\":\"00\"}}}", PART},
    {FUNDS, "POST", "/", JSON, NULL,
     "{\"query\":\"{ a "
     "}\",\"extensions\":{\"persistedQuery\":{\"version\":1,\"sha256Hash\":\"00\"}}}",
     PART},
    {FUNDS, "POST", "/", JSON, NULL,
     "{\"query\":\"{ a }\",\"extensions\":{\"persistedQuery\":{\"version\":1,\"sha256Hash\":"
     "\"07aa81ab6c4ec3d88f4dd5f7e7b5c7e3d3f4f6d1\"}}}",
     PART},
    {FUNDS, "POST", "/", JSON, NULL, "{\"id\":\"x\",\"query\":\"{ a }\"}", PART},
    {FUNDS, "POST", "/", JSON, NULL,
     "{\"query\":\"{ a }\",\"variables\":{\"id\":\"transferFunds\"}}", NO},
    {FUNDS, "GET", "/?extensions=%7B%22persistedQuery%22%3A1%7D", NULL, NULL, NULL, PART},
    {FUNDS, "GET", "/", NULL, NULL, NULL, NO},
    {MUT, "POST", "/", JSON, NULL, GQL("mutation { a }"), YES},
    {MUT, "POST", "/", JSON, NULL, GQL("query { a }"), NO},
    {MUT, "POST", "/", JSON, NULL, GQL("query A { a } mutation B { b }"), PART},
    {"graphql={operation=\"query\", name=\"Get*\"}", "POST", "/", JSON, NULL,
     GQL("query GetMe { a }"), YES},
    {"graphql={operation=\"query\", name=\"Get*\"}", "POST", "/", JSON, NULL, GQL("query Me { a }"),
     NO},
};

#define CALL(name, args)                                                                           \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"" name         \
    "\",\"arguments\":" args "}}"
#define TOOL "mcp={tool=\"delete_*\"}"
#define PAY  "mcp={tool=\"pay\", args=[{path=\"$.amount\", op=\">\", value=100}]}"

static const struct row mcp_rows[] = {
    {TOOL, "POST", "/", JSON, NULL, CALL("delete_file", "{}"), YES},
    {TOOL, "POST", "/", JSON, NULL, CALL("read_file", "{}"), NO},
    {TOOL, "POST", "/", JSON, NULL, "[" CALL("read_file", "{}") "," CALL("delete_file", "{}") "]",
     PART},
    {TOOL, "POST", "/", JSON, NULL, "[" CALL("delete_x", "{}") "," CALL("delete_file", "{}") "]",
     YES},
    {TOOL, "POST", "/", JSON, NULL, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}", NO},
    {TOOL, "POST", "/", JSON, NULL,
     "{\"method\":\"tools/call\",\"params\":{\"Name\":\"delete_x\"}}", PART},
    {TOOL, "POST", "/", JSON, NULL,
     "{\"Method\":\"tools/call\",\"params\":{\"name\":\"delete_x\"}}", PART},
    {TOOL, "POST", "/", JSON, NULL,
     "{\"method\":\"tools/call\",\"params\":{\"name\":[\"delete_x\"]}}", PART},
    {TOOL, "POST", "/", JSON, NULL, "{\"method\":\"tools/call\",\"params\":[\"delete_x\"]}", PART},
    {TOOL, "POST", "/", JSON, NULL, "\"tools/call\"", PART},
    {PAY, "POST", "/", JSON, NULL, CALL("pay", "{\"amount\":101}"), YES},
    {PAY, "POST", "/", JSON, NULL, CALL("pay", "{\"amount\":99}"), NO},
    {PAY, "POST", "/", JSON, NULL, CALL("pay", "{}"), NO},
    {PAY, "POST", "/", JSON, NULL, CALL("pay", "{\"amount\":\"101\"}"), PART},
    {PAY, "POST", "/", JSON, NULL, CALL("look", "{\"amount\":101}"), NO},
    {PAY, "POST", "/", JSON, NULL,
     "[" CALL("pay", "{\"amount\":1}") "," CALL("pay", "{\"amount\":101}") "]", PART},
    {"mcp={method=\"prompts/*\"}", "POST", "/", JSON, NULL, "{\"method\":\"prompts/get\"}", YES},
    {"mcp={method=[\"tools/list\", \"initialize\"]}", "POST", "/", JSON, NULL,
     "{\"method\":\"initialize\"}", YES},
    {"mcp={method=\"tools/list\"}", "POST", "/", JSON, NULL, "{\"id\":1,\"result\":{}}", NO},
};

#define Z40  "0000000000000000000000000000000000000000"
#define A40  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B40  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PUSH "/org/r.git/git-receive-pack"
#define MAIN "git={push=\"refs/heads/main\"}"

static const struct row git_rows[] = {
    {MAIN, "POST", PUSH, NULL, NULL, "0065" A40 " " B40 " refs/heads/main0000", YES},
    {MAIN, "POST", PUSH, NULL, NULL, "0066" A40 " " B40 " refs/heads/main\n0000", YES},
    {MAIN, "POST", PUSH, NULL, NULL, "0064" A40 " " B40 " refs/heads/dev0000", NO},
    {MAIN, "POST", PUSH, NULL, NULL,
     "0064" A40 " " B40 " refs/heads/dev0065" A40 " " B40 " refs/heads/main0000", PART},
    {MAIN, "POST", PUSH, NULL, NULL, "not a push", PART},
    {MAIN, "POST", PUSH, NULL, NULL, "0065" A40 " " B40 " refs/heads/main", PART},
    {MAIN, "POST", "/org/r.git/git-upload-pack", NULL, NULL, "0000", NO},
    {"git={push=\"refs/heads/main\", repo=\"org/*\"}", "POST", PUSH, NULL, NULL,
     "0065" A40 " " B40 " refs/heads/main0000", YES},
    {"git={push=\"refs/heads/main\", repo=\"other/*\"}", "POST", PUSH, NULL, NULL,
     "0065" A40 " " B40 " refs/heads/main0000", NO},
    {"git={delete=true}", "POST", PUSH, NULL, NULL, "0065" A40 " " Z40 " refs/heads/main0000", YES},
    {"git={delete=true}", "POST", PUSH, NULL, NULL, "0065" A40 " " B40 " refs/heads/main0000", NO},
    {"git={force=true}", "POST", PUSH, NULL, NULL, "0065" A40 " " B40 " refs/heads/main0000", PART},
    {"git={force=true}", "POST", PUSH, NULL, NULL, "0065" Z40 " " B40 " refs/heads/main0000", NO},
    {"git={force=false}", "POST", PUSH, NULL, NULL, "0065" Z40 " " B40 " refs/heads/main0000", YES},
};

#define BANK                                                                                       \
    "payload_field=\"operationName\"\npayload_match=[\"TransferFunds\", \"DeleteAccount\"]\n"      \
    "payload_query_alias_match=[\"transferFunds\", \"deleteAccount\"]\nmax_body_bytes=65536"
#define FIELD "payload_field=\"operationName\"\npayload_match=[\"TransferFunds\"]"
#define ALIAS "payload_query_alias_match=[\"transferFunds\"]"

static const struct row prior_rows[] = {
    {BANK, "POST", "/", JSON, NULL, "{\"operationName\":\"TransferFunds\"}", YES},
    {BANK, "POST", "/", JSON, NULL, "{\"operationName\":\"GetBalance\"}", NO},
    {BANK, "POST", "/", JSON, NULL, "{\"operationName\":\"GetBalance\",\"query\":\"{ balance }\"}",
     NO},
    {BANK, "POST", "/", JSON, NULL,
     "{\"operationName\":\"X\",\"query\":\"mutation { x: transferFunds(a:1) }\"}", YES},
    {BANK, "POST", "/", JSON, NULL, "not json", PART},
    {FIELD, "POST", "/", JSON, NULL, "{\"OperationName\":\"TransferFunds\"}", PART},
    {FIELD, "POST", "/", JSON, NULL, "{\"data\":{\"operationName\":\"TransferFunds\"}}", PART},
    {FIELD, "POST", "/", JSON, NULL, "[{\"operationName\":\"TransferFunds\"}]", PART},
    {FIELD, "POST", "/", JSON, NULL, "{\"operationName\":\"VHJhbnNmZXJGdW5kcw==\"}", PART},
    {FIELD, "POST", "/", JSON, NULL, "{\"operationName\":\"transferfunds\"}", NO},
    {FIELD, "POST", "/", JSON, NULL, "{\"operationName\":1}", NO},
    {FIELD, "POST", "/", JSON, NULL, "eyJvcGVyYXRpb25OYW1lIjoiVHJhbnNmZXJGdW5kcyJ9", PART},
    {FIELD, "GET", "/", NULL, NULL, NULL, NO},
    {ALIAS, "POST", "/", JSON, NULL, GQL("mutation { transferFunds }"), YES},
    {ALIAS, "POST", "/", JSON, NULL, GQL("mutation { a transferFunds }"), PART},
    {ALIAS, "POST", "/", JSON, NULL, GQL("mutation transferFunds { a }"), PART},
    {ALIAS, "POST", "/", JSON, NULL, GQL("{ a(x: transferFunds) @transferFunds }"), NO},
    {ALIAS, "POST", "/", JSON, NULL, GQL("{ ...F } fragment F on Q { transferFunds }"), YES},
};

static void check_table(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_row(&rows[i]);
}

static void test_json(void **state)
{
    (void)state;
    check_table(json_rows, sizeof json_rows / sizeof *json_rows);
}

static void test_head(void **state)
{
    (void)state;
    check_table(head_rows, sizeof head_rows / sizeof *head_rows);
}

static void test_form(void **state)
{
    (void)state;
    check_table(form_rows, sizeof form_rows / sizeof *form_rows);
}

/* Whatever is not sent as gRPC may be the call all the same (Connect, JSON transcoding). */
#define GRPC "application/grpc"
#define DROP "grpc=\"pkg.Admin/Drop\""
static const struct row grpc_rows[] = {
    {DROP, "POST", "/pkg.Admin/Drop", GRPC, NULL, "", YES},
    {DROP, "POST", "/pkg.Admin/Drop", "Application/gRPC+proto; x=y", NULL, NULL, YES},
    {DROP, "POST", "/pkg.Admin/Drop", "application/grpc-web+json", NULL, "", YES},
    {DROP, "POST", "/pkg.Admin/%44rop", GRPC, NULL, "", YES},
    {DROP, "POST", "//pkg.Admin/x/../Drop", GRPC, NULL, "", YES},
    {DROP, "POST", "/pkg.Admin%2FDrop", GRPC, NULL, "", PART},
    {DROP, "POST", "/pkg.Admin;v=1/Drop", GRPC, NULL, "", PART},
    {DROP, "POST", "/gateway/pkg.Admin/Drop", GRPC, NULL, "", PART},
    {DROP, "POST", "/pkg.Admin/Drop", "application/grpcx", NULL, "", PART},
    {DROP, "POST", "/pkg.Admin/Drop", JSON, NULL, "{}", PART},
    {DROP, "POST", "/pkg.Admin/Drop", NULL, NULL, "", PART},
    {DROP, "POST", "/pkg.Admin/Drop", GRPC "\r\nContent-Type: " JSON, NULL, "", PART},
    {DROP, "POST", "/pkg.Admin/Drop", JSON "\r\nContent-Type: " GRPC, NULL, "", PART},
    {DROP, "GET", "/pkg.Admin/Drop?message=e30&encoding=json", NULL, NULL, NULL, PART},
    {DROP, "POST", "/pkg.Admin/Dropped", GRPC, NULL, "", NO},
    {DROP, "POST", "/pkg.Admin/Drop/x", GRPC, NULL, "", NO},
    {DROP, "POST", "/pkg.Admin/drop", GRPC, NULL, "", NO},
    {DROP, "POST", "/Drop", GRPC, NULL, "", NO},
    {DROP, "POST", "/", GRPC, NULL, "", NO},
    {"grpc=[\"pkg.Echo/*\", \"*.Health/Check\"]", "POST", "/pkg.Echo/Any", GRPC, NULL, "", YES},
    {"grpc=[\"pkg.Echo/*\", \"*.Health/Check\"]", "POST", "/grpc.health.v1.Health/Check", GRPC,
     NULL, "", YES},
    {"grpc=[\"pkg.Echo/*\", \"*.Health/Check\"]", "POST", "/pkg.Admin/Drop", GRPC, NULL, "", NO},
    {DROP "\nheader=[{name=\"x-mark\", value=\"gamma\"}]", "POST", "/pkg.Admin/Drop", GRPC, NULL,
     "", NO},
    {DROP "\nlimit=\"1/min\"", "POST", "/pkg.Other/Drop", GRPC, NULL, "", NO},
};

static void test_grpc(void **state)
{
    (void)state;
    check_table(grpc_rows, sizeof grpc_rows / sizeof *grpc_rows);
}

static void test_graphql(void **state)
{
    (void)state;
    check_table(graphql_rows, sizeof graphql_rows / sizeof *graphql_rows);
}

static void test_mcp(void **state)
{
    (void)state;
    check_table(mcp_rows, sizeof mcp_rows / sizeof *mcp_rows);
}

static void test_git(void **state)
{
    (void)state;
    check_table(git_rows, sizeof git_rows / sizeof *git_rows);
}

static void test_prior(void **state)
{
    (void)state;
    check_table(prior_rows, sizeof prior_rows / sizeof *prior_rows);
}

/* ---- unverifiable ---- */

static struct gvm_verdict one(const char *rules, struct gvm_str body, bool whole)
{
    struct gvm_ruleset *rs = good(rules);
    const struct row r = {.method = "POST", .target = "/", .type = JSON, .body = "x"};
    struct gvm_verdict v = judge_row(rs, &r, body, whole);
    v.name = v.reason = (struct gvm_str){0};
    v.limit = NULL;
    gvm_rules_free(rs);
    return v;
}

static void test_unverifiable(void **state)
{
    static const struct {
        const char *decision, *key;
        enum gvm_decision want;
        int rule;
    } rows[] = {
        {"Deny", "", GVM_DENY, 0},
        {"RequireApproval", "", GVM_DENY, 0},
        {"Delay", "", GVM_DENY, 0},
        {"AuditOnly", "", GVM_DENY, 0},
        {"Allow", "", GVM_ALLOW, 1}, /* no match: the rest */
        {"Deny", "unverifiable=\"RequireApproval\"\n", GVM_REQUIRE_APPROVAL, 0},
        {"Deny", "unsafe_body_action={type=\"Allow\"}\n", GVM_ALLOW, 0},
        {"Allow", "unverifiable={type=\"Deny\", reason=\"no\"}\n", GVM_DENY, 0},
        {"Deny", "unverifiable=\"next\"\n", GVM_ALLOW, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char key[512], text[2048];
        snprintf(key, sizeof key, "%sbody=[{path=\"$.a\", value=1}]", rows[i].key);
        narrow_rules(text, sizeof text, key, rows[i].decision, "Allow");
        struct gvm_verdict v = one(text, GVM_STR("{broken"), true);
        if (v.decision != rows[i].want || v.rule != rows[i].rule)
            fail_msg("row %zu: %s by rule %d", i, gvm_decision_name(v.decision), v.rule);
        assert_int_equal(v.unverifiable, rows[i].rule == 0);
        assert_true(rows[i].rule || v.why[0]);
    }
}

/* Exactly the limit is looked at, one byte more is not; nor is the beginning of more. */
static void test_size(void **state)
{
    char body[200], text[2048];
    (void)state;
    narrow_rules(text, sizeof text, "max_body_bytes=100\nbody=[{path=\"$.a\", value=1}]", "Deny",
                 "Allow");
    for (size_t n = 99; n <= 101; n++) {
        memset(body, ' ', sizeof body);
        memcpy(body, "{\"a\":2}", 7);
        struct gvm_verdict v = one(text, (struct gvm_str){body, n}, true);
        assert_int_equal(v.decision, n <= 100 ? GVM_ALLOW : GVM_DENY);
        assert_int_equal(v.unverifiable, n > 100);
        v = one(text, (struct gvm_str){body, n}, false);
        assert_int_equal(v.decision, GVM_DENY);
    }
}

/* ---- floors ---- */

#define TWO_CALLS "[" CALL("a", "{}") "," CALL("b", "{}") "]"

static void test_floor(void **state)
{
    static const struct {
        const char *a, *b, *rest;
        enum gvm_decision want;
        int rule;
    } rows[] = {
        {"Allow", "Allow", "Deny", GVM_DENY, 2}, /* each allows a part only */
        {"Allow", "Deny", "Allow", GVM_DENY, 1},
        {"Delay", "Allow", "Deny", GVM_DENY, 2},
        {"Delay", "Allow", "Allow", GVM_DELAY, 0},
        {"Delay", "RequireApproval", "Allow", GVM_REQUIRE_APPROVAL, 1},
        {"RequireApproval", "Delay", "Allow", GVM_REQUIRE_APPROVAL, 0},
        {"RequireApproval", "Delay", "RequireApproval", GVM_REQUIRE_APPROVAL, 0},
        {"AuditOnly", "Allow", "Delay", GVM_DELAY, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[2048];
        snprintf(text, sizeof text,
                 "[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\nmcp={tool=\"a\"}\ndecision=\"%s\"\n"
                 "[[rules]]\nmethod=\"*\"\npattern=\"*/\"\nmcp={tool=\"b\"}\ndecision=\"%s\"\n"
                 "[[rules]]\nmethod=\"*\"\npattern=\"*\"\ndecision=\"%s\"\n",
                 rows[i].a, rows[i].b, rows[i].rest);
        struct gvm_verdict v = one(text, GVM_STR(TWO_CALLS), true);
        if (v.decision != rows[i].want || v.rule != rows[i].rule)
            fail_msg("row %zu: %s by rule %d", i, gvm_decision_name(v.decision), v.rule);
    }
}

/* The body is asked for only when a rule before the deciding one needs it. */
static void test_needs(void **state)
{
    static const struct {
        const char *rules;
        bool needs;
    } rows[] = {
        {"[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\ndecision=\"Allow\"\n"
         "[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\nbody={path=\"$.a\",value=1}\ndecision="
         "\"Deny\"\n",
         false},
        {"[[rules]]\nmethod=\"*\"\npattern=\"a.test/other\"\nbody={path=\"$.a\",value=1}\n"
         "decision=\"Deny\"\n",
         false},
        {"[[rules]]\nmethod=\"GET\"\npattern=\"a.test\"\nbody={path=\"$.a\",value=1}\ndecision="
         "\"Deny\"\n",
         false},
        {"[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\nheader={name=\"x-no\",op=\"exists\"}\n"
         "body={path=\"$.a\",value=1}\ndecision=\"Deny\"\n",
         false},
        {"[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\nbody={path=\"$.a\",value=1}\ndecision="
         "\"Deny\"\n"
         "[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\ndecision=\"Allow\"\n",
         true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_ruleset *rs = good(rows[i].rules);
        struct gvm_verdict v;
        assert_true(judge(rs, "POST", "a.test", "/", "", &v));
        if (v.needs_body != rows[i].needs)
            fail_msg("row %zu", i);
        assert_true(!v.needs_body || (v.decision == GVM_DENY && v.max_body == GVM_INSPECT));
        gvm_rules_free(rs);
    }
}

/* ---- time ---- */

static bool in_window(const char *condition, const char *at)
{
    char text[1024];
    struct gvm_verdict v;
    int64_t now;
    assert_int_equal(gvm_time_parse(gvm_str(at), &now), 0);
    snprintf(
        text, sizeof text,
        "[policy]\ndefault=\"Deny\"\n[[rules]]\nmethod=\"*\"\npattern=\"*\"\ndecision=\"Allow\"\n"
        "condition={kind=\"time_window\", %s}\n",
        condition);
    struct gvm_ruleset *rs = good(text);
    struct gvm_facts f = {.method = GVM_STR("GET"),
                          .host = GVM_STR("a.test"),
                          .port = 443,
                          .path = GVM_STR("/"),
                          .now_ns = now};
    gvm_rules_decide(rs, &f, &v);
    gvm_rules_free(rs);
    return v.decision == GVM_ALLOW;
}

static void test_window(void **state)
{
    static const struct {
        const char *condition, *at;
        bool in;
    } rows[] = {
        {"window=\"09:00-17:00\"", "2030-01-02T09:00:00Z", true},
        {"window=\"09:00-17:00\"", "2030-01-02T08:59:59.999Z", false},
        {"window=\"09:00-17:00\"", "2030-01-02T16:59:59Z", true},
        {"window=\"09:00-17:00\"", "2030-01-02T17:00:00Z", false},
        {"window=\"09:00-17:00\", outside=true", "2030-01-02T17:00:00Z", true},
        {"window=\"22:00-06:00\"", "2030-01-02T23:00:00Z", true},
        {"window=\"22:00-06:00\"", "2030-01-02T05:59:00Z", true},
        {"window=\"22:00-06:00\"", "2030-01-02T06:00:00Z", false},
        {"window=\"09:00-17:00\"", "1969-12-31T09:00:00Z", true},
        {"window=\"09:00-17:00\"", "1969-12-31T08:59:59.5Z", false},
        /* Berlin: winter +1, summer +2; the last Sundays of March and October */
        {"window=\"09:00-10:00\", tz=\"Europe/Berlin\"", "2030-01-02T08:00:00Z", true},
        {"window=\"09:00-10:00\", tz=\"Europe/Berlin\"", "2030-07-02T07:00:00Z", true},
        {"window=\"09:00-10:00\", tz=\"Europe/Berlin\"", "2030-07-02T08:00:00Z", false},
        {"window=\"01:59-02:00\", tz=\"Europe/Berlin\"", "2030-03-31T00:59:59Z", true},
        {"window=\"03:00-03:01\", tz=\"Europe/Berlin\"", "2030-03-31T01:00:00Z", true},
        {"window=\"02:59-03:00\", tz=\"Europe/Berlin\"", "2030-10-27T00:59:59Z", true},
        {"window=\"02:00-02:01\", tz=\"Europe/Berlin\"", "2030-10-27T01:00:00Z", true},
        {"window=\"03:00-03:01\", tz=\"Europe/Berlin\"", "2090-03-26T01:00:00Z", true},
        {"window=\"12:00-12:01\", tz=\"Asia/Kolkata\"", "2030-01-02T06:30:00Z", true},
        {"window=\"12:00-12:01\", tz=\"America/New_York\"", "2060-07-04T16:00:00Z", true},
        {"window=\"12:00-12:01\", tz=\"Australia/Sydney\"", "2060-01-04T01:00:00Z", true},
        {"window=\"12:00-12:01\", tz=\"Australia/Sydney\"", "2060-07-04T02:00:00Z", true},
        {"window=\"12:00-12:01\", tz=\"America/Sao_Paulo\"", "2060-07-04T15:00:00Z", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (in_window(rows[i].condition, rows[i].at) != rows[i].in)
            fail_msg("%s at %s", rows[i].condition, rows[i].at);
}

/* What the compiled form refuses. */
static void test_refused(void **state)
{
    static const char *const keys[] = {
        "body=[{path=\"amount\", value=1}]", "body=[{path=\"$.a[\", value=1}]",
        "body=[{path=\"$.a\", op=\"regex\", value=\"(\"}]", "git={push=\"main\"}",
        "header=[{name=\"x\", op=\"regex\", value=\"[\"}]"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[1024];
        struct gvm_ruleset *rs = NULL;
        struct gvm_err err = {0};
        narrow_rules(text, sizeof text, keys[i], "Deny", "Allow");
        if (load(text, &rs, &err) != -EINVAL ||
            !strstr(err.text, i == 3 ? "gvm.toml:4:" : "gvm.toml:6:"))
            fail_msg("%s: %s", keys[i], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),    cmocka_unit_test(test_head),
        cmocka_unit_test(test_form),    cmocka_unit_test(test_graphql),
        cmocka_unit_test(test_mcp),     cmocka_unit_test(test_git),
        cmocka_unit_test(test_prior),   cmocka_unit_test(test_unverifiable),
        cmocka_unit_test(test_size),    cmocka_unit_test(test_floor),
        cmocka_unit_test(test_needs),   cmocka_unit_test(test_window),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_grpc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
