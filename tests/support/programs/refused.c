/* SPDX-License-Identifier: GPL-2.0-or-later
 * Functions that no detour may be put on, and two neighbours that must stay as they are. */
__asm__(
    ".text\n"
    ".macro begin name\n.globl \\name\n.type \\name,@function\n\\name:\n.endm\n"
    ".macro end name\n.size \\name, .-\\name\n.endm\n"
    ".p2align 4\n"
    "begin too_short\n xor %eax, %eax\n ret\nend too_short\n" /* three bytes, then at once: */
    "begin neighbour\n mov $301, %eax\n ret\nend neighbour\n"
    ".p2align 4\n"
    "begin branches_back\n xor %eax, %eax\n1: inc %eax\n cmp $302, %eax\n jne 1b\n ret\nend branches_back\n"
    ".p2align 4\n"
    "begin entered_from_afar\n push %rbx\n2: mov $303, %eax\n pop %rbx\n ret\nend entered_from_afar\n"
    ".p2align 4\n"
    "begin enters\n push %rbx\n jmp 2b\nend enters\n"
    ".p2align 4\n"
    "begin with_breakpoint\n .byte 0xcc\n mov $304, %eax\n ret\nend with_breakpoint\n"
    ".p2align 4\n"
    "begin five_bytes\n mov $44, %al\n movzbl %al, %eax\n ret\nend five_bytes\n" /* six: enough for a near jump */
    ".section .note.GNU-stack,\"\",@progbits\n.text\n");
long answer_0(void);
long answer_0(void) { return 100; }
