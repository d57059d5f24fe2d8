/* SPDX-License-Identifier: GPL-2.0-or-later
 * Calls a function of its library in a loop, and maps a file to read it, as debuggers and scanners do.
 *   FILE_READ   path of that file
 *   shared      with MAP_SHARED
 */
#include "board.h"

#ifdef WITH_LIBRARY
extern long answer_0(void);
#endif

int main(int count, char **words) {
    board_open(count, words);
    int file = open(FILE_READ, O_RDONLY);
    off_t size = lseek(file, 0, SEEK_END);
    volatile const char *data =
        mmap(NULL, size, PROT_READ, is_given("shared") ? MAP_SHARED : MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) die("mmap");
    ADD(CHECKS, data[0]);
    board_ready();
    for (;;) {
#ifdef WITH_LIBRARY
        SET(ANSWERS, answer_0());
#endif
        ADD(ROUNDS, 1);
        nap(500);
    }
}
