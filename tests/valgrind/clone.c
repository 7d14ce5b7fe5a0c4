/* Replaces clone(2) by fork(2) under valgrind, by LD_PRELOAD. valgrind supports a clone(2) that shares
 * memory or descriptors only for threads, and aborts the server otherwise. A pipe takes the place of the
 * shared memory: the parent continues when the child has executed the command or exited. If the child
 * could not execute it, the parent reads its errno, the first field of the child's Plan
 * (src/linux/spawn/clone.rs), from the pipe. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* The writing end of the pipe. A low descriptor, reserved at the start, because the child closes all
 * descriptors above those that the server prepared for it. */
static int end;

__attribute__((constructor)) static void keep_a_low_descriptor(void) {
  end = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (end < 0)
    abort();
}

int clone(int (*child)(void *), void *stack, int flags, void *plan, ...) {
  (void)stack;
  if (!(flags & CLONE_VFORK)) { /* The server would wait for the child on a futex. */
    errno = EINVAL;
    return -1;
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC))
    return -1;
  dup3(ends[1], end, O_CLOEXEC);
  close(ends[1]);
  pid_t pid = fork();
  if (!pid) {
    int status = child(plan);
    if (write(end, plan, sizeof(int)) != sizeof(int))
      abort();
    _exit(status);
  }
  dup3(ends[0], end, O_CLOEXEC); /* closes the parent's copy of the writing end */
  close(ends[0]);
  /* EOF if the child has executed the command. */
  if (pid > 0 && read(end, plan, sizeof(int)) < 0)
    abort();
  return pid;
}
