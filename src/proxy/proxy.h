/* proxy - the data path: identify, canonicalise, decide, record, act. One event loop.
 *
 * Owns:       every agent and upstream connection, the runs registered with it, compiled rule sets.
 * Threads:    one.
 * On failure: the connection gets a refusal and closes; without keys or ledger nothing new is
 * forwarded. Holds no files and no long-lived secret; cannot exec.
 */
#ifndef GVM_PROXY_H
#define GVM_PROXY_H

/* main() of `gvmd --child proxy`. Parent channel on `fd`; START JSON {"resolvers":["ip",...],
 * "hosts":TEXT of /etc/hosts,"ca_bundle":PEM text by fd 0,"refuse":["ip:port",...] own sockets}. */
int gvm_proxy_main(int fd);

#endif
