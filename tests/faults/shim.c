/* Stands between a process and libc, for the fault tests: LD_PRELOAD this, and every call on a file of one
 * directory can be counted, made to fail, made the last one of its process, or recorded.
 *
 * A test calls shim_watch(directory), then shim_fault(...) or shim_record(fd), through ctypes.
 * Calls on other files, and everything before shim_watch, go straight through.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_FDS 4096

enum { FAIL = 1, KILL = 2, SHORT = 3 };
/* Kinds of calls, as bits of the mask of shim_fault. WRITES is what needs space on the disk. */
enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, SIZE = 16, NAME = 32, LOOK = 64, LOCK = 128, MAP = 256, CLOSE = 512 };

static char directory[1024];
static size_t directory_length;
static char *paths[MOST_FDS]; /* by descriptor: the watched path, without the directory; NULL if not watched */

static int action, error_number, is_for_ever;
static unsigned mask;
static long fails_at, calls, hits;
static char last_hit[256];

static int log_fd = -1;
static pthread_mutex_t in_order = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* ---------------------------------------------------------------- what the tests call */

void shim_watch(const char *path) {
    snprintf(directory, sizeof directory, "%s", path);
    directory_length = strlen(directory);
}

/* From the `at`-th call of a kind in `kinds` on (counted from 1): do `what` once, or for ever. */
void shim_fault(long at, int what, int number, int for_ever, unsigned kinds) {
    calls = hits = 0;
    fails_at = at;
    error_number = number;
    is_for_ever = for_ever;
    mask = kinds;
    last_hit[0] = 0;
    __atomic_store_n(&action, what, __ATOMIC_SEQ_CST);
}

long shim_calls(void) { return calls; }
long shim_hits(void) { return hits; }
const char *shim_hit(void) { return last_hit; }

/* From now on write every change, sync and mark to this descriptor, in order. */
void shim_record(int fd) { log_fd = fd; }

/* ---------------------------------------------------------------- recording
 * An entry: kind (1 byte), length of the name (2), of the data (4), a number (8), the name, the data. */

static void put(const void *data, size_t size) {
    REAL(write);
    while (size) {
        ssize_t done = real(log_fd, data, size);
        if (done <= 0) _exit(97);
        data = (const char *)data + done;
        size -= done;
    }
}

static void record(char kind, const char *name, int64_t number, const void *data, uint32_t size) {
    char head[15];
    uint16_t length = (uint16_t)strlen(name);
    head[0] = kind;
    memcpy(head + 1, &length, 2);
    memcpy(head + 3, &size, 4);
    memcpy(head + 7, &number, 8);
    put(head, sizeof head);
    put(name, length);
    put(data, size);
}

static void begin(void) { if (log_fd >= 0) pthread_mutex_lock(&in_order); }
static void end(void) { int kept = errno; if (log_fd >= 0) pthread_mutex_unlock(&in_order); errno = kept; }

/* What the process tells the world, such as an acknowledgement: it is in the log where it happened. */
void shim_mark(const char *text) {
    begin();
    if (log_fd >= 0) record('m', "", 0, text, (uint32_t)strlen(text));
    end();
}

/* ---------------------------------------------------------------- faults */

static const char *watched(const char *path) {
    if (!directory_length || !path || strncmp(path, directory, directory_length)) return NULL;
    if (path[directory_length] == '/') return path + directory_length + 1;
    return path[directory_length] ? NULL : ".";
}

static const char *of(int fd) { return fd >= 0 && fd < MOST_FDS ? paths[fd] : NULL; }

/* Whether this call is to fail; it may be the end of the process. */
static int fails(const char *name, unsigned kind, const char *call) {
    int what = __atomic_load_n(&action, __ATOMIC_SEQ_CST);
    if (!name || !what || !(kind & mask)) return 0;
    long n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (n != fails_at && !(is_for_ever && n > fails_at)) return 0;
    if (__atomic_add_fetch(&hits, 1, __ATOMIC_SEQ_CST) == 1) snprintf(last_hit, sizeof last_hit, "%s %s", call, name);
    if (what == KILL) kill(getpid(), SIGKILL);
    errno = error_number;
    return what;
}

static void forget(int fd) { if (fd >= 0 && fd < MOST_FDS) paths[fd] = NULL; }

static void opened(int fd, const char *name) {
    if (fd >= 0 && fd < MOST_FDS) paths[fd] = name ? strdup(name) : NULL; /* never freed: short processes */
}

/* ---------------------------------------------------------------- names and descriptors */

static int open_it(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    const char *name = watched(path);
    struct stat there;
    if (fails(name, OPEN, "open")) return -1;
    if (!name) {
        int fd = real(path, flags, mode);
        opened(fd, NULL);
        return fd;
    }
    begin();
    int is_new = (flags & O_CREAT) && lstat(path, &there);
    int fd = real(path, flags, mode);
    if (fd >= 0 && log_fd >= 0 && is_new) record('c', name, 0, "", 0);
    opened(fd, name);
    end();
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE REAL(open); return open_it(real, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE REAL(open64); return open_it(real, path, flags, mode); }

int openat(int at, const char *path, int flags, ...) {
    MODE
    REAL(openat);
    if (path[0] == '/' || at == AT_FDCWD) return open_it((int (*)(const char *, int, ...))open, path, flags, mode);
    return real(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) { MODE return openat(at, path, flags, mode); }

int close(int fd) {
    REAL(close);
    const char *name = of(fd);
    int what = fails(name, CLOSE, "close"), number = errno;
    forget(fd);
    int done = real(fd);
    if (!what) return done;
    errno = number; /* Linux closes it all the same */
    return -1;
}

int unlink(const char *path) {
    REAL(unlink);
    const char *name = watched(path);
    if (fails(name, NAME, "unlink")) return -1;
    if (name) begin();
    int done = real(path);
    if (name && !done && log_fd >= 0) record('u', name, 0, "", 0);
    if (name) end();
    return done;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    const char *old = watched(from), *new = watched(to);
    if (fails(old ? old : new, NAME, "rename")) return -1;
    if (old && new) begin();
    int done = real(from, to);
    if (old && new && !done && log_fd >= 0) record('r', old, 0, new, (uint32_t)strlen(new));
    if (old && new) end();
    return done;
}

DIR *opendir(const char *path) {
    REAL(opendir);
    return fails(watched(path), LOOK, "opendir") ? NULL : real(path);
}

/* ---------------------------------------------------------------- contents */

#define READING(name, TYPE) \
    ssize_t name(int fd, void *data, size_t size, TYPE at) { \
        REAL(name); \
        return fails(of(fd), READ, #name) ? -1 : real(fd, data, size, at); \
    }
READING(pread, off_t)
READING(pread64, off64_t)

ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    return fails(of(fd), READ, "read") ? -1 : real(fd, data, size);
}

#define WRITING(name, TYPE) \
    ssize_t name(int fd, const void *data, size_t size, TYPE at) { \
        REAL(name); \
        int what = fails(of(fd), WRITE, #name); \
        if (what == SHORT && size > 1) size /= 2; \
        else if (what) return -1; \
        if (!of(fd)) return real(fd, data, size, at); \
        begin(); \
        ssize_t done = real(fd, data, size, at); \
        if (done > 0 && log_fd >= 0) record('w', of(fd), at, data, (uint32_t)done); \
        end(); \
        return done; \
    }
WRITING(pwrite, off_t)
WRITING(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!of(fd)) return real(fd, data, size);
    int what = fails(of(fd), WRITE, "write");
    if (what == SHORT && size > 1) size /= 2;
    else if (what) return -1;
    begin();
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, size);
    if (done > 0 && log_fd >= 0) record('w', of(fd), at, data, (uint32_t)done);
    end();
    return done;
}

#define RESIZING(name, TYPE) \
    int name(int fd, TYPE size) { \
        REAL(name); \
        if (fails(of(fd), SIZE, #name)) return -1; \
        if (!of(fd)) return real(fd, size); \
        begin(); \
        int done = real(fd, size); \
        if (!done && log_fd >= 0) record('t', of(fd), size, "", 0); \
        end(); \
        return done; \
    }
RESIZING(ftruncate, off_t)
RESIZING(ftruncate64, off64_t)

#define ALLOCATING(name, TYPE, FAILED) \
    int name(int fd, TYPE at, TYPE size) { \
        REAL(name); \
        return fails(of(fd), SIZE, #name) ? FAILED : real(fd, at, size); \
    }
ALLOCATING(posix_fallocate, off_t, error_number)
ALLOCATING(posix_fallocate64, off64_t, error_number)

#define SYNCING(name) \
    int name(int fd) { \
        REAL(name); \
        const char *what = of(fd); \
        if (fails(what, SYNC, #name)) { \
            int kept = errno; \
            begin(); \
            if (log_fd >= 0) record('f', what, 0, "", 0); \
            end(); \
            errno = kept; \
            return -1; \
        } \
        if (!what) return real(fd); \
        begin(); \
        int done = real(fd); \
        if (!done && log_fd >= 0) record('s', what, 0, "", 0); \
        end(); \
        return done; \
    }
SYNCING(fsync)
SYNCING(fdatasync)

#define MAPPING(name, TYPE) \
    void *name(void *where, size_t size, int protection, int flags, int fd, TYPE at) { \
        REAL(name); \
        return fails(of(fd), MAP, #name) ? MAP_FAILED : real(where, size, protection, flags, fd, at); \
    }
MAPPING(mmap, off_t)
MAPPING(mmap64, off64_t)

/* ---------------------------------------------------------------- looks and locks */

#define LOOKING(name, TYPE) \
    int name(const char *path, struct TYPE *found) { \
        REAL(name); \
        return fails(watched(path), LOOK, #name) ? -1 : real(path, found); \
    }
LOOKING(stat, stat)
LOOKING(stat64, stat64)
LOOKING(lstat, stat)
LOOKING(lstat64, stat64)

#define LOOKING_AT_FD(name, TYPE) \
    int name(int fd, struct TYPE *found) { \
        REAL(name); \
        return fails(of(fd), LOOK, #name) ? -1 : real(fd, found); \
    }
LOOKING_AT_FD(fstat, stat)
LOOKING_AT_FD(fstat64, stat64)

#define LOOKING_FROM(name, TYPE) \
    int name(int at, const char *path, struct TYPE *found, int flags) { \
        REAL(name); \
        return fails(watched(path), LOOK, #name) ? -1 : real(at, path, found, flags); \
    }
LOOKING_FROM(fstatat, stat)
LOOKING_FROM(fstatat64, stat64)

int access(const char *path, int how) {
    REAL(access);
    return fails(watched(path), LOOK, "access") ? -1 : real(path, how);
}

int fchmod(int fd, mode_t mode) {
    REAL(fchmod);
    return fails(of(fd), LOOK, "fchmod") ? -1 : real(fd, mode);
}

int flock(int fd, int how) {
    REAL(flock);
    return fails(of(fd), LOCK, "flock") ? -1 : real(fd, how);
}

static int control_it(int (*real)(int, int, ...), int fd, int command, void *argument) {
    int is_lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    /* No system refuses to unlock, and SQLite would hold its own lock for ever after that. */
    if (is_lock && ((struct flock *)argument)->l_type == F_UNLCK) is_lock = 0;
    return is_lock && fails(of(fd), LOCK, "fcntl") ? -1 : real(fd, command, argument);
}

#define ARGUMENT va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more);
int fcntl(int fd, int command, ...) { ARGUMENT REAL(fcntl); return control_it(real, fd, command, argument); }
int fcntl64(int fd, int command, ...) { ARGUMENT REAL(fcntl64); return control_it(real, fd, command, argument); }
