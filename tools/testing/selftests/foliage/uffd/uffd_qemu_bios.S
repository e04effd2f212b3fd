/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine's firmware, and all that runs on it, for uffd_qemu.py: each page from 1 MiB on holds its address
 * in the first word, and in the second the round in which it was written to last. Rounds go on for ever; the
 * number of those that are done is at 0x7000. The processor begins 16 bytes before the end.
 */
#define MIB 32

	.code16
	.org 0
start:	cli
	lgdtl	%cs:(gdt_at - start)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $(0xf0000 + paged - start)
	.code32
paged:	movw	$16, %ax
	movw	%ax, %ds
	xorl	%ebx, %ebx
	movl	%ebx, 0x7000
round:	incl	%ebx
	movl	$0x100000, %edi
1:	movl	%edi, (%edi)
	movl	%ebx, 4(%edi)
	addl	$4096, %edi
	cmpl	$(0x100000 + (MIB << 20)), %edi
	jne	1b
	movl	%ebx, 0x7000
	jmp	round
	.balign 8
gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_at:	.word	23
	.long	0xf0000 + gdt - start
	.org 0xfff0
	.code16
	ljmpw	$0xf000, $0
	.org 0x10000
