/* Stands between the server and the C library (LD_PRELOAD) under valgrind, which follows no clone(2)
 * that shares memory or descriptors unless it makes a thread, and ends the server at one. This one
 * forks. What would be seen of the child through shared memory is brought over a pipe: its parent
 * goes on when it has become a command or ended, and if it could not become one, has the number of
 * the error, which is the first thing in its plan (Plan in src/linux/spawn/clone.rs). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* A low descriptor, kept from the start: the child closes those above the ones that the server
 * keeps for it. */
static int end;

__attribute__((constructor)) static void keep_a_low_descriptor(void) {
  end = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (end < 0)
    abort();
}

int clone(int (*child)(void *), void *stack, int flags, void *plan, ...) {
  (void)stack, (void)flags;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC))
    return -1;
  /* The writing end, until the child has a copy of it. */
  dup3(ends[1], end, O_CLOEXEC);
  close(ends[1]);
  pid_t pid = fork();
  if (!pid) {
    int status = child(plan);
    if (write(end, plan, sizeof(int)) != sizeof(int))
      abort();
    _exit(status);
  }
  dup3(ends[0], end, O_CLOEXEC);
  close(ends[0]);
  /* Nothing comes of a child that has become a command. */
  if (pid > 0 && read(end, plan, sizeof(int)) < 0)
    abort();
  return pid;
}
