/* SPDX-License-Identifier: GPL-2.0-or-later
 * Threads that fill every register, the flags and the red zone with patterns, stay for a while in a loop that touches
 * none of them, and compare. ERRORS counts differences, DETAIL names the last one.
 *   integer=N vector=N   how many threads of each kind; nap=N microseconds between the rounds
 */
#include "board.h"
#include <cpuid.h>

struct state {
    uint64_t general[15]; /* rax rbx rdx rsi rdi rbp r8..r15 flags */
    uint64_t red_zone[16];
    uint64_t thread_pointer;
};

/* rcx counts down by lea and jrcxz, which leave the flags alone; its value on leaving is a check as well */
extern void integer_round(struct state *out, uint64_t seed, uint64_t spins);
__asm__(
    ".text\n.p2align 4\n.globl integer_round\n.type integer_round,@function\ninteger_round:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rdx, %rcx\n"
    "mov %rsi, %rax\n"
    "push %rdi\n" /* where to store: read again after the loop */
    "lea 1(%rax), %rbx; lea 2(%rax), %rdx; lea 3(%rax), %rsi; lea 4(%rax), %rdi; lea 5(%rax), %rbp\n"
    "lea 6(%rax), %r8; lea 7(%rax), %r9; lea 8(%rax), %r10; lea 9(%rax), %r11; lea 10(%rax), %r12\n"
    "lea 11(%rax), %r13; lea 12(%rax), %r14; lea 13(%rax), %r15\n"
    "mov %rax, -8(%rsp); mov %rbx, -16(%rsp); mov %rdx, -24(%rsp); mov %rsi, -32(%rsp)\n"
    "mov %rdi, -40(%rsp); mov %rbp, -48(%rsp); mov %r8, -56(%rsp); mov %r9, -64(%rsp)\n"
    "mov %r10, -72(%rsp); mov %r11, -80(%rsp); mov %r12, -88(%rsp); mov %r13, -96(%rsp)\n"
    "mov %r14, -104(%rsp); mov %r15, -112(%rsp); mov %rax, -120(%rsp); mov %rbx, -128(%rsp)\n"
    "mov $0xd5, %ah; sahf; std\n" /* sign, zero, adjust, parity, carry and direction set */
    "lea 0x5500(%rsi), %rax\n"
    "1: jrcxz 2f\nlea -1(%rcx), %rcx\njmp 1b\n2:\n"
    "mov (%rsp), %rcx\n"
    "mov %rax, 0(%rcx); mov %rbx, 8(%rcx); mov %rdx, 16(%rcx); mov %rsi, 24(%rcx); mov %rdi, 32(%rcx)\n"
    "mov %rbp, 40(%rcx); mov %r8, 48(%rcx); mov %r9, 56(%rcx); mov %r10, 64(%rcx); mov %r11, 72(%rcx)\n"
    "mov %r12, 80(%rcx); mov %r13, 88(%rcx); mov %r14, 96(%rcx); mov %r15, 104(%rcx)\n"
    ".set i, 0\n.rept 16\nmov -8-8*i(%rsp), %rax\nmov %rax, 120+8*i(%rcx)\n.set i, i+1\n.endr\n"
    "mov %fs:0, %rax; mov %rax, 248(%rcx)\n"
    "pushf; pop %rax; mov %rax, 112(%rcx)\n"
    "cld\n"
    "pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n.size integer_round, .-integer_round\n");

#define CHECK(what, is, should) \
    if ((is) != (should)) { ADD(ERRORS, 1); SET(DETAIL, (what)); SET(DETAIL + 1, (is)); SET(DETAIL + 2, (should)); }

static void *integer(void *unused) {
    long pause = option("nap", 20);
    void *self = (void *)pthread_self();
    for (uint64_t seed = 0x1234567890abcdef;; seed = seed * 6364136223846793005u + 1442695040888963407u) {
        struct state s;
        uint64_t order[14] = {0x5503, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
        memset(&s, 0, sizeof s);
        integer_round(&s, seed, 100000);
        for (int i = 0; i < 14; i++) CHECK(1000 + i, s.general[i], seed + order[i]);
        CHECK(1014, s.general[14] & 0x4d5, 0x4d5u);
        for (int i = 0; i < 16; i++) CHECK(1100 + i, s.red_zone[i], seed + (uint64_t)(i < 14 ? i : i - 14));
        CHECK(1200, s.thread_pointer, (uint64_t)self);
        ADD(CHECKS, 1);
        if (pause) nap(pause);
    }
    return unused;
}

#define X16(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define X32(op) X16(op) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)
#define XMM_IN(n) "movdqu " #n "*16(%0), %%xmm" #n "\n"
#define XMM_OUT(n) "movdqu %%xmm" #n ", " #n "*16(%1)\n"
#define YMM_IN(n) "vmovdqu " #n "*32(%0), %%ymm" #n "\n"
#define YMM_OUT(n) "vmovdqu %%ymm" #n ", " #n "*32(%1)\n"
#define ZMM_IN(n) "vmovdqu64 " #n "*64(%0), %%zmm" #n "\n"
#define ZMM_OUT(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%1)\n"
#define K_IN(n) "kmovq 2048+8*" #n "(%0), %%k" #n "\n"
#define K_OUT(n) "kmovq %%k" #n ", 2048+8*" #n "(%1)\n"
#define X8(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define SPIN "mov %2, %%rcx\n1: dec %%rcx\njnz 1b\n"
#define ROUND(in, out) __asm__ volatile(in SPIN out : : "r"(source), "r"(sink), "r"(spins) : "rcx", "memory", "cc", "xmm0", "xmm1", "xmm2", \
    "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

static void *vector(void *unused) {
    static __thread unsigned char source[2112], sink[2112];
    unsigned a, b = 0, c, d;
    long pause = option("nap", 20);
    uint64_t spins = 100000, seed = 88172645463325252u;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    int wide = __builtin_cpu_supports("avx512bw") ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
    size_t size = wide == 64 ? 2112 : (size_t)wide * 16;
    uint32_t rounding = 0x7f80, back = 0; /* MXCSR: rounds toward zero, unlike the usual 0x1f80 */
    uint16_t control = 0x0f7f, control_back = 0;
    long double pi = 0, want = 3.14159265358979323846264338327950288L;
    SET(WIDTH, wide);
    for (;;) {
        for (size_t i = 0; i < sizeof source; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            source[i] = (unsigned char)seed;
        }
        memset(sink, 0, sizeof sink);
        __asm__ volatile("ldmxcsr %0; fldcw %1; fldpi" : : "m"(rounding), "m"(control));
        if (wide == 64) ROUND(X32(ZMM_IN) X8(K_IN), X32(ZMM_OUT) X8(K_OUT));
        else if (wide == 32) ROUND(X16(YMM_IN), X16(YMM_OUT));
        else ROUND(X16(XMM_IN), X16(XMM_OUT));
        __asm__ volatile("stmxcsr %0; fnstcw %1; fstpt %2" : "=m"(back), "=m"(control_back), "=m"(pi));
        uint32_t usual = 0x1f80;
        __asm__ volatile("ldmxcsr %0; fninit" : : "m"(usual));
        if (wide >= 32) __asm__ volatile("vzeroupper");
        CHECK(2000, memcmp(source, sink, size), 0);
        CHECK(2001, back & 0xffc0, rounding & 0xffc0);
        CHECK(2002, control_back, control);
        CHECK(2003, pi - want > 1e-18L || want - pi > 1e-18L, 0);
        ADD(VECTORS, 1);
        if (pause) nap(pause);
    }
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    for (long i = option("integer", 1); i > 0; i--)
        if (pthread_create(&thread, NULL, integer, NULL)) die("thread");
    for (long i = option("vector", 1); i > 0; i--)
        if (pthread_create(&thread, NULL, vector, NULL)) die("thread");
    board_ready();
    for (;;) {
        extern long answer_0(void);
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        nap(1000);
    }
}
