/* daemon - gvmd: opens files and sockets, reads the configuration, starts and wires the processes.
 * No logic.
 *
 * Owns:       the lock and listening socket in the runtime directory, the configurations in force,
 * the four children. Threads:    one; a poll loop. On failure: before serving: one sentence on
 * stderr and exit code 1 (2 usage, 3 already running). A child that dies is started again; one that
 * keeps dying ends the daemon.
 */
#ifndef GVM_DAEMON_H
#define GVM_DAEMON_H

/* main() of gvmd. */
int gvm_daemon_main(int argc, char **argv);

#endif
