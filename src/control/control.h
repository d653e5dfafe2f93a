/* control - the local API: registers runs, keeps approvals, answers gvm. Never sees agent bytes
 * unescaped.
 *
 * Owns:       the listening control socket, client connections, the table of live runs (with copies
 * of their listeners, so that a new proxy can have them), pending approvals. Threads:    one. On
 * failure: an approval that cannot be answered denies by timeout in the proxy.
 */
#ifndef GVM_CONTROL_H
#define GVM_CONTROL_H

/* main() of `gvmd --child control`. START JSON {"version":..} + 1 fd: the listening socket. */
int gvm_control_main(int fd);

#endif
