/* cli/trace.h - gvm events trace. */
#ifndef GVM_CLI_TRACE_H
#define GVM_CLI_TRACE_H

/* argv[0] is "trace". */
int cli_trace(int argc, char **argv);

#endif
