/*
 * A stand-in for libnvidia-ml.so.1: every call reads its answer from the text file named by NVML_STUB.
 *
 * Written against the public ABI as nvidia-ml-py declares it (pynvml.py: argument types and structures).
 * A line of the file is `KEY VALUE`; the last line of a key wins; `#` begins a comment.
 *
 *   count N                     GPUs the driver sees
 *   driver CODE                 what nvmlInit returns
 *   hang SECONDS                nvmlDeviceGetCount blocks that long
 *   G.hang SECONDS              every call about GPU G blocks that long
 *   G.return CODE               every call about GPU G returns CODE (15: lost)
 *   G.NAME.return CODE          calls that read NAME of GPU G return CODE
 *   G.NAME VALUE                the value (defaults stand in the calls below); `*` for G: all GPUs
 *   xid.N G CODE                the N-th Xid, counted from 0, told when the file holds it
 *
 * Built with -DOLD_DRIVER some symbols are missing, as in drivers that do not know them yet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GPUS 64
#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define TIMEOUT 10

typedef struct gpu { int index; } gpu_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int version; int margin; } margin_t;
typedef union { double d; unsigned int ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } value_t;
typedef struct {
    unsigned int field, scope;
    long long timestamp, latency;
    unsigned int type, result;
    value_t value;
} field_t;
typedef struct { gpu_t *device; unsigned long long type, data; unsigned int instance, compute; } event_t;

static gpu_t gpus[GPUS];
static int initialised, told, registered[GPUS];
static int event_set;

static int look(const char *key, char *out, size_t size)
{
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256], name[128], rest[128];
    int found = 0;
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (line[0] != '#' && sscanf(line, "%127s %127[^\n]", name, rest) == 2 && !strcmp(name, key)) {
            snprintf(out, size, "%s", rest);
            found = 1;
        }
    fclose(file);
    return found;
}

static double number(const char *key, double otherwise)
{
    char text[128];
    return look(key, text, sizeof text) ? atof(text) : otherwise;
}

static double of_gpu(int gpu, const char *name, double otherwise)
{
    char key[128];
    snprintf(key, sizeof key, "*.%s", name);
    otherwise = number(key, otherwise);
    snprintf(key, sizeof key, "%d.%s", gpu, name);
    return number(key, otherwise);
}

static void pause_seconds(double seconds)
{
    struct timespec span = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    if (seconds > 0) nanosleep(&span, NULL);
}

/* What every call about a GPU does first. */
static int enter(gpu_t *gpu, const char *name)
{
    char key[128];
    int code;
    if (!initialised) return UNINITIALIZED;
    if (!gpu || gpu < gpus || gpu >= gpus + GPUS) return INVALID_ARGUMENT;
    pause_seconds(of_gpu(gpu->index, "hang", 0));
    code = (int)of_gpu(gpu->index, "return", SUCCESS);
    if (code != SUCCESS) return code;
    snprintf(key, sizeof key, "%s.return", name);
    return (int)of_gpu(gpu->index, key, SUCCESS);
}

#define READS_UINT(CALL, NAME, OTHERWISE)                                \
    int CALL(gpu_t *gpu, unsigned int *out)                              \
    {                                                                    \
        int code = enter(gpu, NAME);                                     \
        if (code == SUCCESS) *out = (unsigned int)of_gpu(gpu->index, NAME, OTHERWISE); \
        return code;                                                     \
    }

int nvmlInitWithFlags(unsigned int flags)
{
    int code = (int)number("driver", SUCCESS), i;
    (void)flags;
    for (i = 0; i < GPUS; i++) gpus[i].index = i;
    initialised += code == SUCCESS;
    return code;
}

int nvmlShutdown(void)
{
    if (!initialised) return UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    int code = (int)number("driver", SUCCESS);
    if (!initialised) return UNINITIALIZED;
    pause_seconds(number("hang", 0));
    *count = (unsigned int)number("count", 1);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, gpu_t **out)
{
    int code;
    if (index >= (unsigned int)number("count", 1)) return INVALID_ARGUMENT;
    code = enter(&gpus[index], "handle");
    if (code == SUCCESS) *out = &gpus[index];
    return code;
}

int nvmlDeviceGetUUID(gpu_t *gpu, char *out, unsigned int size)
{
    int code = enter(gpu, "uuid");
    if (code == SUCCESS) snprintf(out, size, "GPU-%08x-0000-0000-0000-000000000000", (unsigned int)gpu->index);
    return code;
}

READS_UINT(nvmlDeviceGetPowerUsage, "power_mw", 310500)
READS_UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw", 700000)
READS_UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default_mw", 700000)
READS_UINT(nvmlDeviceGetPcieReplayCounter, "pcie_replays", 3)
READS_UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", 16)
READS_UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation", 5)

int nvmlDeviceGetFanSpeed(gpu_t *gpu, unsigned int *out)
{
    /* Boards without fans, as in a server, do not support the question. */
    int code = enter(gpu, "fan_percent");
    double percent = code == SUCCESS ? of_gpu(gpu->index, "fan_percent", -1) : -1;
    if (code != SUCCESS) return code;
    if (percent < 0) return NOT_SUPPORTED;
    *out = (unsigned int)percent;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(gpu_t *gpu, unsigned int sensor, unsigned int *out)
{
    int code = enter(gpu, "temperature");
    if (code != SUCCESS) return code;
    if (sensor != 0) return INVALID_ARGUMENT;
    *out = (unsigned int)of_gpu(gpu->index, "temperature", 61);
    return SUCCESS;
}

int nvmlDeviceGetTemperatureThreshold(gpu_t *gpu, unsigned int threshold, unsigned int *out)
{
    const char *name = threshold == 0 ? "shutdown" : "slowdown";
    int code = enter(gpu, name);
    if (code != SUCCESS) return code;
    if (threshold > 1) return NOT_SUPPORTED;
    *out = (unsigned int)of_gpu(gpu->index, name, threshold == 0 ? 94 : 89);
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(gpu_t *gpu, unsigned long long *out)
{
    int code = enter(gpu, "energy_mj");
    if (code == SUCCESS) *out = (unsigned long long)of_gpu(gpu->index, "energy_mj", 123456789000.0);
    return code;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetMarginTemperature(gpu_t *gpu, margin_t *out)
{
    int code = enter(gpu, "margin");
    if (code != SUCCESS) return code;
    if (out->version != (sizeof(margin_t) | 1u << 24)) return 25;
    out->margin = (int)of_gpu(gpu->index, "margin", 26);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(gpu_t *gpu, unsigned long long *out)
{
    int code = enter(gpu, "reasons");
    if (code == SUCCESS) *out = (unsigned long long)of_gpu(gpu->index, "reasons", 4);
    return code;
}
#endif

int nvmlDeviceGetClockInfo(gpu_t *gpu, unsigned int type, unsigned int *out)
{
    const char *name = type == 1 ? "sm_mhz" : "memory_mhz";
    int code = enter(gpu, name);
    if (code != SUCCESS) return code;
    if (type != 1 && type != 2) return NOT_SUPPORTED;
    *out = (unsigned int)of_gpu(gpu->index, name, type == 1 ? 1755 : 2619);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *out)
{
    int code = enter(gpu, "utilization_percent");
    if (code != SUCCESS) return code;
    out->gpu = (unsigned int)of_gpu(gpu->index, "utilization_percent", 97);
    out->memory = (unsigned int)of_gpu(gpu->index, "memory_utilization_percent", 41);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *out)
{
    int code = enter(gpu, "memory_used");
    if (code != SUCCESS) return code;
    out->total = (unsigned long long)of_gpu(gpu->index, "memory_total", 85520809984.0);
    out->used = (unsigned long long)of_gpu(gpu->index, "memory_used", 60129542144.0);
    out->free = out->total - out->used;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(gpu_t *gpu, unsigned int kind, unsigned int counter, unsigned long long *out)
{
    const char *name = kind == 0 ? "ecc_corrected" : "ecc_uncorrected";
    int code = enter(gpu, name);
    if (code != SUCCESS) return code;
    if (counter != 0) return NOT_SUPPORTED;
    *out = (unsigned long long)of_gpu(gpu->index, name, kind == 0 ? 12 : 0);
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(gpu_t *gpu, unsigned int *c, unsigned int *u, unsigned int *pending, unsigned int *failed)
{
    int code = enter(gpu, "remapped");
    if (code != SUCCESS) return code;
    *c = (unsigned int)of_gpu(gpu->index, "remapped_correctable", 0);
    *u = (unsigned int)of_gpu(gpu->index, "remapped_uncorrectable", 1);
    *pending = (unsigned int)of_gpu(gpu->index, "remapped_pending", 0);
    *failed = (unsigned int)of_gpu(gpu->index, "remapped_failed", 0);
    return SUCCESS;
}

int nvmlDeviceGetPcieThroughput(gpu_t *gpu, unsigned int counter, unsigned int *out)
{
    const char *name = counter == 0 ? "pcie_tx_kb" : "pcie_rx_kb";
    int code = enter(gpu, name);
    if (code == SUCCESS) *out = (unsigned int)of_gpu(gpu->index, name, counter == 0 ? 1200 : 3400);
    return code;
}

int nvmlDeviceGetFieldValues(gpu_t *gpu, int count, field_t *fields)
{
    char name[64];
    double value;
    int code = enter(gpu, "fields"), i;
    if (code != SUCCESS) return code;
    for (i = 0; i < count; i++) {
        unsigned int id = fields[i].field;
        int nvlink = id >= 161 && id <= 163;
        if (nvlink) snprintf(name, sizeof name, "field.%u.%u", id, fields[i].scope);
        else snprintf(name, sizeof name, "field.%u", id);
        value = of_gpu(gpu->index, name, nvlink ? (fields[i].scope < 2 ? 0 : -1) : id == 82 ? 74 : 2500000000.0);
        fields[i].result = value < 0 ? NOT_SUPPORTED : SUCCESS;
        fields[i].type = id == 82 ? 1 : 3;
        if (id == 82) fields[i].value.ui = (unsigned int)value;
        else fields[i].value.ull = value < 0 ? 0 : (unsigned long long)value;
    }
    return SUCCESS;
}

int nvmlEventSetCreate(int **out)
{
    *out = &event_set;
    return initialised ? (int)number("events", SUCCESS) : UNINITIALIZED;
}

int nvmlDeviceRegisterEvents(gpu_t *gpu, unsigned long long types, int *set)
{
    int code = enter(gpu, "register");
    if (code == SUCCESS && set == &event_set && types == 8) registered[gpu->index] = 1;
    return code;
}

int nvmlEventSetWait_v2(int *set, event_t *out, unsigned int milliseconds)
{
    char key[32], text[128];
    unsigned int waited;
    int gpu;
    unsigned long long code;
    for (waited = 0; set == &event_set && waited <= milliseconds; waited += 10) {
        snprintf(key, sizeof key, "xid.%d", told);
        if (look(key, text, sizeof text) && sscanf(text, "%d %llu", &gpu, &code) == 2 && registered[gpu]) {
            told++;
            memset(out, 0, sizeof *out);
            out->device = &gpus[gpu];
            out->type = 8;
            out->data = code;
            return SUCCESS;
        }
        pause_seconds(0.01);
    }
    return TIMEOUT;
}

int nvmlEventSetFree(int *set)
{
    return set == &event_set ? SUCCESS : INVALID_ARGUMENT;
}
