/* proxy/h2/h2.h - HTTP/2 (RFC 9113) towards agents and upstreams, by nghttp2.
 *
 * A session is one connection. The agent's side is a front: every stream is a px_request and goes
 * the way of every other request. The upstream's side is a back: requests of one run to one place
 * share connections, which this folder keeps while they are of use.
 *
 * Flow control. A connection's window is given back at once, so that no stream waits for another; a
 * stream's window only as the other side drains. What a stream can make us keep is therefore its
 * window, and what a connection can, its window times GVM_MAX_STREAMS; what a run can is bounded by
 * its bill (GVM_RUN_MEMORY).
 *
 * Nothing is sent from inside a callback: a session that has something to say is marked, and speaks
 * at the end of the turn of the loop, after the decisions of that turn went to the ledger
 * (batch.c).
 */
#ifndef GVM_PROXY_H2_H
#define GVM_PROXY_H2_H

#include "core/core.h"

struct px;
struct px_conn;
struct px_request;
struct px_run;
struct h2_front;

/* The preface of HTTP/2 follows on c->agent: bytes read so far are in c->in. Takes the connection
 * over; c->rq.state is PX_H2 until it ends. */
void px_h2_start(struct px_conn *c);
void px_h2_data(struct px_conn *c, const uint8_t *p, size_t n);
void px_h2_eof(struct px_conn *c);
void px_h2_drain(struct px_conn *c);
/* Ends every stream; owed outcomes are recorded with `error`. */
void px_h2_end(struct px_conn *c, const char *error);
void px_h2_free(struct px_conn *c); /* once the connection is closed */

/* Marked sessions speak. */
void px_h2_speak(struct px *px);

/* A live connection of that key takes the request: its back is set. False: none has room. `key`:
 * upstream_key(). */
bool px_h2_join(struct px_request *rq, struct gvm_str key);
/* rq->up is a fresh connection on which HTTP/2 was agreed; it becomes a session others of the same
 * key may join. False: out of memory; the stream is closed. */
bool px_h2_open(struct px_request *rq, struct gvm_str key);
/* Ends what is open for a run. */
void px_h2_forget_run(struct px *px, const char *run);

#endif
