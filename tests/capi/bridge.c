/* A child for Windows that has no Python there: it hands its standard streams on to a service that
 * listens at port BRIDGE_PORT of this machine. Without a port, it says how it was called, and fails. */
#include <winsock2.h>

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>

static SOCKET service;

static DWORD WINAPI hand_in(LPVOID of) {
    char block[65536];
    int size;
    (void)of;
    while ((size = _read(0, block, sizeof block)) > 0)
        if (send(service, block, size, 0) != size) return 1;
    shutdown(service, SD_SEND);
    return 0;
}

int main(int count, char **arguments) {
    WSADATA data;
    char block[65536];
    int size;
    struct sockaddr_in address = {0};
    const char *port = getenv("BRIDGE_PORT");
    if (port == NULL) {
        for (int i = 1; i < count; i++) fprintf(stderr, "<%s>", arguments[i]);
        fprintf(stderr, "\n");
        return 3;
    }
    if (getenv("PID_FILE")) {
        FILE *file = fopen(getenv("PID_FILE"), "w");
        fprintf(file, "%lu", (unsigned long)GetCurrentProcessId());
        fclose(file);
    }
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    WSAStartup(MAKEWORD(2, 2), &data);
    service = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((u_short)atoi(port));
    if (connect(service, (struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "error: nobody listens at port %s\nhint: start it\n", port);
        return 4;
    }
    CreateThread(NULL, 0, hand_in, NULL, 0, NULL);
    while ((size = recv(service, block, sizeof block, 0)) > 0)
        if (_write(1, block, (unsigned)size) != size) return 1;
    return 0;
}
