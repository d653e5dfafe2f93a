/* core/limits.h - every maximum of the program, in one list.
 *
 * A buffer, table or queue that bytes from outside can grow takes its bound from here.
 */
#ifndef GVM_CORE_LIMITS_H
#define GVM_CORE_LIMITS_H

#define GVM_MAX_ENTRY      65535u /* one ledger entry, bytes (C2SP tlog-tiles: uint16 length) */
#define GVM_MAX_FRAME      (128u * 1024u) /* one message between our processes, bytes */
#define GVM_MAX_FRAME_FDS  8u             /* descriptors beside one message */
#define GVM_MAX_HEAD       (64u * 1024u)  /* request or response head, bytes */
#define GVM_MAX_HEADERS    200u           /* header fields in one head */
#define GVM_MAX_TRAILERS   8192u          /* all trailer fields of one body, bytes */
#define GVM_MAX_TARGET     (16u * 1024u)  /* request target, bytes */
#define GVM_MAX_HOST       253u           /* a name in A-label form, bytes without NUL (RFC 1035) */
#define GVM_MAX_METHOD     32u            /* method token, bytes */
#define GVM_MAX_RUN_ID     32u            /* run id, bytes without NUL */
#define GVM_MAX_AGENT      64u            /* agent id, bytes without NUL */
#define GVM_MAX_NAME       128u           /* rule name, bytes without NUL */
#define GVM_MAX_REASON     256u           /* reason text of a rule, bytes without NUL */
#define GVM_MAX_CONFIG     (8u << 20)     /* gvm.toml, bytes */
#define GVM_MAX_RULES      200000u        /* rules in one file */
#define GVM_MAX_REGEX      10000u         /* one path_regex, bytes */
#define GVM_MAX_JSON_DEPTH 64u            /* nesting of any JSON we read */
#define GVM_MAX_JSON_STEPS 16u            /* steps of one path into JSON */
#define GVM_MAX_JSON_WALK  200000u        /* nodes one path looks at */
#define GVM_MAX_CODINGS    4u             /* content codings around one body */
#define GVM_MAX_INSPECT    (16u << 20)    /* largest max_body_bytes of a rule, bytes */
#define GVM_INSPECT        (1u << 20)     /* max_body_bytes when a rule has none */
#define GVM_MAX_FORM       1000u          /* fields of one form or query */
#define GVM_MAX_GRAPHQL    10000u         /* fields, fragments or operations of one document */
#define GVM_MAX_GIT_REFS   1000u          /* refs of one push */
#define GVM_MAX_TESTS      32u            /* tests of one list in a rule */
#define GVM_MAX_TLS_HELLO  (16u * 1024u)  /* ClientHello, bytes */
#define GVM_MAX_DNS        4096u          /* one DNS message, bytes */
#define GVM_MAX_DNS_NAMES  65536u         /* synthetic names of one run */
#define GVM_MAX_PENDING    1000u          /* approvals waiting */
#define GVM_MAX_STREAMS    100u           /* requests at a time of one HTTP/2 connection */
#define GVM_RUN_STREAMS    1000u          /* the same, of one run */
#define GVM_ALL_STREAMS    4000u          /* and of all */
#define GVM_RUN_MEMORY     (128u << 20)   /* bytes of one run that wait to be passed on */
#define GVM_ALL_MEMORY     (512u << 20)   /* and of all runs */
#define GVM_MAX_CONNS      4096u          /* agent connections of one run */
#define GVM_MAX_RUNS       256u           /* live runs of one daemon */
#define GVM_STREAM_HIGH    (256u * 1024u) /* stop reading when the other side owes this much */
#define GVM_STREAM_LOW     (64u * 1024u)  /* start reading again below this */

#endif
