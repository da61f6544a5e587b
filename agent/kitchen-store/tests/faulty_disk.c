/* A disk that fails on command, loaded before libc: the FAULT_AT-th call below FAULT_DIRECTORY that changes the disk, and
 * FAULT_COUNT - 1 after it, fail with FAULT_ERRNO, and all calls as long as the file FAULT_WHILE exists. Otherwise it only
 * counts; FAULT_REPORT gets the number of calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static void report(void) {
    const char *path = getenv("FAULT_REPORT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", calls);
        fclose(file);
    }
}

__attribute__((constructor)) static void begin(void) { atexit(report); }

static int is_below(const char *path) {
    const char *directory = getenv("FAULT_DIRECTORY");
    return directory && path && strncmp(path, directory, strlen(directory)) == 0;
}

static int is_file_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int fails(void) {
    pthread_mutex_lock(&lock);
    long call = ++calls, at = number("FAULT_AT", 0), count = number("FAULT_COUNT", 1);
    pthread_mutex_unlock(&lock);
    const char *file = getenv("FAULT_WHILE");
    int is_chosen = at != 0 && call >= at && call < at + count;
    if (!is_chosen && !(file && access(file, F_OK) == 0)) return 0;
    errno = (int)number("FAULT_ERRNO", EIO);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t size) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(write)(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(pwrite)(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(pwrite64)(fd, bytes, size, at);
}

int fsync(int fd) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
    if (is_below(to) && fails()) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (is_below(path) && fails()) return -1;
    return REAL(unlink)(path);
}

int ftruncate(int fd, off_t size) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(ftruncate64)(fd, size);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    if (is_file_below(fd) && fails()) return -1;
    return REAL(fallocate64)(fd, mode, at, size);
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) && is_below(path) && fails()) return -1;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened("open64", path, flags, mode);
}
