/* A library that LD_PRELOAD places between the server and the C library. It makes system calls fail
 * as a test requests through a file that both processes map. Used only by tests; built by faults.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The same order as in faults.rs. */
enum call { ACCEPT, CLONE, PIPE, RECV, SEND, WRITEV, READ, WRITE, EPOLL_CTL, EPOLL_WAIT, CLOCK,
            CALLS };

struct fault {
  int error;  /* errno of a failing call; 0: no call fails. CLOCK: seconds added to the wall clock */
  int one_in; /* every one_in-th call fails */
  int calls;
  int hits;
};

static volatile struct fault *faults;

__attribute__((constructor)) static void map_faults(void) {
  const char *path = getenv("WSPIPE_FAULTS");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0)
    return;
  void *map = mmap(0, CALLS * sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (map != MAP_FAILED)
    faults = map;
}

static int fails(enum call call) {
  if (!faults || !faults[call].error)
    return 0;
  volatile struct fault *fault = &faults[call];
  if (++fault->calls % fault->one_in)
    return 0;
  ++fault->hits;
  errno = fault->error;
  return 1;
}

static int is(mode_t type, int fd) {
  int saved = errno;
  struct stat status;
  int is = !fstat(fd, &status) && (status.st_mode & S_IFMT) == type;
  errno = saved;
  return is;
}

/* The pipes of commands, and the log if it is a pipe. */
static int is_nonblocking_pipe(int fd) { return is(S_IFIFO, fd) && fcntl(fd, F_GETFL) & O_NONBLOCK; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
  return fails(ACCEPT) ? -1 : REAL(accept4)(fd, address, len, flags);
}
/* The server starts commands by clone(2), without its optional arguments. */
int clone(int (*child)(void *), void *stack, int flags, void *plan, ...) {
  return fails(CLONE) ? -1 : REAL(clone)(child, stack, flags, plan);
}
int pipe2(int fds[2], int flags) { return fails(PIPE) ? -1 : REAL(pipe2)(fds, flags); }
ssize_t recv(int fd, void *bytes, size_t len, int flags) {
  return fails(RECV) ? -1 : REAL(recv)(fd, bytes, len, flags);
}
ssize_t send(int fd, const void *bytes, size_t len, int flags) {
  return fails(SEND) ? -1 : REAL(send)(fd, bytes, len, flags);
}
/* Only writes to sockets fail: long messages, and messages for several clients. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
  return is(S_IFSOCK, fd) && fails(WRITEV) ? -1 : REAL(writev)(fd, pieces, count);
}
ssize_t read(int fd, void *bytes, size_t len) {
  return is_nonblocking_pipe(fd) && fails(READ) ? -1 : REAL(read)(fd, bytes, len);
}
ssize_t write(int fd, const void *bytes, size_t len) {
  return is_nonblocking_pipe(fd) && fails(WRITE) ? -1 : REAL(write)(fd, bytes, len);
}
int epoll_ctl(int epoll, int how, int fd, struct epoll_event *event) {
  return how == EPOLL_CTL_ADD && fails(EPOLL_CTL) ? -1 : REAL(epoll_ctl)(epoll, how, fd, event);
}
int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout) {
  return fails(EPOLL_WAIT) ? -1 : REAL(epoll_wait)(epoll, events, max, timeout);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = REAL(clock_gettime)(clock, time);
  if (!result && clock == CLOCK_REALTIME && faults)
    time->tv_sec += faults[CLOCK].error;
  return result;
}
