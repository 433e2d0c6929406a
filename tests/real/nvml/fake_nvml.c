/* A libnvidia-ml.so.1 of cards that do not exist, built by the tests against the real nvml.h.

   The environment says what there is, words apart from each other by blanks:

     FAKE_NVML="cards=2 mig=0 shared lost=1 bare=1 unified=0 mute=0 hang init=9 ledger=DIR other=BYTES total=BYTES pid=PID held=BYTES"

   cards=N    so many cards of 16 GiB (or `total`), 596 MiB used, 434 MiB reserved
   mig=I      card I is in MIG mode, with slices 0 and 2 of 5 GiB;  nomig=I: in MIG mode without slices
   shared     slices 0 and 2 are two compute instances of one GPU instance
   lost=I     every call about card I says "GPU is lost";  sick=I: no handle at all, "GPU is lost"
   bare=I     card I supports nothing but name, UUID and memory
   unified=I  card I has no memory of its own: memory is "not supported"
   mute=I     the memory of card I cannot be read: an error that says no more
   init=C     nvmlInit fails with that code;  hang: nvmlInit never returns
   ledger=DIR other=BYTES card 0's use is the sum of the files of a software card (tests/real/softgpu) and `other`, and its processes are
              their names;  ledger1=DIR: the same of card 1, without `other`, by processes called llama-server and not ollama
   pid=P held=B   process P holds B bytes of card 0

   With -DOLD it is a driver from before 510: no second form of the memory, of the processes and of the event reasons, and `used` holds
   what is reserved. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <nvml.h>

#define MIB (1ull << 20)
#define HANDLE(i) ((nvmlDevice_t)(size_t)((i) + 1))
#define SLICE(i, s) ((nvmlDevice_t)(size_t)(1000 + (i) * 10 + (s)))

static const char *words(void) { const char *w = getenv("FAKE_NVML"); return w ? w : ""; }

static const char *find(const char *key) {
    size_t n = strlen(key);
    for (const char *w = words(); *w;) {
        while (*w == ' ') w++;
        if (!strncmp(w, key, n)) return w + n;
        while (*w && *w != ' ') w++;
    }
    return NULL;
}
static int is(const char *key, int i) { const char *v = find(key); return v && atoi(v) == i; }
static unsigned long long value(const char *key, unsigned long long other) { const char *v = find(key); return v ? strtoull(v, NULL, 10) : other; }
static int number(nvmlDevice_t d) { size_t n = (size_t)d; return n >= 1000 ? (int)((n - 1000) / 10) : (int)n - 1; }
static int slice(nvmlDevice_t d) { size_t n = (size_t)d; return n >= 1000 ? (int)((n - 1000) % 10) : -1; }
#define ALIVE(d) if (is("lost=", number(d))) return NVML_ERROR_GPU_IS_LOST
#define RICH(d) ALIVE(d); if (is("bare=", number(d))) return NVML_ERROR_NOT_SUPPORTED

static const char *ledger(int card) { return card == 0 ? find("ledger=") : card == 1 ? find("ledger1=") : NULL; }
static int told(int card) { return ledger(card) || (card == 0 && find("pid=")); }

static int holders(int card, unsigned *pids, unsigned long long *bytes, int most) {
    int n = 0;
    const char *at = ledger(card);
    if (at) {
        char dir[4096], path[8192];
        size_t length = strcspn(at, " ");
        snprintf(dir, sizeof dir, "%.*s", (int)length, at);
        DIR *open = opendir(dir);
        for (struct dirent *e; open && (e = readdir(open)) && n < most;) {
            if (e->d_name[0] < '0' || e->d_name[0] > '9') continue;
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            FILE *f = fopen(path, "r");
            unsigned long long b = 0;
            if (f) { if (fscanf(f, "%llu", &b) != 1) b = 0; fclose(f); }
            pids[n] = (unsigned)atoi(e->d_name); bytes[n++] = b;
        }
        if (open) closedir(open);
    }
    if (card == 0 && find("pid=") && n < most) { pids[n] = (unsigned)value("pid=", 0); bytes[n++] = value("held=", 0); }
    return n;
}

static unsigned long long used(nvmlDevice_t d) {
    if (slice(d) >= 0) return 11 * MIB;
    if (!told(number(d))) return 596 * MIB;
    unsigned pids[64]; unsigned long long bytes[64], sum = 0;
    for (int n = holders(number(d), pids, bytes, 64), i = 0; i < n; i++) sum += bytes[i];
    return sum + (number(d) == 0 ? value("other=", 0) : 0);
}
static unsigned long long total(nvmlDevice_t d) { return slice(d) >= 0 ? 4864 * MIB : value("total=", 16376 * MIB); }

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    if (find("hang")) for (;;) pause();
    return (nvmlReturn_t)value("init=", NVML_SUCCESS);
}
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t r) { return r == NVML_ERROR_DRIVER_NOT_LOADED ? "Driver Not Loaded" : "an error of NVML"; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *v, unsigned int n) { snprintf(v, n, "%s", "570.86.15"); return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12080; return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int n) {
    unsigned pids[64]; unsigned long long bytes[64];
    const char *called = "/usr/bin/ollama";
    for (int there = holders(1, pids, bytes, 64), i = 0; i < there; i++) if (pids[i] == pid) called = "/usr/bin/llama-server";
    snprintf(name, n, "%s", called);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n) { *n = (unsigned)value("cards=", 1); return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *d) {
    if (is("sick=", (int)i)) return NVML_ERROR_GPU_IS_LOST;
    *d = HANDLE(i);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *u, unsigned int n) {
    ALIVE(d);
    if (slice(d) >= 0) snprintf(u, n, "MIG-0000000%d-0000-0000-0000-00000000000%d", number(d), slice(d));
    else snprintf(u, n, "GPU-0000000%d-1111-2222-3333-444444444444", number(d));
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned int n) {
    ALIVE(d);
    snprintf(name, n, slice(d) >= 0 ? "NVIDIA A100-SXM4-40GB MIG 1g.5gb" : "NVIDIA RTX 4080 SUPER");
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
    ALIVE(d);
    if (is("unified=", number(d))) return NVML_ERROR_NOT_SUPPORTED;
    if (is("mute=", number(d))) return NVML_ERROR_UNKNOWN;
    m->total = total(d); m->used = used(d) + 434 * MIB; m->free = m->total - m->used;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t s, unsigned int *t) { (void)s; RICH(d); *t = 61; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned int *p) { RICH(d); *p = 33120; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned int *p) { RICH(d); *p = 320000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *u) {
    RICH(d);
    if (is("mig=", number(d))) return NVML_ERROR_NOT_SUPPORTED;
    u->gpu = 7; u->memory = 1;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) { RICH(d); *major = 8; *minor = 9; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, nvmlMemoryErrorType_t t, nvmlEccCounterType_t c, unsigned long long *n) {
    RICH(d);
    if (t != NVML_MEMORY_ERROR_TYPE_UNCORRECTED || c != NVML_VOLATILE_ECC) return NVML_ERROR_INVALID_ARGUMENT;
    *n = value("ecc=", 0);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *now, unsigned int *later) {
    RICH(d);
    *now = *later = is("mig=", number(d)) || is("nomig=", number(d)) ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned int *n) { ALIVE(d); *n = 7; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned int s, nvmlDevice_t *part) {
    if (!is("mig=", number(d)) || (s != 0 && s != 2)) return NVML_ERROR_NOT_FOUND;
    *part = SLICE(number(d), s);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t d, unsigned int *id) {
    if (slice(d) < 0) return NVML_ERROR_INVALID_ARGUMENT;
    *id = find("shared") ? 2 : (unsigned)slice(d) + 7;
    return NVML_SUCCESS;
}
static nvmlReturn_t processes(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_v2_t *to) {
    unsigned pids[64]; unsigned long long bytes[64];
    RICH(d);
    unsigned there = slice(d) < 0 ? (unsigned)holders(number(d), pids, bytes, 64) : 0, room = *n;
    *n = there;
    if (!there) return NVML_SUCCESS;
    if (room < there || !to) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < there; i++) to[i] = (nvmlProcessInfo_v2_t){pids[i], bytes[i], 0xFFFFFFFF, 0xFFFFFFFF};
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_v2_t *to) { return processes(d, n, to); }
static const unsigned long long THROTTLE = nvmlClocksEventReasonGpuIdle | nvmlClocksThrottleReasonHwThermalSlowdown;
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t d, unsigned long long *r) { RICH(d); *r = THROTTLE; return NVML_SUCCESS; }
#ifndef OLD
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *m) {
    ALIVE(d);
    if (m->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (is("unified=", number(d))) return NVML_ERROR_NOT_SUPPORTED;
    if (is("mute=", number(d))) return NVML_ERROR_UNKNOWN;
    m->total = total(d); m->used = used(d); m->reserved = 434 * MIB; m->free = m->total - m->used - m->reserved;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *to) { return processes(d, n, (nvmlProcessInfo_v2_t *)to); }
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t d, unsigned long long *r) { return nvmlDeviceGetCurrentClocksThrottleReasons(d, r); }
#endif
