/* SPDX-License-Identifier: GPL-2.0-or-later
 * The library that the benchmarks patch: ten functions, each with an answer of its own. */
#define FUNCTIONS 10

int bench_answer_0(void), bench_answer_1(void), bench_answer_2(void), bench_answer_3(void), bench_answer_4(void),
    bench_answer_5(void), bench_answer_6(void), bench_answer_7(void), bench_answer_8(void), bench_answer_9(void);

static int (*const bench_functions[FUNCTIONS])(void) = {
    bench_answer_0, bench_answer_1, bench_answer_2, bench_answer_3, bench_answer_4,
    bench_answer_5, bench_answer_6, bench_answer_7, bench_answer_8, bench_answer_9,
};
