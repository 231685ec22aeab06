/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which shared libraries an ELF file asks for. Pure: bytes come through a function. */
#ifndef PLYFS_ELF_H
#define PLYFS_ELF_H

#include <stddef.h>
#include <stdint.h>

/* Exactly @len bytes at @off, or -errno. */
typedef int (*elf_read_fn)(void *ctx, uint64_t off, void *buf, size_t len);

enum elf_word { ELF_NEEDED = 1, ELF_RPATH = 15, ELF_RUNPATH = 29 };
/* @text is NUL-terminated, at most 4095 bytes; borrowed. */
typedef int (*elf_word_fn)(void *ctx, enum elf_word what, const char *text);

/*
 * The words of the dynamic section, paths before the libraries. 0: also where the file is no
 * ELF, has no dynamic section, or is damaged (what is readable is given); else what @read or
 * @fn returned.
 */
int elf_words(elf_read_fn read, elf_word_fn fn, void *ctx);

/* What a loader compares before it takes a library. */
struct elf_kind {
	uint8_t elf_class, data;   /* EI_CLASS (0: no ELF), EI_DATA */
	uint16_t machine;          /* e_machine */
};
/* 1: an ELF file, @ret is set, and @interp (4096 bytes, or NULL) is PT_INTERP's, or ""; 0: it is none, or damaged. */
int elf_look(elf_read_fn read, void *ctx, struct elf_kind *ret, char *interp);
/* Debian's name of the directories for such libraries: "x86_64-linux-gnu"; "": not known. */
const char *elf_multiarch(const struct elf_kind *kind);

#endif
