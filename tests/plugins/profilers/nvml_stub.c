/* A stand-in for libnvidia-ml.so.1: the entry points of NVIDIA's "NVML API Reference Guide" that
   deployq asks for, with two cards that nobody has. No real hardware is behind any figure here.
   The environment chooses: STUB_INIT, what nvmlInitWithFlags answers; STUB_PID, a process that holds 3 GiB
   of the first card; STUB_CARDS, how many cards there are. */
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu, compute; } process_t;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };
static const unsigned long long GIB = 1ull << 30;

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return number("STUB_INIT", SUCCESS); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = number("STUB_CARDS", 2);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    strncpy(name, (size_t)device == 1 ? "Stub 24" : "Stub 12", length);
    return SUCCESS;
}

/* The third card is as on a machine whose GPU has no memory of its own. */
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    if ((size_t)device > 2) return NOT_SUPPORTED;
    memory->total = ((size_t)device == 1 ? 24 : 12) * GIB;
    memory->free = memory->total - 4 * GIB;
    memory->used = 4 * GIB;
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned int *mhz) {
    (void)device;
    *mhz = type == 2 ? 10501 : 1;
    return SUCCESS;
}

int nvmlDeviceGetMemoryBusWidth(void *device, unsigned int *bits) {
    *bits = (size_t)device == 1 ? 384 : 192;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process_t *found) {
    int pid = number("STUB_PID", 0);
    if (!pid || (size_t)device != 1) { *count = 0; return SUCCESS; }
    if (!found) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    found[0].pid = (unsigned int)pid;
    found[0].used = 3 * GIB;
    found[0].gpu = found[0].compute = 0xFFFFFFFF;
    return SUCCESS;
}
