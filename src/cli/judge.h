/* cli/judge.h - one request judged as the data path would: shared by explain, test and replay. */
#ifndef GVM_CLI_JUDGE_H
#define GVM_CLI_JUDGE_H

#include "rules/rules.h"

/* What is asked. Views; they must outlive the judging. */
struct cli_question {
    struct gvm_str method, url; /* or HOST:PORT with tcp */
    struct gvm_str agent;
    struct gvm_str fields; /* "Name: value\r\n"... */
    struct gvm_str body;
    bool tcp, has_body;
    bool
        head_only; /* query, fields and body are not known (looks_at_body then says: cannot tell) */
    int64_t now_ns;
};

/* What came of it. */
struct cli_judged {
    char method[GVM_MAX_METHOD + 1];
    struct gvm_authority auth;
    struct gvm_buf path, query, type, coding;
    struct gvm_facts facts;
    struct gvm_verdict verdict;
    struct gvm_content *content; /* NULL when no rule looks at the body */
    bool opaque;                 /* intercept = "none": unread */
    bool refused;                /* 400 before any rule: `why` */
    bool looks_at_body;          /* some rule does */
    struct gvm_err why;
};

/* 0, also when the request is refused; -EINVAL: the question itself makes no sense (err). Free with
 * cli_judged_done() in any case. */
int cli_judge(const struct gvm_conf *conf, const struct gvm_ruleset *rs,
              const struct cli_question *q, struct cli_judged *ret,
              struct gvm_err *err) GVM_MUST_CHECK;
void cli_judged_done(struct cli_judged *j);

#endif
