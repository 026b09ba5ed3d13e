/* Preloaded into the processes of a run: sees what they do to files below one folder, and fails it.

   The files of CHAOS_ROOT are watched. Each call on them is a place: the call's name, and the
   path below CHAOS_ROOT with the number in ".NAME.PID.tmp" and the letters in ".tmpABCDEF", a name
   of safetensors, as "#". By the environment, or by
   chaos_arm() in a process that is running:

   CHAOS_LOG     append each place to this file, a line each, in the order of the calls
   CHAOS_CALL, CHAOS_PATH, CHAOS_NTH   the place to fail at, and at which of its calls, from 1
   CHAOS_FAULT   "before": SIGKILL before the call; "after": SIGKILL after it; "torn": write half,
                 then SIGKILL; a number: the call fails with this errno, and so do all later calls
                 of this name, reads of this file only ("reads" stands for read and pread,
                 "writes" for all others)
   CHAOS_WHO     "self", or "group": the whole process group is killed
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX], call_wanted[32], path_wanted[PATH_MAX], fault[16], log_name[PATH_MAX];
static int nth = 0, seen = 0, group = 0, failing = 0, armed = 0;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside = 0;

void chaos_arm(const char *where, const char *log, const char *call, const char *path, int n,
               const char *what, int whole_group) {
    snprintf(root, sizeof root, "%s", where ? where : "");
    snprintf(log_name, sizeof log_name, "%s", log ? log : "");
    snprintf(call_wanted, sizeof call_wanted, "%s", call ? call : "");
    snprintf(path_wanted, sizeof path_wanted, "%s", path ? path : "");
    snprintf(fault, sizeof fault, "%s", what ? what : "");
    nth = n, group = whole_group, seen = failing = 0;
    armed = root[0] != 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *who = getenv("CHAOS_WHO"), *n = getenv("CHAOS_NTH");
    chaos_arm(getenv("CHAOS_ROOT"), getenv("CHAOS_LOG"), getenv("CHAOS_CALL"),
              getenv("CHAOS_PATH"), n ? atoi(n) : 0, getenv("CHAOS_FAULT"),
              who && !strcmp(who, "group"));
}

/* The path below the root, or NULL for a file that is not watched. */
static const char *below(const char *path, char *buffer) {
    size_t length = strlen(root);
    char full[PATH_MAX];
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return NULL;
        if (snprintf(full, sizeof full, "%s/%s", here, path) >= (int)sizeof full) return NULL;
        path = full;
    }
    if (strncmp(path, root, length) || (path[length] != '/' && path[length])) return NULL;
    path += length + (path[length] == '/');
    char *to = buffer;
    while (*path && to < buffer + PATH_MAX - 2) {
        if (*path == '.' && path[1] >= '0' && path[1] <= '9') {
            size_t digits = strspn(path + 1, "0123456789");
            if (!strcmp(path + 1 + digits, ".tmp")) {
                *to++ = '.', *to++ = '#';
                path += 1 + digits;
                continue;
            }
        }
        if (!strncmp(path, ".tmp", 4) && strlen(path) == 10 && !strchr(path, '/')) {
            to += sprintf(to, ".tmp#");
            break;
        }
        *to++ = *path++;
    }
    *to = 0;
    return buffer;
}

static const char *of_fd(int fd, char *buffer) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return NULL;
    path[length] = 0;
    return below(path, buffer);
}

static const char *of_at(int folder, const char *path, char *buffer) {
    if (path[0] == '/' || folder == AT_FDCWD) return below(path, buffer);
    char link[64], base[PATH_MAX], full[2 * PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length <= 0) return NULL;
    base[length] = 0;
    snprintf(full, sizeof full, "%s/%s", base, path);
    return below(full, buffer);
}

static void die(void) {
    kill(group ? 0 : getpid(), SIGKILL);
    for (;;) pause();
}

enum { GO, FAIL, AFTER, TORN };

static int is_read(const char *call) { return !strcmp(call, "read") || !strcmp(call, "pread"); }

/* What shall happen to a call on a watched file. */
static int meet(const char *call, const char *path) {
    int saved = errno, verdict = GO;
    inside = 1;
    pthread_mutex_lock(&mutex);
    if (log_name[0]) {
        char line[PATH_MAX + 40];
        int length = snprintf(line, sizeof line, "%s\t%s\n", call, path);
        int log = open(log_name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (log >= 0) {
            if (write(log, line, length) != length) abort();
            close(log);
        }
    }
    if (fault[0]) {
        int number = atoi(fault);
        int kind = !strcmp(call_wanted, "reads") ? is_read(call)
                   : !strcmp(call_wanted, "writes") ? !is_read(call)
                                                    : !strcmp(call, call_wanted);
        int here = !path_wanted[0] || !strcmp(path, path_wanted);
        if (kind && here && ++seen == nth) {
            if (number) failing = 1;
            else if (!strcmp(fault, "before")) die();
            else verdict = !strcmp(fault, "torn") ? TORN : AFTER;
        }
        if (failing && kind && (here || !is_read(call))) {
            verdict = FAIL;
            saved = number;
        }
    }
    pthread_mutex_unlock(&mutex);
    inside = 0;
    errno = saved;
    return verdict;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

#define PLAIN(call, failed, path, invocation) \
    char buffer[PATH_MAX]; \
    const char *place = armed && !inside ? (path) : NULL; \
    int verdict = place ? meet(call, place) : GO; \
    if (verdict == FAIL) return failed; \
    __auto_type result = invocation; \
    if (verdict == AFTER || verdict == TORN) die(); \
    return result;

int rename(const char *from, const char *to) {
    REAL(rename)
    PLAIN("rename", -1, below(to, buffer), real(from, to))
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat)
    PLAIN("rename", -1, of_at(b, to, buffer), real(a, from, b, to))
}
int renameat2(int a, const char *from, int b, const char *to, unsigned int flags) {
    REAL(renameat2)
    PLAIN("rename", -1, of_at(b, to, buffer), real(a, from, b, to, flags))
}
int fsync(int fd) {
    REAL(fsync)
    PLAIN("fsync", -1, of_fd(fd, buffer), real(fd))
}
int fdatasync(int fd) {
    REAL(fdatasync)
    PLAIN("fsync", -1, of_fd(fd, buffer), real(fd))
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir)
    PLAIN("mkdir", -1, below(path, buffer), real(path, mode))
}
int unlink(const char *path) {
    REAL(unlink)
    PLAIN("unlink", -1, below(path, buffer), real(path))
}
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat)
    PLAIN("unlink", -1, of_at(folder, path, buffer), real(folder, path, flags))
}
int rmdir(const char *path) {
    REAL(rmdir)
    PLAIN("unlink", -1, below(path, buffer), real(path))
}

#define WRITE(size, half) \
    char buffer[PATH_MAX]; \
    const char *place = armed && !inside ? of_fd(fd, buffer) : NULL; \
    int verdict = place ? meet("write", place) : GO; \
    if (verdict == FAIL) return -1; \
    if (verdict == TORN) { \
        ssize_t part = (half); \
        (void)part; \
        die(); \
    } \
    ssize_t result = (size); \
    if (verdict == AFTER) die(); \
    return result;

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write)
    WRITE(real(fd, data, size), real(fd, data, size / 2))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite)
    WRITE(real(fd, data, size, at), real(fd, data, size / 2, at))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64)
    WRITE(real(fd, data, size, at), real(fd, data, size / 2, at))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev)
    WRITE(real(fd, parts, count), real(fd, parts, count / 2))
}
ssize_t read(int fd, void *data, size_t size) {
    REAL(read)
    PLAIN("read", -1, of_fd(fd, buffer), real(fd, data, size))
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(pread)
    PLAIN("read", -1, of_fd(fd, buffer), real(fd, data, size, at))
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(pread64)
    PLAIN("read", -1, of_fd(fd, buffer), real(fd, data, size, at))
}
