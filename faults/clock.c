/* The wall clock of a process, off by as many seconds as a file says: for LD_PRELOAD, see clock.py.

   Clocks that only run forwards are left alone. A deadline by the time of day was computed with the clock that is off, and
   the kernel has the right one, so it is put right on its way; a deadline by another clock is none of this millennium. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long long none = 0;
static const volatile long long *seconds = &none;
static int (*real)(clockid_t, struct timespec *);
static int (*wait_condition)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*wait_semaphore)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&wait_condition = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* x86-64 has an older one, too */
    if (!wait_condition) *(void **)&wait_condition = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    *(void **)&wait_semaphore = dlsym(RTLD_NEXT, "sem_timedwait");
    if (file >= 0) {
        void *mapped = mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED) seconds = mapped;
    }
}

int clock_gettime(clockid_t which, struct timespec *at) {
    if (!real) begin();
    int code = real(which, at);
    if (!code && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += *seconds;
    return code;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static struct timespec right(const struct timespec *deadline) {
    struct timespec at = *deadline;
    if (at.tv_sec > 1000000000) at.tv_sec -= *seconds;
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    if (!wait_condition) begin();
    struct timespec at = right(deadline);
    return wait_condition(condition, mutex, &at);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    if (!wait_semaphore) begin();
    struct timespec at = right(deadline);
    return wait_semaphore(semaphore, &at);
}
