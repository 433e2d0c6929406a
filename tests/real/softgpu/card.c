// A GPU in software: preloaded into llama.cpp's ggml-rpc-server, it gives that server's CPU device the size and the free
// memory of a card which several such processes share, and refuses an allocation that does not fit, as a real card does.
//
//   SOFTGPU_BYTES  size of the card
//   SOFTGPU_DIR    the card's ledger, a folder with
//                    lock     held while the card's use is added up and changed, so that two processes never both take
//                             the last bytes
//                    <pid>    bytes held by one process, in decimal; the process keeps an flock on it for as long as it
//                             lives, so that a file nobody locks belongs to a dead process (whatever its pid is now)
//                    foreign  bytes that somebody else uses, in decimal; anybody may write it at any time
//
// Interposed (ggml/include/ggml-backend.h): ggml_backend_dev_memory, ggml_backend_buft_alloc_buffer,
// ggml_backend_buffer_free. Without SOFTGPU_BYTES all three are what they were.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef struct ggml_backend_buffer *buffer_t;
typedef struct ggml_backend_buffer_type *buffer_type_t;
typedef struct ggml_backend_device *device_t;

static pthread_mutex_t in_process = PTHREAD_MUTEX_INITIALIZER;
static size_t held;          // bytes of this process
static int own_entry = -1;   // our file in the ledger, locked

static void die(const char *what) {
    fprintf(stderr, "softgpu: %s\n", what);
    abort();
}

static void *next(const char *symbol) {
    void *found = dlsym(RTLD_NEXT, symbol);
    if (!found) die(symbol);
    return found;
}

static size_t card_bytes(void) {
    const char *text = getenv("SOFTGPU_BYTES");
    return text ? strtoull(text, NULL, 10) : 0;
}

static const char *ledger(void) {
    const char *folder = getenv("SOFTGPU_DIR");
    if (!folder) die("SOFTGPU_DIR is not set");
    return folder;
}

static int open_entry(const char *name, int flags) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", ledger(), name) >= (int)sizeof path) die("SOFTGPU_DIR is too long");
    return open(path, flags | O_CLOEXEC, 0600);
}

static size_t number_in(int file) {
    char text[32] = {0};
    return pread(file, text, sizeof text - 1, 0) > 0 ? strtoull(text, NULL, 10) : 0;
}

static int lock_card(void) {
    pthread_mutex_lock(&in_process);
    int lock = open_entry("lock", O_CREAT | O_RDWR);
    if (lock < 0 || flock(lock, LOCK_EX)) die("cannot lock the card");
    return lock;
}

static void unlock_card(int lock) {
    close(lock);
    pthread_mutex_unlock(&in_process);
}

// Bytes in use on the card: ours, those of every live process, and foreign. The card must be locked.
static size_t used_bytes(void) {
    char mine[32];
    snprintf(mine, sizeof mine, "%d", (int)getpid());
    size_t sum = held;
    DIR *folder = opendir(ledger());
    if (!folder) die("cannot read the ledger");
    for (struct dirent *entry; (entry = readdir(folder));) {
        int foreign = !strcmp(entry->d_name, "foreign");
        int process = strspn(entry->d_name, "0123456789") == strlen(entry->d_name);
        if ((!foreign && !process) || !strcmp(entry->d_name, mine)) continue;
        int file = open_entry(entry->d_name, O_RDONLY);
        if (file < 0) continue;
        if (foreign || flock(file, LOCK_SH | LOCK_NB)) sum += number_in(file);
        close(file);
    }
    closedir(folder);
    return sum;
}

// Sets our bytes, in the ledger too. The card must be locked.
static void hold(size_t bytes) {
    char text[32];
    if (own_entry < 0) {
        snprintf(text, sizeof text, "%d", (int)getpid());
        own_entry = open_entry(text, O_CREAT | O_TRUNC | O_RDWR);
        if (own_entry < 0 || flock(own_entry, LOCK_EX | LOCK_NB)) die("cannot enter the ledger");
    }
    held = bytes;
    int length = snprintf(text, sizeof text, "%zu\n", held);
    if (pwrite(own_entry, text, length, 0) != length || ftruncate(own_entry, length)) die("cannot write the ledger");
}

void ggml_backend_dev_memory(device_t device, size_t *free_bytes, size_t *total_bytes) {
    static void (*real)(device_t, size_t *, size_t *);
    if (!real) real = next("ggml_backend_dev_memory");
    real(device, free_bytes, total_bytes);
    size_t card = card_bytes();
    if (!card) return;
    int lock = lock_card();
    size_t used = used_bytes();
    unlock_card(lock);
    *total_bytes = card;
    *free_bytes = used < card ? card - used : 0;
}

buffer_t ggml_backend_buft_alloc_buffer(buffer_type_t type, size_t size) {
    static buffer_t (*real)(buffer_type_t, size_t);
    static size_t (*size_of)(buffer_t);
    if (!real) real = next("ggml_backend_buft_alloc_buffer");
    if (!size_of) size_of = next("ggml_backend_buffer_get_size");
    size_t card = card_bytes();
    if (!card) return real(type, size);
    int lock = lock_card();
    size_t used = used_bytes();
    buffer_t buffer = NULL;
    if (used > card || size > card - used)
        fprintf(stderr, "softgpu: out of memory: %zu bytes wanted, %zu of %zu used\n", size, used, card);
    else if ((buffer = real(type, size)))
        hold(held + size_of(buffer));
    unlock_card(lock);
    return buffer;
}

void ggml_backend_buffer_free(buffer_t buffer) {
    static void (*real)(buffer_t);
    static size_t (*size_of)(buffer_t);
    if (!real) real = next("ggml_backend_buffer_free");
    if (!size_of) size_of = next("ggml_backend_buffer_get_size");
    size_t bytes = buffer && card_bytes() ? size_of(buffer) : 0;
    real(buffer);
    if (!bytes) return;
    int lock = lock_card();
    hold(bytes < held ? held - bytes : 0);
    unlock_card(lock);
}
