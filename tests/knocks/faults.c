/* Faults of the file system inside a process: LD_PRELOAD this, and any library's write may fail.
 *
 * Python, numpy's fwrite, HDF5, Riegeli (ArrayRecord), TensorStore (Orbax) and Rust (safetensors)
 * all reach the disk through these functions of the C library. Calls on files under a folder are
 * counted, and the N-th fails: once or from then on, or with a Ctrl-C or a SIGKILL in place
 * of an error.
 * Removing is never hindered, as a full disk does not hinder it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define CTRL_C (-1)
#define KILL (-9)

static char root[PATH_MAX];
static _Atomic int armed;
static _Atomic long seen;
static long at;
static int error, lasting;
static char struck[PATH_MAX + 32];

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Count calls on files under a folder; the at-th fails (0: none does). */
void knocks_arm(const char *folder, long number, int code, int stays) {
    snprintf(root, sizeof root, "%s", folder);
    seen = 0;
    at = number;
    error = code;
    lasting = stays;
    struck[0] = 0;
    armed = 1;
}
void knocks_disarm(void) { armed = 0; }
long knocks_seen(void) { return seen; }
const char *knocks_struck(void) { return struck; }

/* Whether this call on a path fails. */
static int fails(const char *what, const char *path) {
    if (strncmp(path, root, strlen(root))) return 0;
    long now = ++seen;
    if (!at || now < at || (now > at && !lasting)) return 0;
    if (now == at) snprintf(struck, sizeof struck, "%s %s", what, path);
    if (error == KILL) kill(getpid(), SIGKILL);
    if (error == CTRL_C) {
        if (now == at) kill(getpid(), SIGINT);
        return 0;
    }
    errno = error;
    return 1;
}
static int path_fails(const char *what, int folder, const char *path) {
    char whole[PATH_MAX], name[64];
    if (!armed || !path) return 0;
    if (path[0] == '/') return fails(what, path);
    snprintf(name, sizeof name, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t size = readlink(name, whole, sizeof whole - 1);
    if (size < 0) return 0;
    snprintf(whole + size, sizeof whole - size, "/%s", path);
    return fails(what, whole);
}
static int fd_fails(const char *what, int fd) {
    char path[PATH_MAX], name[64];
    if (!armed) return 0;
    int before = errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    errno = before;
    if (size < 0) return 0;
    path[size] = 0;
    return fails(what, path);
}
static int written(int fd) {
    int before = errno, flags = armed ? fcntl(fd, F_GETFL) : -1;
    errno = before;
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        va_list more;                                                                           \
        va_start(more, flags);                                                                  \
        mode_t mode = va_arg(more, mode_t);                                                     \
        va_end(more);                                                                           \
        if ((flags & O_ACCMODE) != O_RDONLY && path_fails("open", AT_FDCWD, path)) return -1;   \
        return REAL(name)(path, flags, mode);                                                   \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                                            \
    int name(int folder, const char *path, int flags, ...) {                                    \
        va_list more;                                                                           \
        va_start(more, flags);                                                                  \
        mode_t mode = va_arg(more, mode_t);                                                     \
        va_end(more);                                                                           \
        if ((flags & O_ACCMODE) != O_RDONLY && path_fails("open", folder, path)) return -1;     \
        return REAL(name)(folder, path, flags, mode);                                           \
    }
OPENAT(openat)
OPENAT(openat64)
#define FOPEN(name)                                                                             \
    FILE *name(const char *path, const char *mode) {                                            \
        if (mode[0] != 'r' && path_fails("open", AT_FDCWD, path)) return NULL;                  \
        return REAL(name)(path, mode);                                                          \
    }
FOPEN(fopen)
FOPEN(fopen64)
int creat(const char *path, mode_t mode) {
    return path_fails("open", AT_FDCWD, path) ? -1 : REAL(creat)(path, mode);
}

#define ON_FD(type, what, name, parameters, arguments)                                          \
    type name parameters { return fd_fails(what, fd) ? -1 : REAL(name) arguments; }
ON_FD(ssize_t, "write", write, (int fd, const void *b, size_t n), (fd, b, n))
ON_FD(ssize_t, "write", pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
ON_FD(ssize_t, "write", pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
ON_FD(ssize_t, "write", writev, (int fd, const struct iovec *v, int n), (fd, v, n))
ON_FD(ssize_t, "write", pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
ON_FD(ssize_t, "write", pwritev64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
ON_FD(ssize_t, "write", sendfile, (int fd, int from, off_t *o, size_t n), (fd, from, o, n))
ON_FD(ssize_t, "write", sendfile64, (int fd, int from, off64_t *o, size_t n), (fd, from, o, n))
ON_FD(int, "truncate", ftruncate, (int fd, off_t n), (fd, n))
ON_FD(int, "truncate", ftruncate64, (int fd, off64_t n), (fd, n))
ON_FD(int, "fsync", fsync, (int fd), (fd))
ON_FD(int, "fsync", fdatasync, (int fd), (fd))
ssize_t copy_file_range(int from, off64_t *a, int fd, off64_t *b, size_t n, unsigned flags) {
    return fd_fails("write", fd) ? -1 : REAL(copy_file_range)(from, a, fd, b, n, flags);
}
int close(int fd) {
    if (!written(fd) || !fd_fails("close", fd)) return REAL(close)(fd);
    int code = errno;
    REAL(close)(fd); /* the system closes it all the same */
    errno = code;
    return -1;
}
/* The C library's own buffers do not come by write. */
size_t fwrite(const void *b, size_t size, size_t n, FILE *file) {
    return fd_fails("write", fileno(file)) ? 0 : REAL(fwrite)(b, size, n, file);
}
int fflush(FILE *file) {
    return file && written(fileno(file)) && fd_fails("write", fileno(file)) ? EOF
                                                                          : REAL(fflush)(file);
}
int fclose(FILE *file) {
    if (!written(fileno(file)) || !fd_fails("close", fileno(file))) return REAL(fclose)(file);
    int code = errno;
    REAL(fclose)(file);
    errno = code;
    return EOF;
}

int rename(const char *a, const char *b) {
    return path_fails("rename", AT_FDCWD, b) ? -1 : REAL(rename)(a, b);
}
int renameat(int x, const char *a, int y, const char *b) {
    return path_fails("rename", y, b) ? -1 : REAL(renameat)(x, a, y, b);
}
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
    return path_fails("rename", y, b) ? -1 : REAL(renameat2)(x, a, y, b, flags);
}
int mkdir(const char *path, mode_t mode) {
    return path_fails("mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    return path_fails("mkdir", folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}
