/* SPDX-License-Identifier: GPL-2.0-or-later
 * A thread for each way to wait; nothing ever arrives but the time-out. WAITS + 2*i counts the waits of way i that
 * ended, WAITS + 2*i + 1 those that ended in EINTR; any other end counts as an error (DETAIL: way and errno).
 *   wait=N   milliseconds of each wait (default 20); signals=N: SIGUSR1 to the process each N microseconds
 */
#include "board.h"
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/timerfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/wait.h>

static long milliseconds;
static struct timespec timeout;
static struct timeval tick;

struct way { const char *name; int (*open)(void); long (*wait)(int handle); int end; };

static int nothing(void) { return -1; }
static int open_epoll(void) { return epoll_create1(0); }
static long wait_epoll(int fd) { struct epoll_event e; return epoll_wait(fd, &e, 1, (int)milliseconds); }
static long wait_epoll_pwait(int fd) { struct epoll_event e; sigset_t none; sigemptyset(&none); return epoll_pwait(fd, &e, 1, (int)milliseconds, &none); }
static long wait_epoll_pwait2(int fd) { struct epoll_event e; return syscall(441, fd, &e, 1, &timeout, NULL, 8); }
static long wait_sigtimedwait(int unused) { sigset_t s; (void)unused; sigemptyset(&s); sigaddset(&s, SIGUSR2); return sigtimedwait(&s, NULL, &timeout); }
static int pair(int kind) {
    int ends[2];
    if (socketpair(AF_UNIX, kind, 0, ends)) die("socketpair");
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    return ends[0];
}
static int open_datagram(void) { return pair(SOCK_DGRAM); }
static int open_stream(void) { return pair(SOCK_STREAM); }
static long wait_recv(int fd) { char c; return recv(fd, &c, 1, 0); }
static long wait_read_socket(int fd) { char c; return read(fd, &c, 1); }
static long wait_recvmsg(int fd) { char c; struct iovec v = {&c, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; return recvmsg(fd, &m, 0); }
static long wait_recvmmsg(int fd) { char c; struct iovec v = {&c, 1}; struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}}; return recvmmsg(fd, &m, 1, 0, NULL); }
static long wait_preadv2(int fd) { char c; struct iovec v = {&c, 1}; return preadv2(fd, &v, 1, -1, 0); }
static int open_listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (listen(fd, 1)) die("listen");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    return fd;
}
static long wait_accept(int fd) { return accept(fd, NULL, NULL); }
static int open_semaphore(void) { int id = semget(IPC_PRIVATE, 1, 0600); if (id < 0) die("semget"); return id; }
static long wait_semtimedop(int id) { struct sembuf op = {0, -1, 0}; return semtimedop(id, &op, 1, &timeout); }
static long wait_aio(int unused) {
    static unsigned long context;
    char event[32];
    (void)unused;
    if (!context && syscall(SYS_io_setup, 4, &context)) die("io_setup");
    return syscall(SYS_io_getevents, context, 1, 1, event, &timeout);
}
static int open_pipe(void) { int ends[2]; if (pipe(ends)) die("pipe"); return ends[0]; }
static long wait_poll(int fd) { struct pollfd p = {fd, POLLIN, 0}; return poll(&p, 1, (int)milliseconds); }
static long wait_ppoll(int fd) { struct pollfd p = {fd, POLLIN, 0}; return ppoll(&p, 1, &timeout, NULL); }
static long wait_select(int fd) { fd_set s; struct timeval t = tick; FD_ZERO(&s); FD_SET(fd, &s); return select(fd + 1, &s, NULL, NULL, &t); }
static long wait_nanosleep(int unused) { (void)unused; return nanosleep(&timeout, NULL); }
static long wait_clock(int unused) { (void)unused; errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &timeout, NULL); return errno ? -1 : 0; }
static int open_timer(void) {
    struct itimerspec every = {timeout, timeout};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    if (timerfd_settime(fd, 0, &every, NULL)) die("timerfd");
    return fd;
}
static long wait_read(int fd) { uint64_t n; return read(fd, &n, 8) == 8 ? 0 : -1; }
static long wait_semaphore(int unused) {
    sem_t s;
    struct timespec t;
    (void)unused;
    sem_init(&s, 0, 0);
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += timeout.tv_nsec;
    if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
    return sem_timedwait(&s, &t);
}
static int open_queue(void) {
    char name[40];
    struct mq_attr small = {.mq_maxmsg = 1, .mq_msgsize = 8};
    snprintf(name, sizeof name, "/target-%d", (int)getpid());
    int fd = mq_open(name, O_CREAT | O_RDWR, 0600, &small);
    if (fd < 0) die("mq_open");
    mq_unlink(name);
    return fd;
}
static long wait_queue(int fd) {
    char message[8];
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += timeout.tv_nsec;
    if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
    return mq_timedreceive(fd, message, sizeof message, NULL, &t);
}
static long wait_child(int unused) {
    (void)unused;
    pid_t child = fork();
    if (!child) { nap(milliseconds * 1000); _exit(0); }
    return waitpid(child, NULL, 0) == child ? 0 : -1;
}

static const struct way ways[] = {
    {"epoll_wait", open_epoll, wait_epoll, 0},
    {"epoll_pwait", open_epoll, wait_epoll_pwait, 0},
    {"epoll_pwait2", open_epoll, wait_epoll_pwait2, 0},
    {"sigtimedwait", nothing, wait_sigtimedwait, EAGAIN},
    {"recv", open_datagram, wait_recv, EAGAIN},
    {"recv-stream", open_stream, wait_recv, EAGAIN},
    {"read-socket", open_stream, wait_read_socket, EAGAIN},
    {"recvmsg", open_datagram, wait_recvmsg, EAGAIN},
    {"recvmmsg", open_datagram, wait_recvmmsg, EAGAIN},
    {"preadv2", open_stream, wait_preadv2, EAGAIN},
    {"accept", open_listener, wait_accept, EAGAIN},
    {"semtimedop", open_semaphore, wait_semtimedop, EAGAIN},
    {"io_getevents", nothing, wait_aio, 0},
    {"poll", open_pipe, wait_poll, 0},
    {"ppoll", open_pipe, wait_ppoll, 0},
    {"select", open_pipe, wait_select, 0},
    {"nanosleep", nothing, wait_nanosleep, 0},
    {"clock_nanosleep", nothing, wait_clock, 0},
    {"timerfd", open_timer, wait_read, 0},
    {"sem_timedwait", nothing, wait_semaphore, ETIMEDOUT},
    {"mq_timedreceive", open_queue, wait_queue, ETIMEDOUT},
    {"waitpid", nothing, wait_child, 0},
};
#define COUNT (sizeof ways / sizeof *ways)
static int handles[COUNT];

static void *waiter(void *number) {
    size_t i = (uintptr_t)number;
    uint64_t margin = ways[i].end == EAGAIN && ways[i].wait != wait_sigtimedwait ? 20000000 : 4000000;
    for (;;) {
        uint64_t start = now();
        errno = 0;
        long result = ways[i].wait(handles[i]);
        int error = result < 0 ? errno : 0;
        uint64_t took = now() - start;
        ADD(WAITS + 2 * (int)i, 1);
        if (error == EINTR) ADD(WAITS + 2 * (int)i + 1, 1);
        /* A wait that ends before its time is as wrong as another errno. The margins: a tick of 4 ms; for sockets,
         * which count in ticks, a few of them that come late on a busy virtual machine. */
        else if (error != ways[i].end || (ways[i].wait != wait_read && took + margin < (uint64_t)timeout.tv_nsec)) {
            ADD(ERRORS, 1);
            SET(DETAIL, i);
            SET(DETAIL + 1, error);
            SET(DETAIL + 2, took);
        }
    }
    return NULL;
}

static void handler(int number) { (void)number; ADD(HANDLED, 1); }

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    /* semaphores of System V outlive their process, unless it has a namespace for itself */
    if (unshare(CLONE_NEWIPC)) die("unshare");
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL); /* without SA_RESTART: an EINTR that a signal causes shall be seen */
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    milliseconds = option("wait", 20);
    timeout.tv_nsec = milliseconds * 1000000;
    tick.tv_usec = milliseconds * 1000;
    for (size_t i = 0; i < COUNT; i++) handles[i] = ways[i].open();
    if (is_given("list")) {
        for (size_t i = 0; i < COUNT; i++) puts(ways[i].name);
        return 0;
    }
    for (size_t i = 0; i < COUNT; i++)
        if (pthread_create(&thread, NULL, waiter, (void *)(uintptr_t)i)) die("thread");
    nap(10000);
    board_ready();
    for (long every = option("signals", 0);;) {
        extern long answer_0(void);
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        nap(every ? every : 1000);
    }
}
