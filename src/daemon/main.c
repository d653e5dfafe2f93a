#include "daemon/daemon.h"

int main(int argc, char **argv)
{
    return gvm_daemon_main(argc, argv);
}
