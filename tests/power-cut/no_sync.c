/* A program that trusts the page cache: loaded before libc, no call that makes data durable does anything. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int fsync(int fd) {
    (void)fd;
    return 0;
}

int fdatasync(int fd) {
    (void)fd;
    return 0;
}

int syncfs(int fd) {
    (void)fd;
    return 0;
}

void sync(void) {}

int msync(void *at, size_t size, int flags) {
    (void)at, (void)size, (void)flags;
    return 0;
}

int sync_file_range(int fd, off64_t at, off64_t size, unsigned flags) {
    (void)fd, (void)at, (void)size, (void)flags;
    return 0;
}
